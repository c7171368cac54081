# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP with a deadline for the whole exchange and a limit on the size of the answer, on the standard library alone.

A time limit of Python's sockets holds for one read: a server that sends a byte now and then is read for ever. Here the
time that is left is set before every read, headers and encrypted connections included.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import typing as t

JSON_LIMIT = 64 * 1024 * 1024  # bytes of an answer that is kept in memory
PIECE = 64 * 1024


class AnswerTooLarge(OSError):
    """The answer is larger than the caller accepts."""


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

    def __init__(
        self, host: str, port: int, seconds: float, unix_path: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
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
            self.sock = plain
        plain.settimeout(self.deadline.left())
        if self._tls is None:
            plain.deadline = self.deadline
            return
        self._tls.sslsocket_class = _TlsSocket
        encrypted = t.cast(_TlsSocket, self._tls.wrap_socket(plain, server_hostname=self.host))
        encrypted.deadline = self.deadline
        self.sock = encrypted


def read_pieces(response: http.client.HTTPResponse) -> t.Iterator[bytes]:
    """Yield the body as it comes, each piece as soon as there is one."""
    while True:
        piece = response.read1(PIECE)
        if not piece:
            return
        yield piece


def read_limited(response: http.client.HTTPResponse, limit: int = JSON_LIMIT) -> bytes:
    """Return the whole body; AnswerTooLarge when there is more than ``limit`` bytes of it."""
    body = bytearray()
    for piece in read_pieces(response):
        body += piece
        if len(body) > limit:
            raise AnswerTooLarge(f"the answer is larger than {limit} bytes")
    return bytes(body)
