"""What ``init`` and ``sandbox`` set up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from canarysync import durable, folder
from canarysync.errors import SetupError
from canarysync.sandbox import SANDBOX_API_KEY, Sandbox
from canarysync.starter import starter_config

__all__ = ["SANDBOX_API_KEY", "init", "sandbox"]


def init(home: Path, output: Path, api: Mapping[str, str], api_key_file: Path, state: Path) -> None:
    """Write the starter configuration to ``output`` and create the folders. Overwrites nothing.

    ``api`` is ``{"api.region": …}`` or ``{"api.url": …}``.
    """
    text = starter_config(
        {
            **api,
            "api.api_key": {"file": str(api_key_file.absolute())},
            "routes[].folder": str(home.absolute()),
            "state": str(state.absolute()),
        }
    )
    for name, mode in (("drop", folder.DROP_MODE), ("done", folder.FILED_MODE), ("failed", folder.FILED_MODE)):
        if not (home / name).is_dir():
            folder.make(home / name, mode)
    try:
        durable.write_new(output, text.encode(), f".{output.name}.tmp")
    except FileExistsError:
        raise SetupError(
            "write the configuration", str(output), "it is there already", "name another --output"
        ) from None
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise SetupError("write the configuration", str(output), why, "name another --output") from None


def sandbox(
    port: int,
    faults: Sequence[str],
    store: Path | None,
    token_life_s: float,
    normalise: bool,
    log: Callable[[str], None] | None,
) -> Sandbox:
    """A sandbox with its faults, not yet started. Raises SetupError for a fault that cannot be understood."""
    server = Sandbox(port=port, token_life_s=token_life_s, store_path=store, normalise=normalise, log=log)
    try:
        server.faults.add(*faults)
    except ValueError as error:
        raise SetupError("understand --fault", cause=str(error)) from None
    return server
