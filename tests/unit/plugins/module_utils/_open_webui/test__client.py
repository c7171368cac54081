# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import gzip
import http.client
import http.server
import json
import pathlib
import socket
import ssl
import threading
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _client, _private_folder, _shape
from ansible_collections.private_llm.fleet.tests.support import ports


class Answer(t.NamedTuple):
    status: int
    body: t.Any
    content_type: str = "application/json"
    headers: t.Mapping[str, str] = {}


class Scripted:
    """A real HTTP server on this machine that gives prepared answers and remembers the questions."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str, t.Any, t.Mapping[str, str]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.requests.append((self.command, self.path, body, dict(self.headers)))
                queue = outer.answers[f"{self.command} {self.path}"]
                answer = queue.pop(0) if len(queue) > 1 else queue[0]
                if answer.status == 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(data)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def log_message(self, *args: t.Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def on(self, call: str, *answers: Answer) -> None:
        self.answers[call] = list(answers)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> t.Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(server: Scripted, pauses: list[float]) -> _client.Client:
    return _client.Client(server.url, timeout=5, sleep=pauses.append, now=lambda: 1_000_000_000.0)


SIGNIN = "POST /api/v1/auths/signin"
# Open WebUI 0.12.4, shortened to what is read.
SIGNED_IN = Answer(200, {"token": "jwt", "token_type": "Bearer", "role": "admin", "email": "admin@example.com"})
LIMITED = Answer(429, {"detail": "API rate limit exceeded"})
PAGE = Answer(200, b"<!doctype html><html><body>Open WebUI</body></html>", "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://gpu-01:3000", "http://gpu-01:3000"),
        (" https://chat.example.com// ", "https://chat.example.com"),
        ("http://[::1]:3000/", "http://[::1]:3000"),
    ],
)
def test_normalize_webui_url(given: str, expected: str) -> None:
    assert _client.normalize_webui_url(given) == expected


@pytest.mark.parametrize(
    "given", ["gpu-01:3000", "ftp://gpu-01", "", "http://", "http://me:pw@gpu-01", "http://gpu-01?x=1"]
)
def test_normalize_webui_url_refuses(given: str) -> None:
    with pytest.raises(_client.OpenWebUiError, match="webui_url"):
        _client.normalize_webui_url(given)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("Sun, 09 Sep 2001 01:46:50 GMT", 10.0),
        ("Sun, 09 Sep 2001 01:46:30 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_seconds(header: str | None, expected: float | None) -> None:
    assert _client.retry_after_seconds(header, 1_000_000_000.0) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"detail": "Model not found"}', "Model not found"),
        (b'{"error": {"message": "Unauthorized", "code": 401}}', "Unauthorized"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": [{"loc": ["body", "email"], "msg": "field required"}]}', "email: field required"),
        (b"<html><h1>502 Bad Gateway</h1><hr>nginx</html>", "502 Bad Gateway nginx"),
        (b"", "no reason given"),
        (b"[1, 2]", "[1, 2]"),
    ],
)
def test_error_detail(body: bytes, expected: str) -> None:
    assert _client.error_detail(_client.Reply(500, "", body, None, None)) == expected


def test_sign_in_sends_the_token_from_then_on(server: Scripted, client: _client.Client) -> None:
    server.on(SIGNIN, SIGNED_IN)
    server.on("GET /openai/config", Answer(200, {"ok": True}))
    client.sign_in("admin@example.com", "pw")
    assert client.get("/openai/config") == {"ok": True}
    method, path, body, headers = server.requests[0]
    assert (method, path, body) == ("POST", "/api/v1/auths/signin", {"email": "admin@example.com", "password": "pw"})
    assert "Authorization" not in headers
    assert server.requests[1][3]["Authorization"] == "Bearer jwt"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(400, {"detail": "The email or password provided is incorrect."}),
            "does not accept webui_password for admin@example.com: The email or password provided is incorrect.",
        ),
        (Answer(403, {"detail": "Action prohibited."}), "password sign-in switched off"),
        (
            Answer(200, {"next_step": "verify", "challenge_token": "x", "expires_in": 300}),
            "needs a second factor at http",
        ),
        (Answer(200, {"token": "jwt", "role": "user"}), "with the role 'user'; this needs an administrator"),
        (Answer(200, {"role": "admin"}), "sent no token"),
    ],
    ids=["wrong password", "no passwords", "second factor", "not an administrator", "no token"],
)
def test_sign_in_says_what_is_wrong(server: Scripted, client: _client.Client, answer: Answer, words: str) -> None:
    server.on(SIGNIN, answer)
    with pytest.raises(_client.SignInError) as caught:
        client.sign_in("admin@example.com", "hunter2")
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert len(server.requests) == 1


def test_anybody_may_sign_in_where_no_administrator_is_needed(server: Scripted, client: _client.Client) -> None:
    server.on(SIGNIN, Answer(200, {"token": "jwt", "role": "user"}))
    server.on("GET /api/models", Answer(200, {"data": []}))
    client.sign_in("user@example.com", "pw", admin=False)
    client.get("/api/models")
    assert server.requests[1][3]["Authorization"] == "Bearer jwt"


def test_a_sign_in_limit_is_waited_out_without_knocking_too_often(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on(SIGNIN, LIMITED, LIMITED, SIGNED_IN)
    client.sign_in("admin@example.com", "pw")
    assert pauses == [60.0, 60.0]


def test_a_sign_in_limit_that_stays_is_an_error(server: Scripted, client: _client.Client, pauses: list[float]) -> None:
    server.on(SIGNIN, LIMITED)
    with pytest.raises(_client.SignInError, match=r"still limits sign-ins for admin@example\.com after 300 seconds"):
        client.sign_in("admin@example.com", "pw")
    assert sum(pauses) == 300


def test_retry_after_is_obeyed(server: Scripted, client: _client.Client, pauses: list[float]) -> None:
    server.on("GET /x", Answer(429, {}, headers={"Retry-After": "9"}), Answer(200, {"ok": 1}))
    assert client.get("/x") == {"ok": 1}
    assert pauses == [9.0]


def test_a_limit_without_retry_after_is_an_error_elsewhere(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on("GET /x", LIMITED)
    with pytest.raises(_client.ApiError, match="answers GET /x with 429: API rate limit exceeded") as caught:
        client.get("/x")
    assert caught.value.status == 429
    assert pauses == []


def test_a_retry_after_beyond_patience_is_an_error(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on("GET /x", Answer(429, {"detail": "later"}, headers={"Retry-After": "3600"}))
    with pytest.raises(_client.ApiError, match="429"):
        client.get("/x")
    assert pauses == []


def test_a_page_with_status_200_is_an_error(server: Scripted, client: _client.Client) -> None:
    server.on("GET /api/v1/typo", PAGE)
    with pytest.raises(_client.OpenWebUiError) as caught:
        client.get("/api/v1/typo")
    assert "answers GET /api/v1/typo with a page (text/html) where the API answers in JSON" in str(caught.value)


def test_broken_json_is_an_error(server: Scripted, client: _client.Client) -> None:
    server.on("GET /x", Answer(200, b'{"half": '))
    with pytest.raises(_client.OpenWebUiError, match="broken JSON"):
        client.get("/x")


def test_a_redirect_is_not_followed(server: Scripted, client: _client.Client) -> None:
    client.use_token("t")
    server.on("POST /x", Answer(301, b"", headers={"Location": "https://chat.example.com/x"}))
    with pytest.raises(_client.OpenWebUiError, match=r"redirects to https://chat\.example\.com/x: set webui_url"):
        client.post("/x", {})
    assert [request[1] for request in server.requests] == ["/x"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_does_not_work(server: Scripted, client: _client.Client, status: int) -> None:
    server.on("GET /openai/config", Answer(status, {"detail": "401 Unauthorized"}))
    client.use_token("sk-wrong")
    with pytest.raises(
        _client.SignInError, match="refuses webui_token for GET /openai/config: 401 Unauthorized"
    ) as caught:
        client.get("/openai/config")
    assert "sk-wrong" not in str(caught.value)


def test_a_closed_connection_is_tried_again(server: Scripted, client: _client.Client, pauses: list[float]) -> None:
    server.on("GET /x", Answer(0, None), Answer(0, None), Answer(200, {"ok": 1}))
    assert client.get("/x") == {"ok": 1}
    assert pauses == [1.0, 2.0]


def test_what_the_server_may_have_done_is_not_done_twice(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on("POST /api/v1/groups/create", Answer(0, None), Answer(200, {"id": "second"}))
    with pytest.raises(_client.UnreachableError, match=r"the connection was closed without an answer \(1 attempt\)"):
        client.post("/api/v1/groups/create", {"name": "research"})
    assert len(server.requests) == 1
    assert pauses == []


def test_signing_in_is_tried_again(server: Scripted, client: _client.Client, pauses: list[float]) -> None:
    server.on("POST /api/v1/auths/signin", Answer(0, None), Answer(200, {"token": "t", "role": "admin"}))
    client.sign_in("a@b", "p")
    assert pauses == [1.0]


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), True),
        (socket.gaierror(-2, "x"), True),
        (OSError(errno.EHOSTUNREACH, "x"), True),
        (OSError(errno.ENETUNREACH, "x"), True),
        (ConnectionResetError(errno.ECONNRESET, "x"), False),
        (BrokenPipeError(errno.EPIPE, "x"), False),
        (http.client.RemoteDisconnected("x"), False),
        (http.client.IncompleteRead(b""), False),
        (TimeoutError(), False),
    ],
)
def test_a_request_that_never_arrived(reason: Exception, never: bool) -> None:
    assert _client.never_arrived(reason) is never


def test_a_gateway_that_is_not_ready_is_asked_again(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on("GET /x", Answer(502, b"<html>", "text/html"), Answer(200, {"ok": 1}))
    assert client.get("/x") == {"ok": 1}
    assert pauses == [1.0]


def test_nobody_there(pauses: list[float]) -> None:
    with ports.refusing() as placeholder:
        port = placeholder.getsockname()[1]
        client = _client.Client(f"http://127.0.0.1:{port}", timeout=5, sleep=pauses.append)
        with pytest.raises(_client.UnreachableError) as caught:
            client.check_version()
    assert str(caught.value).startswith(
        f"Open WebUI at http://127.0.0.1:{port} does not answer GET /api/version: connection refused (4 attempts)."
    )
    assert pauses == [1.0, 2.0, 4.0]


def test_a_name_that_does_not_resolve(pauses: list[float]) -> None:
    client = _client.Client("http://no-such-host.invalid:3000", timeout=5, sleep=pauses.append)
    with pytest.raises(_client.UnreachableError, match="the host name cannot be resolved"):
        client.get("/x")


def test_a_question_that_takes_too_long_is_not_asked_twice(pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = _client.Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2, sleep=pauses.append)
        with pytest.raises(_client.UnreachableError, match=r"POST /chat: no answer in time \(1 attempt\)"):
            client.post("/chat", {})
    assert pauses == []


def test_not_tls_at_all(server: Scripted, pauses: list[float]) -> None:
    client = _client.Client(server.url.replace("http:", "https:"), timeout=5, sleep=pauses.append)
    with pytest.raises(_client.UnreachableError, match=r"the TLS connection to https://127\.0\.0\.1:\d+ failed"):
        client.get("/x")
    assert pauses == []


def test_a_proxy_of_the_environment_is_not_asked_about_this_host(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET /x", Answer(200, {"ok": 1}))
    assert _client.Client(server.url, timeout=5).get("/x") == {"ok": 1}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, {"version": "0.6.5"}), "is version 0.6.5; these modules need 0.11.4 or newer"),
        (Answer(200, {"version": ""}), "answers /api/version without a version"),
        (Answer(200, ["something else"]), "answers /api/version without a version"),
        (Answer(404, b"not here", "text/plain"), "answers GET /api/version with 404: not here"),
        (PAGE, "with a page (text/html)"),
    ],
)
def test_what_is_not_an_open_webui_of_today(
    server: Scripted, client: _client.Client, answer: Answer, words: str
) -> None:
    server.on("GET /api/version", answer)
    with pytest.raises(_client.OpenWebUiError) as caught:
        client.check_version()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("credentials", "asked"),
    [
        ({"webui_token": "sk-x", "webui_email": None, "webui_password": None}, ["/api/version"]),
        (
            {"webui_token": None, "webui_email": "admin@example.com", "webui_password": "pw"},
            ["/api/version", "/api/v1/auths/signin"],
        ),
    ],
)
def test_connect(server: Scripted, credentials: dict, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_private_folder, "private_folder", lambda: None)
    server.on("GET /api/version", Answer(200, {"version": "0.12.4", "deployment_id": ""}))
    server.on(SIGNIN, SIGNED_IN)
    connected = _client.connect({"webui_url": server.url, "timeout": 5, "validate_certs": True, **credentials})
    assert connected.version == "0.12.4"
    assert [request[1] for request in server.requests] == asked


ME = "GET /api/v1/auths/"
PERSON = Answer(200, {"id": "u1", "role": "admin", "email": "admin@example.com"})


def session(server: Scripted, folder: pathlib.Path, admin: bool = True) -> list[str]:
    """One task that signs in as the admin and asks something; the calls that it made."""
    server.requests.clear()
    server.on("GET /openai/config", Answer(200, {}))
    client = _client.Client(server.url, timeout=5)
    client.resume("admin@example.com", "pw", _private_folder.SessionStore(str(folder)), admin=admin)
    client.get("/openai/config")
    assert server.requests[-1][3]["Authorization"] == "Bearer jwt"
    return [f"{request[0]} {request[1]}" for request in server.requests[:-1]]


def test_tasks_share_one_sign_in(server: Scripted, tmp_path: pathlib.Path) -> None:
    server.on(SIGNIN, SIGNED_IN)
    server.on(ME, PERSON)
    assert session(server, tmp_path) == [SIGNIN]
    assert session(server, tmp_path) == [ME]
    assert session(server, tmp_path, admin=False) == [ME]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"detail": "Your session has expired"}),
        Answer(200, {"id": "u1", "role": "user"}),
        PAGE,
    ],
)
def test_a_session_that_ended_is_replaced(server: Scripted, tmp_path: pathlib.Path, answer: Answer) -> None:
    server.on(SIGNIN, SIGNED_IN)
    server.on(ME, answer)
    assert session(server, tmp_path) == [SIGNIN]
    assert session(server, tmp_path) == [ME, SIGNIN]


def test_a_sign_in_that_failed_is_not_kept(server: Scripted, tmp_path: pathlib.Path) -> None:
    server.on(SIGNIN, Answer(400, {"detail": "no"}), SIGNED_IN)
    with pytest.raises(_client.WrongPasswordError):
        session(server, tmp_path)
    assert session(server, tmp_path) == [SIGNIN]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, {"token": "theirs", "role": "user"}), True),
        (Answer(200, {"next_step": "verify", "challenge_token": "c"}), True),
        (Answer(400, {"detail": "The email or password provided is incorrect."}), False),
    ],
)
def test_accepts(server: Scripted, client: _client.Client, answer: Answer, expected: bool) -> None:
    server.on(SIGNIN, answer)
    server.on("GET /x", Answer(200, {}))
    client.use_token("ours")
    assert client.accepts("ann@example.com", "pw") is expected
    client.get("/x")
    assert "Authorization" not in server.requests[0][3]
    assert server.requests[1][3]["Authorization"] == "Bearer ours"


def test_accepts_does_not_guess(server: Scripted, client: _client.Client) -> None:
    server.on(SIGNIN, Answer(403, {"detail": "off"}))
    with pytest.raises(_client.SignInError, match="password sign-in switched off"):
        client.accepts("ann@example.com", "pw")


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (Answer(200, {"status": True}), "ready", "is ready"),
        (Answer(503, {"detail": "Startup not complete"}), "starting", "is starting: Startup not complete"),
        (Answer(502, b"<h1>Bad Gateway</h1>", "text/html"), "starting", "no Open WebUI behind it yet: 502 Bad Gateway"),
        (PAGE, "other", "is not an Open WebUI of today: GET /ready gives 200, text/html"),
        (Answer(404, {"detail": "Not Found"}), "other", "GET /ready gives 404, application/json"),
    ],
)
def test_judge_readiness(server: Scripted, answer: Answer, status: str, words: str) -> None:
    server.on("GET /ready", answer)
    reply = _client.Client(server.url, timeout=5, retry_pauses=()).exchange("GET", "/ready")
    judged, message = _client.judge_readiness(server.url, reply)
    assert judged == status
    assert words in message


def test_certificates_are_checked_unless_told_otherwise() -> None:
    strict = _https_context(_client.Client("https://chat.example.com"))
    lax = _https_context(_client.Client("https://chat.example.com", validate_certs=False))
    assert strict.verify_mode == ssl.CERT_REQUIRED
    assert strict.check_hostname
    assert lax.verify_mode == ssl.CERT_NONE


def _https_context(client: _client.Client) -> ssl.SSLContext:
    contexts = [vars(handler)["_context"] for handler in client._opener.handlers if "_context" in vars(handler)]
    assert len(contexts) == 1
    return contexts[0]


# -- a secret never leaves by an error ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["sk-S3cret\n", " sk-S3cret", "sk-S3cret\r\n"])
def test_a_token_from_a_file_is_used_without_its_newline(server: Scripted, token: str) -> None:
    server.on("GET /api/version", Answer(200, {"version": "0.12.4"}))
    server.on("GET /x", Answer(200, {}))
    _client.connect({"webui_url": server.url, "timeout": 5, "validate_certs": True, "webui_token": token}).get("/x")
    assert server.requests[-1][3]["Authorization"] == "Bearer sk-S3cret"


@pytest.mark.parametrize(
    "token", ["", " ", "sk-S3cret\nsecond", "sk-S3 cret", "\u201csk-S3cret\u201d", "sk-S3cret\x00"]
)
def test_a_token_that_no_header_can_carry_is_refused_before_anything_is_asked(server: Scripted, token: str) -> None:
    with pytest.raises(ValueError, match="webui_token") as caught:
        _client.connect({"webui_url": server.url, "timeout": 5, "validate_certs": True, "webui_token": token})
    assert "S3" not in str(caught.value)
    assert server.requests == []


def test_the_words_of_python_about_a_request_never_come_out(server: Scripted, client: _client.Client) -> None:
    client._token = "sk-S3cret\n"  # past every check
    with pytest.raises(_client.OpenWebUiError, match="GET /x cannot be sent") as caught:
        client.get("/x")
    assert "S3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


# -- a proxy in front of a server that is not there yet ----------------------------------------------------------------

HAPROXY = b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available.\n</body></html>"


@pytest.mark.parametrize("status", [502, 503, 504, 520, 521, 522, 523, 524, 530])
@pytest.mark.parametrize("page", [(HAPROXY, "text/html"), (b"no available server", "text/plain"), (b"", "")])
def test_the_page_of_a_proxy_means_not_yet(server: Scripted, status: int, page: tuple[bytes, str]) -> None:
    server.on("GET /ready", Answer(status, *page))
    reply = _client.Client(server.url, timeout=5, retry_pauses=()).exchange("GET", "/ready")
    judged, message = _client.judge_readiness(server.url, reply)
    assert judged == "starting"
    assert f"a proxy at {server.url} has no Open WebUI behind it yet: {status}" in message


def test_a_proxy_is_asked_again_as_long_as_one_call_may_take(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    client.timeout = 20
    server.on("GET /x", Answer(503, HAPROXY, "text/html"))
    with pytest.raises(_client.NotYetError, match=r"has no Open WebUI behind it.*GET /x gives 503.*a longer timeout"):
        client.get("/x")
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_sign_in_through_a_proxy_that_is_not_ready_is_repeated(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on(SIGNIN, Answer(503, HAPROXY, "text/html"), SIGNED_IN)
    client.sign_in("admin@example.com", "pw")
    assert pauses == [1.0]


def test_what_may_have_changed_something_is_not_sent_twice(
    server: Scripted, client: _client.Client, pauses: list[float]
) -> None:
    server.on("POST /x", Answer(504, b"<h1>Gateway Timeout</h1>", "text/html"))
    with pytest.raises(_client.NotYetError):
        client.post("/x", {})
    assert pauses == []


def test_a_redirect_of_a_login_page_says_where_to(server: Scripted) -> None:
    server.on("GET /ready", Answer(302, b"", "text/html", {"Location": "https://login.example.com/\x1b[2J"}))
    reply = _client.Client(server.url, timeout=5, retry_pauses=()).exchange("GET", "/ready")
    assert "redirects (302) to https://login.example.com/\\x1b[2J" in _client.judge_readiness(server.url, reply)[1]


# -- answers of unknown shape, and of unknown releases -----------------------------------------------------------------


def test_an_unknown_shape_names_the_release_and_the_call(server: Scripted, client: _client.Client) -> None:
    def parse(data: t.Any) -> t.Any:
        return _shape.field(data, "OPENAI_API_BASE_URLS")

    server.on("GET /api/version", Answer(200, {"version": "0.13.1"}))
    server.on("GET /openai/config", Answer(200, {"connections": []}))
    client.check_version()
    with pytest.raises(_client.UnknownAnswerError) as caught:
        client.read("/openai/config", parse)
    assert f"Open WebUI 0.13.1 at {server.url} answers GET /openai/config in a shape" in str(caught.value)
    assert "the answer has no 'OPENAI_API_BASE_URLS' but connections. It was tried with releases" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.11.4", False), ("0.12.4", False), ("0.12.3", False), ("0.12.5", True), ("0.13.0", True), ("1.0.0", True)],
)
def test_a_release_newer_than_tried_is_a_warning(server: Scripted, version: str, told: bool) -> None:
    server.on("GET /api/version", Answer(200, {"version": version}))
    warnings: list[str] = []
    options = {"webui_url": server.url, "timeout": 5, "validate_certs": True, "webui_token": "sk-x"}
    _client.connect(options, warn=warnings.append)
    _client.connect(options, warn=warnings.append)
    assert bool(warnings) is told
    # The same words each time, of which Ansible shows one.
    assert len(set(warnings)) == int(told)


def test_the_release_that_was_tried_is_the_one_that_the_role_installs() -> None:
    defaults = pathlib.Path(__file__).parents[5] / "roles/open_webui/defaults/main.yml"
    tried = ".".join(str(part) for part in _client.TRIED_VERSION)
    assert f"open_webui_image: ghcr.io/open-webui/open-webui:v{tried}" in defaults.read_text(encoding="utf-8")


# -- servers that take no passwords ------------------------------------------------------------------------------------

NO_HEADER = Answer(
    400, {"detail": "Your provider has not provided a trusted header. Please contact your administrator."}
)


@pytest.mark.parametrize("answer", [NO_HEADER, Answer(400, {"detail": "Kopfzeile fehlt"})])
def test_a_server_that_trusts_a_header_is_told_as_such(
    server: Scripted, client: _client.Client, answer: Answer
) -> None:
    server.on(SIGNIN, answer)
    server.on("GET /api/config", Answer(200, {"version": "0.12.4", "features": {"auth_trusted_header": True}}))
    with pytest.raises(_client.NoPasswordsError, match="by a header of the proxy in front of it") as caught:
        client.sign_in("admin@example.com", "hunter2")
    assert "Give webui_token" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("answer", [NO_HEADER, Answer(403, {"detail": "Action prohibited."})])
def test_a_password_that_cannot_be_tried_counts_neither_as_right_nor_as_wrong(
    server: Scripted, client: _client.Client, answer: Answer
) -> None:
    server.on(SIGNIN, answer)
    client.use_token("ours")
    with pytest.raises(_client.NoPasswordsError, match=r"cannot be learned, so it was not set.*update_password at on_"):
        client.accepts("ann@example.com", "pw")
    assert client._token == "ours"


# -- a lying server ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["²", "9" * 400, "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 99 Foo", "\x00", "-5", "1e9"]
)
def test_an_odd_retry_after_is_no_traceback(header: str) -> None:
    found = _client.retry_after_seconds(header, 0.0)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    "given", ["http://[", "http://gpu-01:eighty", "http://gpu-01:²", "http://gpu 01", "http://gpu-01\x1b", "http://ü"]
)
def test_an_odd_address_is_a_sentence(given: str) -> None:
    with pytest.raises(_client.OpenWebUiError, match="webui_url") as caught:
        _client.normalize_webui_url(given)
    assert "\x1b" not in str(caught.value)


def test_what_an_address_carries_is_not_quoted() -> None:
    for given in ("http://me:S3cret@", "ftp://me:S3cret@gpu-01", "http://gpu-01:3000?key=S3cret", "http://me:S3cret@ü"):
        with pytest.raises(_client.OpenWebUiError) as caught:
            _client.normalize_webui_url(given)
        assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, 10**30, float("nan")])
def test_a_timeout_that_nobody_can_wait_for(timeout: float) -> None:
    with pytest.raises(_client.OpenWebUiError, match="timeout is"):
        _client.Client("http://gpu-01", timeout=timeout)


def test_an_answer_without_an_end(server: Scripted, client: _client.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(_response: t.Any, *_size: int) -> t.NoReturn:
        raise _client.AnswerTooLarge("the answer is larger than 64 MiB")

    monkeypatch.setattr(_client, "read_limited", too_large)
    server.on("GET /x", Answer(200, {}))
    with pytest.raises(_client.OpenWebUiError, match=r"GET /x without an end, and was cut off.*64 MiB"):
        client.get("/x")
    assert len(server.requests) == 1


# -- what stands between ----------------------------------------------------------------------------------------------

PROXY_PAGE = b"<html><h1>Blocked by policy</h1></html>"


@pytest.mark.parametrize("status", [400, 403])
def test_a_proxys_page_says_nothing_about_a_password(server: Scripted, client: _client.Client, status: int) -> None:
    server.on(SIGNIN, Answer(status, PROXY_PAGE, "text/html"))
    with pytest.raises(_client.OpenWebUiError, match="Blocked by policy") as caught:
        client.accepts("ann@example.com", "pw")
    assert not isinstance(caught.value, (_client.WrongPasswordError, _client.NoPasswordsError))


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_proxys_refusal_is_not_taken_for_a_wrong_token(server: Scripted, client: _client.Client, status: int) -> None:
    server.on("GET /x", Answer(status, PROXY_PAGE, "text/html"))
    client.use_token("sk-right")
    with pytest.raises(_client.SignInError, match=f"a proxy at .* refuses GET /x with {status}: Blocked") as caught:
        client.get("/x")
    assert "webui_token" not in str(caught.value)


def test_a_token_that_a_server_repeats_is_not_told(server: Scripted, client: _client.Client) -> None:
    server.on("GET /x", Answer(500, {"detail": "cannot read sk-hunter2"}))
    client.use_token("sk-hunter2")
    with pytest.raises(_client.ApiError, match=r"cannot read \*{8}$") as caught:
        client.get("/x")
    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Encoding": "gzip"}, gzip.compress(b'{"ok": 1}', mtime=0)), ({}, b'\xef\xbb\xbf{"ok": 1}')],
)
def test_what_a_proxy_did_to_an_answer_is_undone(
    server: Scripted, client: _client.Client, headers: t.Mapping[str, str], body: bytes
) -> None:
    server.on("GET /x", Answer(200, body, headers=headers))
    assert client.get("/x") == {"ok": 1}


@pytest.mark.parametrize("status", [200, 400])
def test_an_encoding_that_cannot_be_undone_is_told(server: Scripted, client: _client.Client, status: int) -> None:
    server.on("GET /x", Answer(status, b"\x0b\x02\x80", headers={"Content-Encoding": "br"}))
    with pytest.raises(_client.OpenWebUiError, match=r"in the encoding br|a page that cannot be unpacked"):
        client.get("/x")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", "was cut off"),
        (b"\x15\x03\x01\x00\x02\x02F", "not an HTTP server; does it want https"),
    ],
)
def test_what_was_answered_in_part_is_not_sent_twice(pauses: list[float], answer: bytes, said: str) -> None:
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _address = listening.accept()
            except OSError:
                return
            with connection:
                # What is left unread at the end would reset the connection.
                request = connection.recv(65536)
                if request.startswith(b"POST") and b"{" not in request:
                    request += connection.recv(65536)
                asked.append(request)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        client = _client.Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=5, sleep=pauses.append)
        with pytest.raises(_client.UnreachableError, match=said):
            client.post("/api/v1/groups/create", {"name": "x"})
        assert (len(asked), pauses) == (1, [])
        with pytest.raises(_client.UnreachableError, match=said):
            client.get("/x")
        assert len(asked) == 5
        listening.shutdown(socket.SHUT_RDWR)


def test_an_answer_whose_connection_is_reset_is_not_asked_for_twice(
    server: Scripted, client: _client.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(*_arguments: t.Any) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")

    server.on("POST /x", Answer(200, {}))
    monkeypatch.setattr(_client, "read_limited", reset)
    with pytest.raises(_client.UnreachableError, match=r"was cut off \(1 attempt\)"):
        client.post("/x", {})


def test_a_redirect_to_nowhere_is_told_as_that(server: Scripted, client: _client.Client) -> None:
    server.on("GET /x", Answer(308, b""))
    with pytest.raises(_client.OpenWebUiError, match="redirects to nowhere"):
        client.get("/x")


@pytest.mark.parametrize("total", [31, "31", 31.0])
def test_a_part_of_a_list_is_not_read_as_the_whole(total: t.Any) -> None:
    with pytest.raises(_shape.ShapeError, match="users has 1 of 31"):
        _shape.rows({"users": [{}], "total": total}, "users")
