"""The configuration: one YAML file, held to its schema, then frozen. No plain dict travels further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from canarysync import schema
from canarysync.concurrency import MOST
from canarysync.config_checks import Clash, Values, clashes, route_dated, route_folder, route_name
from canarysync.errors import ConfigError
from canarysync.exchange import Way
from canarysync.model import Document, Number, Places, Position, Problem, Rejection, Syntax
from canarysync.model import Path as DocumentPath
from canarysync.parse import parse, places, pointer
from canarysync.quantity import duration_s, rate_per_s, size_bytes, whole
from canarysync.retry import RetryPolicy
from canarysync.schema.wording import file_order

SYSTEM_CONFIG = Path("/etc/canarysync/canarysync.yaml")
_NAME = "canarysync.yaml"
_VARIABLE = "CANARYSYNC_CONFIG"
_MOST_BYTES = 256 * 1024


class SecretKind(StrEnum):
    """Where a secret is found."""

    FILE = "file"
    ENV = "env"
    CREDENTIAL = "credential"


class DoubtPolicy(StrEnum):
    """What to do with a score in doubt when the API cannot say whether it is there."""

    HOLD = "hold"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is, never the secret: an absolute path, a variable or a systemd credential."""

    kind: SecretKind
    name: str


@dataclass(frozen=True, slots=True)
class Api:
    """How the API is reached. ``url`` ends in no slash; exactly one of ``api_key`` and ``token`` is set."""

    url: str
    api_key: SecretRef | None
    token: SecretRef | None
    ca_bundle: Path | None
    connect_timeout_s: float
    read_timeout_s: float
    read_back_wait_s: float
    concurrency: int | None  # None: it finds itself
    rate_per_s: float | None
    proxy: str | None

    @property
    def most_at_once(self) -> int:
        """How many uploads may ever be under way at once."""
        return self.concurrency or MOST

    @property
    def way(self) -> Way:
        """The part of it that requests are made by."""
        bundle = str(self.ca_bundle) if self.ca_bundle else None
        # Sixteen more than uploads: a token exchange or a probe must not push an upload's connection out.
        connections = self.most_at_once + 16
        return Way(self.url, self.proxy, bundle, self.connect_timeout_s, self.read_timeout_s, connections)


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many seconds filed files are kept, with their sidecars; None: for ever."""

    done_s: float | None = None
    failed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One watched folder, and what becomes of its files. ``match`` holds file patterns of any case, ``dated`` the
    pattern (dated.py) of the folders in ``done`` that files go into; empty, they go into ``done`` itself."""

    name: str
    drop: Path
    done: Path
    failed: Path
    match: tuple[str, ...]
    settle_s: float
    rescan_s: float
    max_size_bytes: int
    retry: RetryPolicy
    in_doubt: DoubtPolicy
    group: str | None
    keep: Keep = Keep()
    dated: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """``level``: debug, info, warning or error. ``format``: text or json."""

    level: str
    format: str


@dataclass(frozen=True, slots=True)
class Listen:
    """An IP address, without brackets, and a port; 0 stands for any that is free."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """``listen``: where they are served; None for nowhere."""

    listen: Listen | None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. All paths are absolute if ``path``, that of its file, is."""

    path: Path
    api: Api
    routes: tuple[Route, ...]
    state: Path
    log: Log
    metrics: Metrics


def find(explicit: Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The configuration file to use: ``explicit``, else $CANARYSYNC_CONFIG, else the first that is there.

    Raises ConfigError, which says where it looked, when there is none.
    """
    if explicit is not None:
        return explicit
    if env.get(_VARIABLE):
        return cwd / env[_VARIABLE]
    candidates = (cwd / _NAME, SYSTEM_CONFIG)
    found = next(filter(_is_there, candidates), None)
    if found is None:
        looked = Problem(f"There is no configuration: not {candidates[0]}, not {candidates[1]}.")
        hint = f"Write one with `canarysync init`, or name one with --config or ${_VARIABLE}."
        raise ConfigError(str(candidates[0]), [looked], hint)
    return found


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that we may not look into: reading the file will say so
        return True


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with all problems, in file order."""
    try:
        path = path.absolute()
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), [Problem(f"The file cannot be read: {error.strerror}.")]) from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(str(path), [Problem(f"The file has more than {_MOST_BYTES} bytes.")])
    document = parse(data, Syntax.YAML)
    if isinstance(document, Rejection):
        raise ConfigError(str(path), document.problems)
    return from_document(document, path)


def from_document(document: Document, path: Path) -> Config:
    """The configuration in ``document``, read from ``path``. Raises ConfigError with all problems."""
    where = cache(lambda: places(document))
    value = document.value
    problems = list(schema.check(value, schema.SchemaName.CONFIG, where, most=None))
    if isinstance(value, dict):
        filled = _filled(value, schema.load(schema.SchemaName.CONFIG))
        refused = [problem.path for problem in problems]
        found = clashes(filled, PurePosixPath(path.parent), lambda part: not _touches(part, refused))
        problems += [_problem(clash, where()) for clash in found]
    if problems:
        raise ConfigError(str(path), sorted(problems, key=file_order))
    return _config(filled, path)


def _filled(value: Any, part: Mapping[str, Any]) -> Any:
    """``value`` with the defaults of its ``part`` of the schema, None where it has none; numbers as ints."""
    if isinstance(value, dict) and "properties" in part:
        known = part["properties"].items()
        return {key: _filled(value.get(key, child.get("default")), child) for key, child in known}
    if isinstance(value, list) and "items" in part:
        return [_filled(item, part["items"]) for item in value]
    return whole(value) if isinstance(value, Number) else value


def _touches(part: DocumentPath, refused: list[str]) -> bool:
    """Whether one of the ``refused`` pointers leads to ``part`` of the document or into it."""
    start = pointer(part)
    return any(place == start or place.startswith(start + "/") for place in refused)


def _problem(clash: Clash, where: Places) -> Problem:
    at = next(_positions(clash.path, where), None)
    line, column = (at.line, at.column) if at else (None, None)
    return Problem(clash.message, pointer(clash.path), line, column, hint=clash.hint)


def _positions(path: DocumentPath, where: Places) -> Iterator[Position]:
    """Where ``path`` stands, by its key if it has one; then, for a key left to its default, what holds it."""
    for end in range(len(path), -1, -1):
        at = where.keys.get(path[:end]) or where.values.get(path[:end])
        if at is not None:
            yield at


def _config(value: Values, path: Path) -> Config:
    base = path.parent
    return Config(
        path=path,
        api=_api(value["api"], base),
        routes=tuple(_route(route, base) for route in value["routes"]),
        state=base / value["state"],
        log=Log(value["log"]["level"], value["log"]["format"]),
        metrics=Metrics(_listen(value["metrics"]["listen"])),
    )


def _listen(address: str | None) -> Listen | None:
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    return Listen(host.strip("[]"), int(port))


def _api(api: Values, base: Path) -> Api:
    return Api(
        url=(api["url"] or f"https://rest.{api['region']}.canaryspeech.com").rstrip("/"),
        api_key=_secret(api["api_key"], base),
        token=_secret(api["token"], base),
        ca_bundle=base / api["ca_bundle"] if api["ca_bundle"] else None,
        connect_timeout_s=_seconds(api["timeout"]["connect"]),
        read_timeout_s=_seconds(api["timeout"]["read"]),
        read_back_wait_s=_seconds(api["read_back"]["wait"]),
        concurrency=None if api["concurrency"] == "auto" else api["concurrency"],
        rate_per_s=rate_per_s(api["rate_limit"]) if api["rate_limit"] else None,
        proxy=api["proxy"],
    )


def _secret(value: Mapping[str, str] | None, base: Path) -> SecretRef | None:
    if value is None:
        return None
    [(kind, name)] = value.items()
    return SecretRef(SecretKind(kind), str(base / name) if kind == SecretKind.FILE else name)


def _route(route: Values, base: Path) -> Route:
    return Route(
        name=route_name(route),
        drop=base / route_folder(route, "drop"),
        done=base / route_folder(route, "done"),
        failed=base / route_folder(route, "failed"),
        match=tuple(route["match"]),
        settle_s=_seconds(route["settle"]),
        rescan_s=_seconds(route["rescan"]),
        max_size_bytes=_bytes(route["max_size"]),
        retry=_retry(route["retry"]),
        in_doubt=DoubtPolicy(route["in_doubt"]),
        group=route["group"],
        keep=Keep(_until(route["keep"]["done"]), _until(route["keep"]["failed"])),
        dated=route_dated(route),
    )


def _retry(retry: Values) -> RetryPolicy:
    return RetryPolicy(
        first_s=_seconds(retry["first"]),
        most_s=_seconds(retry["most"]),
        give_up_after_s=_until(retry["give_up_after"]),
    )


def _until(text: str) -> float | None:
    return None if text == "never" else _seconds(text)


def _seconds(text: str) -> float:
    seconds = duration_s(text)
    assert seconds is not None, "the schema takes durations only"
    return float(seconds)


def _bytes(value: str | int) -> int:
    size = size_bytes(value) if isinstance(value, str) else value
    assert size is not None, "the schema takes sizes only"
    return size
