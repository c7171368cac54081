# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import email.utils
import gzip
import socket
import ssl
import subprocess
import threading
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _transport
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._transport import TransportError

SECRETS = {"Authorization": "Bearer T", "Cookie": "m_session_id=T", "Accept": "application/json"}


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    server = lab.Hub()
    server.add_model("acme/tiny").commit({"config.json": b"{}"})
    with server:
        yield server


@pytest.fixture
def secure(hub: t.Any, tmp_path: t.Any) -> tuple[str, str]:
    """The hub with a certificate of its own, and the file of the authority that signed it: itself."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hub._server.socket = context.wrap_socket(hub._server.socket, server_side=True)
    return hub.url.replace("http:", "https:"), certificate


def url_of(hub: t.Any) -> str:
    return f"{hub.url}/api/v1/models/acme/tiny"


def fault(**values: t.Any) -> t.Any:
    import hub as lab

    return lab.Fault(match="", **values)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, True), (429, True), (500, True), (503, True), (404, False), (401, False), (302, False)],
)
def test_worth_retrying(status: int | None, expected: bool) -> None:
    assert _transport.worth_retrying(status) is expected


@pytest.mark.parametrize(
    ("attempt", "retry_after", "expected"),
    [
        (1, None, 1),
        (2, None, 2),
        (3, None, 4),
        (1, "7", 7),
        (1, "2.5", 2.5),
        (1, "900", 60),
        (2, "Wed, 21 Oct 2015 07:28:00 GMT", 2),
    ],
)
def test_pause(attempt: int, retry_after: str | None, expected: float) -> None:
    assert _transport.pause_before(attempt, retry_after) == expected


@pytest.mark.parametrize(
    ("old", "new", "secrets"),
    [
        ("https://hub/a", "https://hub/b", True),
        ("http://hub/a", "https://hub/a", True),
        ("https://hub/a", "http://hub/a", False),
        ("https://hub/a", "https://cdn/a", False),
        ("https://hub/a", "https://hub:8443/a", False),
        ("http://hub/a", "https://cdn/a", False),
    ],
)
def test_secrets_follow_only_to_the_same_host(old: str, new: str, secrets: bool) -> None:
    kept = _transport.headers_after_redirect(SECRETS, old, new)
    assert kept == (SECRETS if secrets else {"Accept": "application/json"})


def test_get(hub: t.Any) -> None:
    assert b'"Name": "tiny"' in _transport.get(url_of(hub), SECRETS, 5)
    assert hub.log[0]["authorization"] == "Bearer T"


def test_passing_errors_are_tried_again(hub: t.Any) -> None:
    pauses: list[float] = []
    hub.faults = [fault(kind="status", status=503, times=1), fault(kind="status", status=429, retry_after=9, times=1)]
    assert b"tiny" in _transport.get(url_of(hub), {}, 5, sleep=pauses.append)
    assert pauses == [1, 9]


@pytest.mark.parametrize(("status", "requests"), [(500, 4), (404, 1), (401, 1)])
def test_other_errors_end_it(hub: t.Any, status: int, requests: int) -> None:
    hub.faults = [fault(kind="status", status=status, times=-1)]
    with pytest.raises(TransportError, match=f"/api/v1/models/acme/tiny answered HTTP {status}") as caught:
        _transport.get(url_of(hub) + "?Revision=x", {}, 5, sleep=lambda seconds: None)
    assert caught.value.status == status
    assert "Revision" not in str(caught.value)
    assert len(hub.log) == requests


def test_nobody_there() -> None:
    with pytest.raises(TransportError, match=r"http://127\.0\.0\.1:9/ could not be reached") as caught:
        _transport.get("http://127.0.0.1:9/", {}, 1, sleep=lambda seconds: None)
    assert caught.value.status is None


def test_no_answer_in_time(hub: t.Any) -> None:
    hub.faults = [fault(kind="slow", delay=1.0, times=-1)]
    with pytest.raises(TransportError, match="could not be reached"):
        _transport.get(url_of(hub), {}, 0.1, sleep=lambda seconds: None)


def test_cut_answer_is_tried_again(hub: t.Any) -> None:
    hub.faults = [fault(kind="cut", at=10, times=1)]
    assert b"tiny" in _transport.get(url_of(hub), {}, 5, sleep=lambda seconds: None)
    assert len(hub.log) == 2


def test_redirects(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to="/api/v1/models/acme/tiny", times=1)]
    assert b"tiny" in _transport.get(f"{hub.url}/old", SECRETS, 5)
    assert [entry["authorization"] for entry in hub.log] == ["Bearer T", "Bearer T"]
    hub.reset_log()
    elsewhere = url_of(hub).replace("127.0.0.1", "localhost")
    hub.faults = [fault(kind="redirect", to=elsewhere, times=1)]
    assert b"tiny" in _transport.get(f"{hub.url}/old", SECRETS, 5)
    assert [(entry["authorization"], entry["cookie"]) for entry in hub.log] == [
        ("Bearer T", "m_session_id=T"),
        (None, None),
    ]


def test_endless_redirects(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to=url_of(hub), times=-1)]
    with pytest.raises(TransportError, match="was reached by 5 redirects and leads on"):
        _transport.get(url_of(hub), {}, 5)


def test_redirect_to_something_else(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to="file:///etc/passwd", times=-1)]
    with pytest.raises(TransportError, match="which is not a web address"):
        _transport.get(url_of(hub), {}, 5)


def test_too_long_an_answer(hub: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "BODY_LIMIT", 10)
    with pytest.raises(TransportError, match="answered with more than 10 bytes"):
        _transport.get(url_of(hub), {}, 5)


@pytest.mark.usefixtures("stored_credentials")
def test_stored_credentials_are_not_used(hub: t.Any) -> None:
    _transport.get(url_of(hub), {}, 5)
    assert [entry["authorization"] for entry in hub.log] == [None]


def test_authorities_that_cannot_be_read(tmp_path: t.Any) -> None:
    with pytest.raises(
        TransportError, match=r"the certificate authorities in .*none\.pem cannot be read: .*No such file"
    ):
        _transport.get("https://127.0.0.1:9/", {}, 1, str(tmp_path / "none.pem"))


def test_certificate_of_an_unknown_authority(secure: tuple[str, str], hub: t.Any) -> None:
    url, authority = secure
    with pytest.raises(
        TransportError, match=r"certificate verify failed.*; name its certificate authority with ca_path"
    ):
        _transport.get(f"{url}/api/v1/models/acme/tiny", {}, 5)
    assert hub.log == []
    assert b"tiny" in _transport.get(f"{url}/api/v1/models/acme/tiny", {}, 5, authority)


@pytest.mark.parametrize(
    ("retry_after", "rate_limit", "expected"),
    [
        (None, '"resolvers";r=0;t=154', 154),
        ("20", '"api";r=0;t=154', 20),
        (None, '"api";r=0', None),
        (None, '"api";r=0;t=x', None),
        ("soon", None, None),
        ("-5", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_seconds_that_a_hub_asks_for(retry_after: str | None, rate_limit: str | None, expected: float | None) -> None:
    assert _transport.seconds_asked(retry_after, rate_limit) == expected


class Raw:
    """A server that answers each request with bytes as they are given, in pieces with a pause between them."""

    def __init__(self, *answers: bytes, pause: float = 0.0, piece: int = 1 << 20) -> None:
        self.asked: list[bytes] = []
        self._answers = list(answers)
        self._pause, self._piece = pause, piece
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                self._socket.close()
                return
            with connection:
                self.asked.append(connection.recv(65536))
                answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
                for start in range(0, len(answer), self._piece):
                    try:
                        connection.sendall(answer[start : start + self._piece])
                    except OSError:
                        break
                    time.sleep(self._pause)

    def close(self) -> None:
        # Closing it would wake nobody who waits in it, but shutting it does.
        self._socket.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def raw() -> t.Iterator[t.Callable[..., Raw]]:
    servers: list[Raw] = []

    def make(*answers: bytes, **options: t.Any) -> Raw:
        servers.append(Raw(*answers, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


LIMITED = b'HTTP/1.1 429 Too Many Requests\r\nRateLimit: "resolvers";r=0;t=154\r\nContent-Length: 0\r\n\r\n'
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_too_many_requests_are_waited_for_as_long_as_the_hub_says(raw: t.Callable[..., Raw]) -> None:
    pauses: list[float] = []
    assert _transport.get(raw(LIMITED, FINE).url, {}, 5, sleep=pauses.append) == b"{}"
    assert pauses == [154]


def test_waiting_for_too_many_requests_has_an_end(raw: t.Callable[..., Raw]) -> None:
    pauses: list[float] = []
    server = raw(LIMITED)
    with pytest.raises(TransportError, match=r"HTTP 429 Too Many Requests and asks to wait 154 s") as caught:
        _transport.get(server.url, {}, 5, sleep=pauses.append)
    assert sum(pauses) <= _transport.PATIENCE
    assert len(server.asked) == 2
    assert "a token raises the limit" in _transport.explain(caught.value, has_token=False)
    assert "a token" not in _transport.explain(caught.value, has_token=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 90_000,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 60_000,
    ],
)
def test_answer_that_comes_byte_by_byte_ends(
    raw: t.Callable[..., Raw], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """No single read takes long, so no timeout of a read ends it."""
    monkeypatch.setattr(_transport, "ANSWER_LIMIT", 0.5)
    started = time.monotonic()
    with pytest.raises(TransportError, match="did not send its answer within"):
        _transport.get(raw(answer, pause=0.05, piece=1).url, {}, 5)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://hub:port/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999\r\n\r\n",
        b"\x00\xff\xfe",
        b"",
    ],
)
def test_answers_that_are_no_http_end_in_an_error_of_ours_or_a_body(raw: t.Callable[..., Raw], answer: bytes) -> None:
    body = b""
    with contextlib.suppress(TransportError):
        body = _transport.get(raw(answer).url, {}, 5, sleep=lambda seconds: None)
    assert body in (b"", b"{}")


@pytest.mark.parametrize("secret", ["hunter2\n", "hunter2\u4ee4", "hunter2\u201d"])
def test_header_that_cannot_be_sent_is_not_quoted(raw: t.Callable[..., Raw], secret: str) -> None:
    server = raw(FINE)
    with pytest.raises(TransportError) as caught:
        _transport.get(server.url, {"Authorization": f"Bearer {secret}"}, 5, sleep=lambda seconds: None)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "hunter2" not in shown
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (None, None),
        ('<https://elsewhere/x?cursor=2>; rel="first"', None),
        ('<https://elsewhere/other?cursor=2>; rel="next"', "https://hub/tree?cursor=2"),
        ('<http://hub/tree?cursor=2>; rel="next"', "https://hub/tree?cursor=2"),
        ("</tree?cursor=2>; rel=next", "https://hub/tree?cursor=2"),
    ],
)
def test_next_page_stays_at_the_endpoint(link: str | None, expected: str | None) -> None:
    assert _transport.next_page_of("https://hub/tree?limit=1", link) == expected


@pytest.mark.parametrize(
    "link", ["<https://hub/page2>; rel=next", "<?>; rel=next", "<?a b>; rel=next", "<?é>; rel=next"]
)
def test_next_page_that_is_not_understood_is_told(link: str) -> None:
    with pytest.raises(TransportError, match="names its next page in a way that is not understood"):
        _transport.next_page_of("https://hub/tree?limit=1", link)


@pytest.mark.parametrize(
    ("old", "new", "secrets"),
    [
        ("http://hub:8080/a", "https://hub:9999/a", False),
        ("http://hub:80/a", "http://hub/a", True),
        ("https://hub/a", "https://hub:443/a", True),
    ],
)
def test_secrets_stay_with_the_port_they_were_given_for(old: str, new: str, secrets: bool) -> None:
    kept = _transport.headers_after_redirect(SECRETS, old, new)
    assert kept == (SECRETS if secrets else {"Accept": "application/json"})


def answer_of(status: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return f"{head}\r\n\r\n".encode("latin-1") + body


def failure_of(url: str, headers: t.Mapping[str, str] | None = None) -> TransportError:
    with pytest.raises(TransportError) as caught:
        _transport.get(url, headers or {}, 5, sleep=lambda seconds: None)
    return caught.value


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_date_to_come_again_is_waited_for(raw: t.Callable[..., Raw], status: str) -> None:
    pauses: list[float] = []
    again = email.utils.formatdate(time.time() + 40, usegmt=True)
    server = raw(answer_of(status, f"Retry-After: {again}"), FINE)
    assert _transport.get(server.url, {}, 5, sleep=pauses.append) == b"{}"
    assert 30 < pauses[0] <= 40


def test_a_date_far_away_is_not_waited_for_to_its_end() -> None:
    assert _transport.pause_before(1, "Fri, 01 Jan 2100 00:00:00 GMT") == _transport.LONGEST_PAUSE


def test_what_a_proxy_packed_is_unpacked(raw: t.Callable[..., Raw]) -> None:
    server = raw(answer_of("200 OK", "Content-Encoding: gzip", body=gzip.compress(b'{"a": 1}', mtime=0)))
    assert _transport.get(server.url, {}, 5) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("br", b"\x0b\x02\x80", "in the encoding br, which was not asked for"),
        ("gzip", b"<html>", "gzip that cannot be unpacked"),
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9], "could not be reached: IncompleteRead"),
        ("gzip", gzip.compress(b"x" * 5000, mtime=0), "more than 4000 bytes"),
    ],
)
def test_what_cannot_be_unpacked_is_told(
    raw: t.Callable[..., Raw], monkeypatch: pytest.MonkeyPatch, encoding: str, body: bytes, said: str
) -> None:
    monkeypatch.setattr(_transport, "BODY_LIMIT", 4000)
    server = raw(answer_of("200 OK", f"Content-Encoding: {encoding}", body=body))
    assert said in str(failure_of(server.url))


@pytest.mark.parametrize("location", ["/a b?sig=1", "/\xe6\xa8\xa1?sig=1"])
def test_a_redirect_to_letters_that_no_request_can_hold_is_followed(raw: t.Callable[..., Raw], location: str) -> None:
    server = raw(answer_of("302 Found", f"Location: {location}"), FINE)
    assert _transport.get(server.url, {}, 5) == b"{}"
    assert server.asked[1].startswith((b"GET /a%20b?sig=1 ", b"GET /%E6%A8%A1?sig=1 "))


def test_the_query_of_a_redirect_is_not_told(raw: t.Callable[..., Raw]) -> None:
    server = raw(answer_of("302 Found", "Location: file:///x?sig=hunter2"))
    assert "hunter2" not in str(failure_of(server.url))


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_a_storage_that_refuses_is_not_taken_for_the_hub(raw: t.Callable[..., Raw], status: str) -> None:
    storage = raw(answer_of(status))
    hub = raw(answer_of("302 Found", f"Location: {storage.url}/x?sig=hunter2"))
    failure = failure_of(f"{hub.url}/o/m")
    text = _transport.explain(failure, has_token=True)
    assert f"{storage.url}/x, to which {hub.url}/o/m leads," in text
    assert "a storage that does not give out the file" in text
    assert "hunter2" not in text


def test_a_storage_that_cannot_be_reached_is_named(raw: t.Callable[..., Raw]) -> None:
    hub = raw(answer_of("302 Found", "Location: http://127.0.0.1:1/x"))
    assert f"http://127.0.0.1:1/x, to which {hub.url} leads, could not be reached" in str(failure_of(hub.url))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("400 \x1b[31mred", "answered HTTP 400 \\x1b[31mred"),
        ("400 " + "x" * 5000, "x…"),
        ("403 ", "answered HTTP 403 Forbidden"),
        ("524 ", "answered HTTP 524"),
        ("400 Bearer hunter2 is refused", "answered HTTP 400 ******** is refused"),
        ("400 token hunter2", "answered HTTP 400 token ********"),
    ],
)
def test_the_words_of_a_server_are_told_as_a_terminal_may_show_them(
    raw: t.Callable[..., Raw], status: str, said: str
) -> None:
    text = str(failure_of(raw(answer_of(status)).url, {"Authorization": "Bearer hunter2"}))
    assert text.endswith(said)
    assert len(text) < 400


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02F", b"{}"])
def test_what_is_no_http_server_is_told_as_that(raw: t.Callable[..., Raw], answer: bytes) -> None:
    text = str(failure_of(raw(answer).url))
    assert text.endswith("answers, and not as an HTTP server; is it to be asked by https?")


@pytest.mark.parametrize(("status", "advice"), [(407, "give them in the option proxy"), (451, "use another source")])
def test_refusals_that_are_not_the_hubs_own_have_their_advice(status: int, advice: str) -> None:
    assert advice in _transport.explain(TransportError("said so", status), has_token=True)
