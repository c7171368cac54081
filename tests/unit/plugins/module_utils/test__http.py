# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _http

Ask = t.Callable[..., bytes]

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


def through_urllib(url: str, timeout: float) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _http.HttpHandler())
    with opener.open(url, timeout=timeout) as response:
        return _http.read_limited(response)


def directly(url: str, timeout: float) -> bytes:
    host, _colon, port = url.partition("://")[2].partition(":")
    with contextlib.closing(_http.Connection(host, int(port), timeout)) as connection:
        connection.request("GET", "/")
        return _http.read_limited(connection.getresponse())


@pytest.fixture(params=[through_urllib, directly])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One of the two ways to ask, with so many seconds for the whole answer."""
    return lambda url, timeout=30.0: t.cast("bytes", request.param(url, timeout))


def drip(connection: socket.socket, text: bytes) -> None:
    for one in text:
        connection.sendall(bytes([one]))
        time.sleep(0.1)


def test_an_ordinary_answer(ask: Ask) -> None:
    assert ask(serve(lambda to: to.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}"))) == b"{}"
    assert ask(serve(lambda to: to.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))) == b"{}"
    assert ask(serve(lambda to: to.sendall(HEAD + b"Connection: close\r\n\r\n{}"))) == b"{}"


@pytest.mark.parametrize(
    "before",
    [b"", HEAD, HEAD + b"Content-Length: 900\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n384\r\n"],
    ids=["status line", "head", "body", "chunk"],
)
def test_an_answer_that_comes_byte_by_byte_ends_with_the_timeout(before: bytes, ask: Ask) -> None:
    url = serve(lambda to: (to.sendall(before), drip(to, b"X-Filler: " + b"x" * 400))[0])
    started = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        ask(url, 0.6)
    assert 0.4 < time.monotonic() - started < 20


def test_an_answer_that_is_cut_is_no_answer(ask: Ask) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(serve(lambda to: to.sendall(HEAD + b"Content-Length: 20\r\n\r\n{}")))


def test_an_answer_has_a_size() -> None:
    assert _http.read_limited(io.BytesIO(b"x" * 200_000), 200_000) == b"x" * 200_000
    with pytest.raises(_http.AnswerTooLarge, match="larger than"):
        _http.read_limited(io.BytesIO(b"x" * 200_001), 200_000)


def test_a_body_without_an_end_is_left_early() -> None:
    class Endless:
        given = 0

        def read1(self, size: int) -> bytes:
            self.given += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(_http.AnswerTooLarge, match=r"larger than 67\.1 MB"):
        _http.read_limited(endless)
    assert endless.given <= _http.JSON_LIMIT + 2**20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", made),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


def serve_encrypted(certificate: tuple[str, str], send: t.Callable[[socket.socket], None], tunnel: bool = False) -> int:
    """The port of a server that answers one question over TLS, behind the words of a proxy that makes a tunnel."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def answer() -> None:
        with listener, listener.accept()[0] as plain, contextlib.suppress(OSError):
            if tunnel:
                asked = b""
                # Older Pythons send the request in pieces.
                while not asked.endswith(b"\r\n\r\n"):
                    asked += plain.recv(65536)
                assert asked.startswith(b"CONNECT localhost:443 ")
                plain.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n")
            with context.wrap_socket(plain, server_side=True) as encrypted:
                encrypted.recv(65536)
                send(encrypted)

    threading.Thread(target=answer, daemon=True).start()
    return int(listener.getsockname()[1])


def ask_encrypted(
    certificate: tuple[str, str], url: str, proxies: dict[str, str] | None = None, timeout: float = 30.0
) -> bytes:
    context = ssl.create_default_context(cafile=certificate[0])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies or {}), _http.HttpsHandler(context))
    with opener.open(url, timeout=timeout) as response:
        return _http.read_limited(response)


def good(to: socket.socket) -> None:
    to.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")


def test_an_encrypted_answer_ends_with_the_timeout_as_well(certificate: tuple[str, str]) -> None:
    assert ask_encrypted(certificate, f"https://localhost:{serve_encrypted(certificate, good)}/") == b"{}"
    port = serve_encrypted(certificate, lambda to: (to.sendall(HEAD), drip(to, b"X-Filler: " + b"x" * 400))[0])
    started = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        ask_encrypted(certificate, f"https://localhost:{port}/", timeout=1.5)
    assert time.monotonic() - started < 20


def test_a_proxy_makes_a_tunnel_and_the_certificate_is_the_servers(certificate: tuple[str, str]) -> None:
    port = serve_encrypted(certificate, good, tunnel=True)
    assert ask_encrypted(certificate, "https://localhost/", {"https": f"http://127.0.0.1:{port}"}) == b"{}"


def test_a_certificate_of_another_name_is_refused(certificate: tuple[str, str]) -> None:
    port = serve_encrypted(certificate, good)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask_encrypted(certificate, f"https://127.0.0.1:{port}/")
