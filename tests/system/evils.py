"""What an API may say in the place of an honest answer: endless, enormous, compressed, malformed, beside the point."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable
from functools import cache

from tests.system.raw_api import HANG_UP, plain

MIB = 2**20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HTTP_0 = b"\x15\x03\x01\x00\x02\x02\x28"  # what a TLS server says to plain HTTP

Evil = Callable[[bytes], Iterable[bytes]]
"""Given the body of the honest answer, the bytes that are sent in its place."""


def endless(start: bytes, again: bytes) -> Evil:
    return lambda body: itertools.chain([start], itertools.repeat(again))


def framed(*headers: bytes, more: bytes = b"") -> Evil:
    """The honest body below odd headers, and ``more`` behind it; then the server hangs up."""
    return lambda body: [HEAD + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body + more, HANG_UP]


def started(line: bytes) -> Evil:
    """The honest body below an odd status line."""
    return lambda body: [line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body, HANG_UP]


def compressed(coding: bytes, compress: Callable[[bytes], bytes]) -> Evil:
    return lambda body: plain(compress(body), b"Content-Encoding: " + coding)


def _zeros(wbits: int) -> bytes:
    """48 MiB of zeros, compressed a part at a time: the tests measure what is allocated meanwhile."""
    press = zlib.compressobj(wbits=wbits)
    return b"".join([*(press.compress(bytes(MIB)) for _ in range(48)), press.flush()])


@cache
def gzipped_zeros() -> bytes:
    return _zeros(16 + zlib.MAX_WBITS)


@cache
def deflated_zeros() -> bytes:
    return _zeros(zlib.MAX_WBITS)


@cache
def bomb() -> bytes:
    """Zeros, compressed twice."""
    return gzip.compress(gzipped_zeros())


EVILS: dict[str, Evil] = {
    "endless body": endless(HEAD + b"\r\n", b" " * 65536),
    "endless chunks": endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "endless headers": endless(HEAD, b"X: y\r\n" * 1000),
    "endless header": endless(HEAD + b"X: ", b"y" * 65536),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "endless status line": endless(b"HTTP/1.1 200 ", b"O" * 65536),
    "endless interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "100 MB": lambda body: itertools.chain([HEAD + b"Content-Length: %d\r\n\r\n" % 10**8], [b" " * 10**5] * 1000),
    "compressed though nobody asked": compressed(b"gzip", gzip.compress),
    "gzip bomb": compressed(b"gzip", lambda body: gzipped_zeros()),
    "nested bomb": compressed(b"gzip, gzip", lambda body: bomb()),
    "deflate bomb": compressed(b"deflate", lambda body: deflated_zeros()),
    "br that is none": compressed(b"br", lambda body: b"\x00" * 1000),
    "coding that nobody knows": compressed(b"canary, \xff", lambda body: body),
    "coding of the transfer": framed(b"Transfer-Encoding: gzip, chunked", more=b"\r\n"),
    "http/0.9": lambda body: [body, HANG_UP],
    "tls alert": lambda body: [HTTP_0, HANG_UP],
    "nothing": lambda body: [HANG_UP],
    "empty lines": lambda body: [b"\r\n\r\n\r\n" + body, HANG_UP],
    "icy": started(b"ICY 200 OK"),
    "no version": started(b"HTTP/ 200 OK"),
    "http/9": started(b"HTTP/9.9 200 OK"),
    "no reason": started(b"HTTP/1.1 200"),
    "status that is none": started(b"HTTP/1.1 OK"),
    "status too small": started(b"HTTP/1.1 99 No"),
    "status too large": started(b"HTTP/1.1 1000 No"),
    "status unheard of": started(b"HTTP/1.1 999 No"),
    "negative status": started(b"HTTP/1.1 -200 No"),
    "switching protocols": started(b"HTTP/1.1 101 Switching Protocols"),
    "no content, and a body": started(b"HTTP/1.1 204 No Content"),
    "reset content, and a body": started(b"HTTP/1.1 205 Reset Content"),
    "negative length": framed(b"Content-Length: -1"),
    "length that is none": framed(b"Content-Length: all of it"),
    "length of 5,000 digits": framed(b"Content-Length: " + b"9" * 5000),
    "length too long": framed(b"Content-Length: 60000"),
    "length too short": framed(b"Content-Length: 7"),
    "two lengths": framed(b"Content-Length: 7", b"Content-Length: 8"),
    "one length twice": framed(b"Content-Length: 7, 7"),
    "length and chunks": framed(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "chunk of negative size": lambda body: [CHUNKED + b"-5\r\n" + body, HANG_UP],
    "chunk of no size": lambda body: [CHUNKED + b"\r\n" + body, HANG_UP],
    "chunk of a size beyond all": lambda body: [CHUNKED + b"f" * 60 + b"\r\n" + body, HANG_UP],
    "headers that are none": framed(b"no colon", b": no name", b"\x00\xff: \x00", b" folded", b"X : y"),
    "bare line feeds": lambda body: [b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}" + body, HANG_UP],
    "101 headers": framed(*[b"X: y"] * 101),
    "line of 70,000": framed(b"X: " + b"y" * 70_000),
    "types that contradict": framed(b"Content-Type: text/html", b"Content-Type: ;;==;charset=\xff"),
    "odd cookies": framed(b"Set-Cookie: =;;Expires=never; Max-Age=x", b"Set-Cookie: " + b"a;" * 30_000),
    "another json": lambda body: plain(b'["uuid", {"uuid": 7}]'),
    "half a uuid": lambda body: plain(body[:20]),
}
