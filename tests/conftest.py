"""For all tests: nobody talks to the world, nobody touches the default state folder."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from canarysync.sandbox import Sandbox
from tests.support import Site, log_as_before, make_site

# Half of the usual examples, as the suite runs at every change; and no deadline: machines are busy at times.
settings.register_profile("canarysync", max_examples=50, deadline=None)
settings.load_profile("canarysync")

# What the developer's shell says of proxies and configs is no part of a test. Nor shall each of the many processes that
# are started here compile all modules anew.
for _name in ("CANARYSYNC_CONFIG", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "CREDENTIALS_DIRECTORY"):
    os.environ.pop(_name, None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_FORBIDDEN_FOLDER = "/var/lib/canarysync"
_violations: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """PEP 578: sees every connect and open of this process, whoever calls it."""
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            _violations.append(f"a connection to {address[0]}")
            raise PermissionError("tests talk to loopback only")
    elif event in ("open", "os.mkdir", "sqlite3.connect") and str(arguments[0]).startswith(_FORBIDDEN_FOLDER):
        _violations.append(f"{event} of {arguments[0]}")
        raise PermissionError("tests keep away from the default state folder")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


sys.addaudithook(_audit)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice the cores: the tests wait for half of their time, for a quiet period, a process or the disk."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def keeps_to_itself() -> Iterator[None]:
    """Fails, by name, a test that left the machine or touched the default state folder, even if it hid the error."""
    _violations.clear()
    yield
    assert not _violations, f"this test made {', '.join(_violations)}"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The simulated API, in this process."""
    with Sandbox() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    """Folders and a config for it."""
    return make_site(tmp_path, sandbox.url)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """What sets up canarysync's log in one test is nothing to the next one."""
    with log_as_before():
        yield
