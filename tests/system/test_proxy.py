"""The way through a proxy, over http and over TLS: the API's certificate counts, and nothing is told to the proxy."""

from __future__ import annotations

import os
import socket
import socketserver
import ssl
import threading
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canarysync.errors import Exit, SetupError
from canarysync.sandbox import Sandbox
from tests.support import Site, score, stored
from tests.system.test_answers_live import (
    TlsFront,
    assert_waits_untouched,
    certificate,
    looks,
    pump,
    serving,
    with_ready_token,
)
from tests.system.test_dripping_api import body, dripping

__all__ = ["certificate"]  # a fixture

NAME = "visit.json"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Proxy(socketserver.ThreadingTCPServer):
    """Answers each CONNECT with ``answer``, and leads wherever it was to go to ``behind``."""

    daemon_threads = True

    def __init__(self, behind: int, answer: bytes, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.behind, self.answer, self.context = behind, answer, context
        self.asked: list[bytes] = []

    def url(self, user: str = "") -> str:
        return f"http{'s' if self.context else ''}://{user}127.0.0.1:{self.server_address[1]}"


class _Tunnel(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        try:
            context = self.server.context
            with context.wrap_socket(self.request, server_side=True) if context else self.request as front:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += front.recv(1)
                self.server.asked.append(head)
                front.sendall(self.server.answer)
                while self.server.answer != OPEN:
                    front.sendall(b"X-More: of it\r\n")
                    if threading.Event().wait(0.02):
                        return
                with socket.create_connection(("127.0.0.1", self.server.behind)) as back:
                    threading.Thread(target=pump, args=(back, front), daemon=True).start()
                    pump(front, back)
        except OSError:
            return


@pytest.fixture(params=["http", "https"])
def context(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> ssl.SSLContext | None:
    """How the proxy itself is spoken to."""
    if request.param == "http":
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(*certificate)
    return made


def site_behind(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, user: str = "", **more: Any
) -> Site:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url(user))
    site = with_ready_token(tmp_path, "https://api.invalid", monkeypatch, token, **more)
    site.put(NAME, score(1))
    return site


def test_a_score_goes_through_and_the_proxy_hears_nothing_of_it(
    tmp_path: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    context: ssl.SSLContext | None,
) -> None:
    front = TlsFront(*certificate, sandbox)
    with serving(front), serving(proxy := Proxy(front.server_address[1], OPEN, context)):
        bundle = {"api__ca_bundle": str(certificate[0])}
        site = site_behind(proxy, tmp_path, monkeypatch, sandbox.access_token(), "anna:geheim@", **bundle)
        assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    [asked] = proxy.asked
    assert asked.startswith(b"CONNECT api.invalid:443 ")
    assert b"\r\nProxy-Authorization: Basic %s\r\n" % b64encode(b"anna:geheim") in asked
    assert b"Bearer" not in asked


def test_an_untrusted_certificate_gets_nothing_behind_a_proxy_either(
    tmp_path: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    context: ssl.SSLContext | None,
) -> None:
    front = TlsFront(*certificate, sandbox)
    with serving(front), serving(proxy := Proxy(front.server_address[1], OPEN, context)):
        site = site_behind(proxy, tmp_path, monkeypatch, sandbox.access_token())
        assert dict(site.once().left) == {"until the API can be used": 1}
    assert_waits_untouched(site, NAME)
    assert (dict(sandbox.requests), looks(sandbox)) == ({}, 0)


def test_a_proxy_whose_answer_has_no_end_holds_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"api__timeout__read": "200ms", "api__timeout__connect": "100ms"}
    with serving(proxy := Proxy(0, b"HTTP/1.1 200 Connection established\r\n", None)):
        site = site_behind(proxy, tmp_path, monkeypatch, "a-token", **quick)
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert os.listdir(site.done) == os.listdir(site.failed) == []


def test_an_answer_without_an_end_is_cut_behind_a_proxy_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    context: ssl.SSLContext | None,
) -> None:
    quick = {"api__timeout__read": "200ms", "api__timeout__connect": "1s", "api__ca_bundle": str(certificate[0])}
    with dripping(body) as url:
        front = TlsFront(*certificate, SimpleNamespace(url=url))  # type: ignore[arg-type]
        with serving(front), serving(proxy := Proxy(front.server_address[1], OPEN, context)):
            site = site_behind(proxy, tmp_path, monkeypatch, "a-token", **quick)
            assert site.once().exit_code() == Exit.TRY_AGAIN
    assert site.waiting() == [NAME]


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:9", "ftp://127.0.0.1:9", "http://[", "http://:9"])
def test_a_proxy_that_is_none_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    proxy = SimpleNamespace(url=lambda user: address)
    site = site_behind(proxy, tmp_path, monkeypatch, "a-token")  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="HTTPS_PROXY"):
        site.once()
    assert site.waiting() == [NAME]
