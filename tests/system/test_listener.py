"""The little HTTP server: no client, and no page, gets it to hang or to tell more than it should."""

from __future__ import annotations

import http.client
import logging
import socket
from urllib.parse import urlsplit

import pytest

from canarysync import listener
from canarysync.errors import Exit, IoTrouble
from canarysync.listener import Page, serving
from tests.support import PATIENCE_S, wait_for


def well() -> Page:
    return Page(200, "text/plain", b"well\n")


def broken() -> Page:
    raise ValueError("the score was 27")


def test_a_client_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTION_MOST_S", 0.2)
    with serving("127.0.0.1", 0, {"/": well}) as url, socket.create_connection(address(url), PATIENCE_S) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        wait_for(lambda: not takes(slow, b"X"), "the connection to end")


def takes(connection: socket.socket, byte: bytes) -> bool:
    try:
        connection.sendall(byte)
    except OSError:
        return False
    return True


def test_a_page_with_a_defect_harms_nobody_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "canarysync")
    with serving("127.0.0.1", 0, {"/": well, "/broken": broken}) as url:
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(url, "/broken")
        assert ask(url, "/") == b"well\n"
        wait_for(lambda: caplog.records, "the defect to be told")
    assert [record.message for record in caplog.records] == ["defect"]
    assert "the score" not in str(vars(caplog.records[0])["canarysync_fields"])


def test_ipv6_and_an_address_that_is_not_ours() -> None:
    with serving("::1", 0, {"/": well}) as url:
        assert url.startswith("http://[::1]:")
        assert ask(url, "/") == b"well\n"
    with pytest.raises(IoTrouble) as caught, serving("192.0.2.1", 9464, {"/": well}):
        pass
    assert caught.value.exit_code == Exit.TRY_AGAIN, "it may come: a VPN's, say"


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def ask(url: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(*address(url), timeout=PATIENCE_S)
    connection.request("GET", path)
    return connection.getresponse().read()
