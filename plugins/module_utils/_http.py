# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP with a deadline for the whole exchange and a limit on the size of the answer, on the standard library alone.

A time limit of Python's sockets holds for one read: a server that sends a byte now and then is read for ever. Here the
time that is left is set before every read, headers and encrypted connections included. The handlers give urllib's
opener, which knows redirects and proxies, the same connections.
"""

from __future__ import annotations

import email.utils
import http.client
import re
import socket
import ssl
import time
import typing as t
import urllib.request
import zlib

from . import _units
from ._printable import printable

JSON_LIMIT = 64 * 1024 * 1024  # bytes of an answer that is kept in memory
PIECE = 64 * 1024


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Return what a Retry-After header asks for, in seconds from now; it may be a number or a date."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now) if text else None
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


class AnswerTooLarge(OSError):
    """The answer is larger than the caller accepts."""


class PackedError(ValueError):
    """An answer is packed in a way that was not asked for and cannot be undone."""


def unpacked(body: bytes, encoding: str | None, limit: int = JSON_LIMIT) -> bytes:
    """Return a body as it was before a proxy on the way packed it, which nobody had asked for.

    ``encoding`` is the header Content-Encoding. AnswerTooLarge when there is more than ``limit`` bytes in it,
    IncompleteRead when it was cut off, PackedError for other encodings than gzip.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity" or not body:
        return body
    if name not in ("gzip", "x-gzip"):
        raise PackedError(f"in the encoding {printable(name, 50)}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise PackedError(f"with gzip that cannot be unpacked: {error}") from error
    if len(plain) > limit:
        raise AnswerTooLarge(f"the answer is larger than {_units.size(limit)}")
    if not unpacker.eof:
        raise http.client.IncompleteRead(body)
    return plain


class Deadline:
    """A moment at which everything must be over."""

    def __init__(self, seconds: float, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Return the seconds that are left; socket.timeout when none are."""
        left = self._end - self._clock()
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class _Socket(socket.socket):
    """A socket whose reads end at a deadline."""

    deadline: Deadline | None = None

    def recv_into(self, *arguments: t.Any, **options: t.Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().recv_into(*arguments, **options)


class _TlsSocket(ssl.SSLSocket):
    """An encrypted socket whose reads end at a deadline."""

    deadline: Deadline | None = None

    def recv_into(self, *arguments: t.Any, **options: t.Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().recv_into(*arguments, **options)


class Connection(http.client.HTTPConnection):
    """A connection to a host and port, or to a Unix socket, that ends at a deadline. Encrypted with ``tls``."""

    # The base class has them, for a proxy that makes a tunnel; its type information leaves them out.
    _tunnel_host: str | None
    _tunnel: t.Callable[[], None]

    def __init__(
        self, host: str, port: int, seconds: float, unix_path: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        if tls is not None:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(host, port or None, timeout=seconds)
        self.deadline = Deadline(seconds)
        self._unix_path = unix_path
        self._tls = tls

    def connect(self) -> None:
        if self._unix_path:
            plain = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock = plain
            plain.settimeout(self.deadline.left())
            plain.connect(self._unix_path)
        else:
            made = socket.create_connection((self.host, self.port), self.deadline.left())
            plain = _Socket(made.family, made.type, made.proto, made.detach())
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = plain
        plain.settimeout(self.deadline.left())
        plain.deadline = self.deadline
        if self._tunnel_host:
            self._tunnel()
        if self._tls is None:
            return
        self._tls.sslsocket_class = _TlsSocket
        encrypted = t.cast(_TlsSocket, self._tls.wrap_socket(plain, server_hostname=self._tunnel_host or self.host))
        encrypted.deadline = self.deadline
        self.sock = encrypted


class HttpHandler(urllib.request.HTTPHandler):
    """Opens http addresses so that the timeout is the time for the whole answer."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_for_urllib, req)


class HttpsHandler(urllib.request.HTTPSHandler):
    """Opens https addresses so that the timeout is the time for the whole answer."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self.context = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_for_urllib, req, context=self.context)


def _for_urllib(host: str, **options: t.Any) -> Connection:
    """Return a connection to a host that may have a port behind it."""
    return Connection(host, 0, options["timeout"], tls=options.get("context"))


def read_pieces(response: t.Any) -> t.Iterator[bytes]:
    """Yield the body as it comes, each piece as soon as there is one; IncompleteRead when it ends before it should."""
    while True:
        piece = response.read1(PIECE)
        if not piece:
            break
        yield piece
    missing = getattr(response, "length", None)
    if missing:
        raise http.client.IncompleteRead(b"", missing)


def read_limited(response: t.Any, limit: int = JSON_LIMIT) -> bytes:
    """Return the whole body of an answer; AnswerTooLarge when there is more than ``limit`` bytes of it."""
    body = bytearray()
    for piece in read_pieces(response):
        body += piece
        if len(body) > limit:
            raise AnswerTooLarge(f"the answer is larger than {_units.size(limit)}")
    return bytes(body)
