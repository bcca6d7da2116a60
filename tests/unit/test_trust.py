"""Whose certificates are accepted: what is in the file now, or what was in it when it was last one."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from canarysync.trust import Trust

END = "-----END CERTIFICATE-----\n"
FIRST, SECOND = (part + END for part in Path(DEFAULT_CA_BUNDLE_PATH).read_text().split(END)[:2])


def test_the_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(FIRST)
    trust = Trust(str(file))
    context = trust.context()
    assert trust.context() is context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

    file.write_text(FIRST + SECOND)
    assert len(trust.context().get_ca_certs()) == 2
    file.write_text(SECOND)
    assert trust.context().get_ca_certs() != context.get_ca_certs()
    assert len(trust.context().get_ca_certs()) == 1, "who is taken out of it is trusted no more"


def test_a_file_that_is_gone_or_empty_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trust = Trust(str(file))
    with pytest.raises(FileNotFoundError):
        trust.context()
    file.write_text(FIRST)
    context = trust.context()
    file.write_text("")
    assert trust.context() is context
    file.unlink()
    assert trust.context() is context
