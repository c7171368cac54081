# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP answers with an end: a total time for each, and a size.

Python's timeout counts anew with each byte, so a server that sends one byte now and then holds a task for ever; and a
body is read as long as it goes on. The handlers here give urllib's opener connections whose timeout is the time for the
whole answer, from the first byte of its head to the last one of its body, and read_body stops at a size.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
import typing as t
import urllib.request

# A list of models holds pictures, and is a few megabytes in a large installation.
LARGEST = 64 * 1024 * 1024
_PIECE = 64 * 1024


class AnswerTooLargeError(ValueError):
    """An answer goes on beyond the size that is read."""


class _TimedReader(io.RawIOBase):
    """Read a socket's file until a moment, however many pieces come until then."""

    def __init__(self, file: io.BufferedReader, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._file = file
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._connection.settimeout(left)
        return self._file.raw.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: t.Any, deadline: float, **kwargs: t.Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(self.fp, sock, deadline))


def _timed(
    connection: type[http.client.HTTPConnection],
) -> t.Callable[..., http.client.HTTPConnection]:
    """Return a maker of connections whose answers end when the timeout, counted from the making, is over."""

    def make(host: str, timeout: t.Any = None, **kwargs: t.Any) -> http.client.HTTPConnection:
        made = connection(host, timeout=timeout, **kwargs)
        if isinstance(timeout, (int, float)):
            made.response_class = functools.partial(  # type: ignore[assignment]  # called like the class
                _TimedResponse, deadline=time.monotonic() + timeout
            )
        return made

    return make


class TimedHTTPHandler(urllib.request.HTTPHandler):
    """Open http addresses so that the timeout is the time for the whole answer."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_timed(http.client.HTTPConnection), req)


class TimedHTTPSHandler(urllib.request.HTTPSHandler):
    """Open https addresses so that the timeout is the time for the whole answer."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self.context = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_timed(http.client.HTTPSConnection), req, context=self.context)


def read_body(response: t.Any, largest: int = LARGEST) -> bytes:
    """Return the body of an answer.

    AnswerTooLargeError when it goes on beyond a size, IncompleteRead when it ends before it should.
    """
    pieces = []
    size = 0
    while True:
        piece = response.read(_PIECE)
        if not piece:
            break
        size += len(piece)
        if size > largest:
            raise AnswerTooLargeError(f"the answer is larger than {largest // (1024 * 1024)} MiB")
        pieces.append(piece)
    missing = getattr(response, "length", None)
    if missing:
        raise http.client.IncompleteRead(b"", missing)
    return b"".join(pieces)
