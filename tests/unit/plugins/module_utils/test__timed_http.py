# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
import typing as t
import urllib.request

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _timed_http

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def serve(send: t.Callable[[socket.socket], None]) -> str:
    """The address of a server that answers one question in its own way."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            try:
                send(connection)
            except OSError:
                return  # the other side had enough

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def ask(url: str, timeout: float = 0.6) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _timed_http.TimedHTTPHandler())
    with opener.open(url, timeout=timeout) as response:
        return _timed_http.read_body(response)


def drip(connection: socket.socket, text: bytes) -> None:
    for one in text:
        connection.sendall(bytes([one]))
        time.sleep(0.1)


def test_an_ordinary_answer() -> None:
    assert ask(serve(lambda to: to.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}"))) == b"{}"
    assert ask(serve(lambda to: to.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))) == b"{}"
    assert ask(serve(lambda to: to.sendall(HEAD + b"Connection: close\r\n\r\n{}"))) == b"{}"


@pytest.mark.parametrize(
    "before",
    [b"", HEAD, HEAD + b"Content-Length: 900\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n384\r\n"],
    ids=["status line", "head", "body", "chunk"],
)
def test_an_answer_that_comes_byte_by_byte_ends_with_the_timeout(before: bytes) -> None:
    url = serve(lambda to: (to.sendall(before), drip(to, b"X-Filler: " + b"x" * 90))[0])
    started = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        ask(url)
    assert 0.4 < time.monotonic() - started < 3


def test_an_answer_that_is_cut_is_no_answer() -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(serve(lambda to: to.sendall(HEAD + b"Content-Length: 20\r\n\r\n{}")))


def test_an_answer_has_a_size() -> None:
    assert _timed_http.read_body(io.BytesIO(b"x" * 200_000), 200_000) == b"x" * 200_000
    with pytest.raises(_timed_http.AnswerTooLargeError, match="larger than"):
        _timed_http.read_body(io.BytesIO(b"x" * 200_001), 200_000)


def test_a_body_without_an_end_is_left_early() -> None:
    class Endless:
        given = 0

        def read(self, size: int) -> bytes:
            self.given += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(_timed_http.AnswerTooLargeError, match="larger than 64 MiB"):
        _timed_http.read_body(endless)
    assert endless.given <= _timed_http.LARGEST + 2**20
