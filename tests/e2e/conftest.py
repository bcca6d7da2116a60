"""A sandbox and a site for tests that run the real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canarysync.sandbox import Sandbox
from tests.support import Site, make_site


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    return make_site(tmp_path, sandbox.url)
