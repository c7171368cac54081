# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import pathlib
import socketserver
import struct
import threading
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _client, _maker
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import (
    Address,
    Api,
    EngineAbsent,
    EngineError,
    EngineTimeout,
    NotFound,
    address_here,
    address_of,
    path_of,
    speak,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._client import Engine, ImageMissing, Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Driver
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import (
    LogLine,
    demultiplex,
    epoch,
    merge_lines,
    parse_log_line,
    split_lines,
)

# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-23T11:54:41.737380837Z", 1795434881.737380837),
        ("2026-11-23T11:54:41Z", 1795434881.0),
        ("2026-11-23T12:54:41.5+01:00", 1795434881.5),
        ("0001-01-01T00:00:00Z", 0.0),
        ("2026-99-99T11:54:41Z", 0.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_epoch(stamp: str, seconds: float) -> None:
    assert epoch(stamp) == pytest.approx(seconds, abs=1e-5)


def test_lines_come_whole_out_of_any_pieces() -> None:
    pieces = [b"one\ntw", b"o\n\nthr", "é".encode()[:1], "é".encode()[1:], b"e"]
    assert list(split_lines(pieces)) == ["one", "two", "", "thrée"]


def test_a_line_that_never_ends_is_cut() -> None:
    assert list(split_lines([b"a" * 5, b"b" * 5, b"\nc"], longest=4)) == ["aaaa", "abbb", "bb", "c"]


def test_a_line_without_a_timestamp_belongs_to_the_one_before() -> None:
    assert parse_log_line("2026-11-23T11:54:41Z some text", 5.0) == LogLine(1795434881.0, "some text")
    assert parse_log_line("more of it", 5.0) == LogLine(5.0, "more of it")


def frame(stream: int, text: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(text)) + text


def test_frames_come_whole_out_of_pieces_of_any_size() -> None:
    whole = frame(1, b"one\ntw") + frame(2, b"bad\n") + frame(1, b"o\n") + frame(2, b"")
    for size in range(1, len(whole) + 1):
        pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert list(merge_lines(demultiplex(pieces))) == ["one", "bad", "two"]


# --- where the engine is, and what it speaks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address("/var/run/docker.sock")),
        ("unix:///run/user/1000/docker.sock", Address("/run/user/1000/docker.sock")),
        ("/run/podman/podman.sock", Address("/run/podman/podman.sock")),
        ("tcp://127.0.0.1:2375", Address("", "127.0.0.1", 2375)),
        ("tcp://[::1]", Address("", "::1", 2375)),
        ("http://engine.lab:80", Address("", "engine.lab", 80)),
    ],
)
def test_address_of_the_engine(text: str, address: Address) -> None:
    assert address_of(text) == address
    assert address_here({"DOCKER_HOST": text}) == address


@pytest.mark.parametrize(
    "text", ["ssh://root:geheim@host", "unix://", "tcp://", "npipe:////./pipe", "tcp://a:b", "tcp://[::1"]
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(EngineError, match="DOCKER_HOST") as caught:
        address_of(text)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", (1, 41)),  # 20.10
        ("1.43", "1.12", (1, 43)),  # 24
        ("1.51", "1.24", (1, 51)),  # 28
        ("1.52", "1.44", (1, 51)),  # 29
        ("1.70", "1.60", (1, 60)),  # one day
        ("1.41", "", (1, 41)),  # others in its place
    ],
)
def test_version_that_both_sides_speak(newest: str, oldest: str, spoken: tuple[int, int]) -> None:
    assert speak({"ApiVersion": newest, "MinAPIVersion": oldest}, Address()) == spoken


def test_an_engine_that_is_too_old_or_none_is_told() -> None:
    with pytest.raises(EngineError, match=r"release 19\.03\.15, which is too old"):
        speak({"ApiVersion": "1.40", "Version": "19.03.15"}, Address())
    with pytest.raises(EngineError, match="is not a Docker Engine"):
        speak({"ApiVersion": ["²"]}, Address())


def test_names_and_parameters_are_escaped() -> None:
    assert path_of("containers", "a b?c", "json") == "/containers/a%20b%3Fc/json"
    assert path_of("images", "reg:5000/a/b@sha256:1", "json") == "/images/reg:5000/a/b@sha256:1/json"
    assert path_of("x", all=True, since=None, filters={"label": ["a=b"]}) == (
        "/x?all=1&filters=%7B%22label%22%3A+%5B%22a%3Db%22%5D%7D"
    )


# --- against a server on a Unix socket --------------------------------------------------------------------------------

VERSION = {"Version": "28.3.0", "ApiVersion": "1.51", "MinAPIVersion": "1.24"}


class Answer(t.NamedTuple):
    status: int = 200
    body: t.Any = None
    kind: str = "application/json"
    pauses: float = 0.0  # between bytes


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers as told and keeps what was asked."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.answers: dict[str, Answer] = {"GET /version": Answer(body=VERSION)}
        self.asked: list[tuple[str, t.Any]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        asked = f"{self.command} {self.path}"
        self.server.asked.append((asked, sent))
        answer = self.server.answers.get(asked, Answer(404, {"message": f"no such thing: {self.path}"}))
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.body is None:
            body = b""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if answer.status not in (204, 304):
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if answer.status in (204, 304):
            return
        step = 1 if answer.pauses else 7
        try:
            for start in range(0, len(body), step):
                piece = body[start : start + step]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                time.sleep(answer.pauses)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *unused: t.Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def server(tmp_path: pathlib.Path) -> t.Iterator[Server]:
    with Server(str(tmp_path / "docker.sock")) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def connect(server: Server) -> Engine:
    return Engine.connect(Address(str(server.server_address)))


def test_it_is_a_driver(server: Server) -> None:
    driver: Driver = connect(server)
    server.answers["GET /v1.51/version"] = Answer(body=VERSION)
    assert driver.ping() == VERSION
    for verb in vars(Driver):
        assert verb.startswith("_") or callable(getattr(driver, verb)), verb


def test_what_is_not_there_is_none(server: Server) -> None:
    engine = connect(server)
    server.answers["GET /v1.51/containers/a/json"] = Answer(body={"Id": "1"})
    assert engine.inspect("a") == {"Id": "1"}
    assert engine.inspect("b") is None
    assert engine.inspect_image("repo:tag") is None
    assert engine.inspect_image("") is None
    assert engine.inspect_network("net") is None
    engine.remove("b")


def test_what_is_so_already_is_no_error(server: Server) -> None:
    engine = connect(server)
    server.answers["POST /v1.51/containers/a/start"] = Answer(304)
    server.answers["POST /v1.51/containers/a/stop?t=5"] = Answer(304)
    engine.start("a")
    engine.stop("a", 5)
    assert [asked for asked, _sent in server.asked[1:]] == [
        "POST /v1.51/containers/a/start",
        "POST /v1.51/containers/a/stop?t=5",
    ]


def test_the_engines_own_sentence_is_what_is_said(server: Server) -> None:
    engine = connect(server)
    server.answers["POST /v1.51/containers/a/rename?name=b"] = Answer(409, {"message": "Conflict. The name\nis in use"})
    with pytest.raises(EngineError) as caught:
        engine.rename("a", "b")
    assert str(caught.value) == "Conflict. The name is in use"
    assert caught.value.status == 409
    with pytest.raises(NotFound):
        engine.rename("a", "c")
    server.answers["POST /v1.51/containers/a/start"] = Answer(500, b"<html>oh</html>", "text/html")
    with pytest.raises(EngineError, match="failed at /containers/a/start: <html>oh</html>"):
        engine.start("a")


def test_a_missing_image_has_a_type_of_its_own(server: Server) -> None:
    engine = connect(server)
    server.answers["POST /v1.51/containers/create?name=a"] = Answer(404, {"message": "No such image: x:1"})
    with pytest.raises(ImageMissing, match="the image x:1 is not on this host"):
        engine.create("a", {"Image": "x:1"})
    server.answers["POST /v1.51/containers/create?name=a"] = Answer(201, {"Id": "abc"})
    assert engine.create("a", {"Image": "x:1"}) == "abc"
    assert server.asked[-1][1] == {"Image": "x:1"}


def test_a_removal_that_somebody_else_began_is_waited_for(server: Server) -> None:
    engine = connect(server)
    busy = {"message": "removal of container a is already in progress"}
    server.answers["DELETE /v1.51/containers/a?v=1&force=1"] = Answer(409, busy)
    server.answers["POST /v1.51/containers/a/wait?condition=removed"] = Answer(body={"StatusCode": 0})
    engine.remove("a")
    assert server.asked[-1][0] == "POST /v1.51/containers/a/wait?condition=removed"
    server.answers["POST /v1.51/containers/a/wait?condition=removed"] = Answer(500, {"message": "device is busy"})
    with pytest.raises(EngineError, match=r"container a is being removed, .* look at it with docker ps --all"):
        engine.remove("a")


LOG = "/v1.51/containers/a/logs?stdout=1&stderr=1&timestamps=1"


def test_of_a_long_log_the_end_is_kept_and_the_start_where_that_is_looked_for(server: Server) -> None:
    engine = connect(server)
    frames = b"".join(frame(1 + number % 2, f"2026-11-23T11:54:41Z {number}\n".encode()) for number in range(30))
    server.answers["GET " + LOG] = Answer(body=frames, kind="application/vnd.docker.multiplexed-stream")
    assert [line.text for line in engine.log("a", limit=2)] == ["28", "29"]
    assert [line.text for line in engine.log("a", until=lambda text: text == "3")] == ["0", "1", "2", "3"]
    server.answers["GET " + LOG] = Answer(body=b"2026-11-23T11:54:41Z raw\n", kind="application/vnd.docker.raw-stream")
    assert engine.log("a") == [LogLine(1795434881.0, "raw")]
    server.answers["GET " + LOG + "&since=17"] = Answer(501, {"message": "logging driver does not support reading"})
    assert engine.log("a", since=17.9) == []
    assert engine.log("nobody") == []


def test_no_secret_is_read_out_of_a_log(server: Server) -> None:
    engine = connect(server)
    body = b"2026-11-23T11:54:41Z non-default args: {'api_key': ['canary']}\n"
    server.answers["GET " + LOG] = Answer(body=frame(1, body), kind="application/vnd.docker.multiplexed-stream")
    assert [line.text for line in engine.log("a")] == ["non-default args: {'api_key': (hidden)}"]


def test_an_old_engine_is_asked_whether_its_log_has_two_streams(server: Server) -> None:
    server.answers["GET /version"] = Answer(body={"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})
    engine = connect(server)
    old = LOG.replace("1.51", "1.41")
    server.answers["GET /v1.41/containers/a/json"] = Answer(body={"Config": {"Tty": False}})
    server.answers["GET " + old] = Answer(body=frame(2, b"2026-11-23T11:54:41Z x\n"), kind="application/octet-stream")
    assert [line.text for line in engine.log("a")] == ["x"]
    server.answers["GET /v1.41/containers/a/json"] = Answer(body={"Config": {"Tty": True}})
    server.answers["GET " + old] = Answer(body=b"2026-11-23T11:54:41Z y\n", kind="application/octet-stream")
    assert [line.text for line in engine.log("a")] == ["y"]


def test_a_log_does_not_fill_the_memory(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "LOG_BYTES", 10)
    engine = connect(server)
    frames = b"".join(frame(1, f"2026-11-23T11:54:41Z {number:04}\n".encode()) for number in range(30))
    server.answers["GET " + LOG] = Answer(body=frames, kind="application/vnd.docker.multiplexed-stream")
    assert [line.text for line in engine.log("a")] == ["0028", "0029"]


def test_a_byte_now_and_then_does_not_hold_the_client_open(server: Server) -> None:
    server.answers["GET /slow"] = Answer(body={"a": "b" * 1000}, pauses=0.05)
    begun = time.monotonic()
    with pytest.raises(EngineTimeout, match=r"did not answer /slow within 0.3 seconds"):
        Api(Address(str(server.server_address)), None, 0.3).get("/slow")
    assert time.monotonic() - begun < 20


def test_an_answer_that_is_too_large_is_refused(server: Server) -> None:
    server.answers["GET /large"] = Answer(body={"a": "b" * 1000})
    with pytest.raises(EngineError, match="with too much"):
        Api(Address(str(server.server_address))).get("/large", limit=500)
    server.answers["GET /odd"] = Answer(body=b"\xff{")
    with pytest.raises(EngineError, match="is not JSON"):
        Api(Address(str(server.server_address))).get("/odd")


def test_where_no_engine_is_it_is_said(tmp_path: pathlib.Path) -> None:
    missing = Address(str(tmp_path / "none.sock"))
    assert not missing.exists()
    with pytest.raises(EngineAbsent, match=r"no Docker Engine answers at .*none\.sock: No such file or directory"):
        Engine.connect(missing)


def test_answers_of_something_else_in_the_engines_place_are_told(server: Server) -> None:
    server.answers["GET /version"] = Answer(body=["a"])
    with pytest.raises(EngineError, match="is not a Docker Engine"):
        connect(server)
    server.answers["GET /version"] = Answer(body=VERSION)
    engine = connect(server)
    server.answers["GET /v1.51/info"] = Answer(body=[])
    with pytest.raises(EngineError, match="not an object"):
        engine.info()


ONCE = "private_llm-once-00"
KILLED = str(_maker.here()._replace(started="1"))


def once(server: Server) -> Engine:
    server.answers[
        "GET /v1.51/containers/json?all=1&filters=%7B%22label%22%3A+%5B%22private_llm.fleet.once%22%5D%7D"
    ] = Answer(
        body=[
            {"Id": "old", "Created": 5},
            {"Id": "new", "Created": time.time()},
            {"Id": "killed", "Created": time.time(), "Labels": {_client.LABEL_ONCE: KILLED}},
            {"Id": "at work", "Created": time.time(), "Labels": {_client.LABEL_ONCE: str(_maker.here())}},
        ]
    )
    for gone in ("old", "killed"):
        server.answers[f"DELETE /v1.51/containers/{gone}?v=1&force=1"] = Answer(204)
    server.answers[f"POST /v1.51/containers/create?name={ONCE}"] = Answer(201, {"Id": "abc"})
    server.answers[f"POST /v1.51/containers/{ONCE}/start"] = Answer(204)
    server.answers[f"POST /v1.51/containers/{ONCE}/wait"] = Answer(body={"StatusCode": 3})
    server.answers[f"GET /v1.51/containers/{ONCE}/logs?stdout=1&stderr=1"] = Answer(
        body=frame(1, b"out") + frame(2, b"err"), kind="application/vnd.docker.multiplexed-stream"
    )
    server.answers[f"DELETE /v1.51/containers/{ONCE}?v=1&force=1"] = Answer(204)
    return connect(server)


@pytest.fixture
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count: "00")


@pytest.mark.usefixtures("_named")
def test_a_command_in_a_container_of_its_own(server: Server) -> None:
    ran = once(server).run_once("i:1", ["sh", "-c", "x"], 5, env={"A": "b"}, host={"Binds": ["/a:/a:ro"]})
    assert ran == Ran(3, "out", "err")
    sent = next(sent for asked, sent in server.asked if "create" in asked)
    assert sent["Entrypoint"] == ["sh"]
    assert sent["Cmd"] == ["-c", "x"]
    assert "A=b" in sent["Env"]
    assert sent["HostConfig"]["NetworkMode"] == "none"
    assert sent["HostConfig"]["CapDrop"] == ["ALL"]
    assert sent["HostConfig"]["Binds"] == ["/a:/a:ro"]
    asked = [asked for asked, _sent in server.asked]
    assert asked[-1] == f"DELETE /v1.51/containers/{ONCE}?v=1&force=1"
    removed = [request.split("/")[3].partition("?")[0] for request in asked if request.startswith("DELETE")]
    assert removed == ["old", "killed", ONCE]
    assert sent["Labels"] == {_client.LABEL_ONCE: str(_maker.here())}


@pytest.mark.usefixtures("_named")
def test_a_command_that_does_not_end_is_removed_as_well(server: Server) -> None:
    engine = once(server)
    server.answers[f"POST /v1.51/containers/{ONCE}/wait"] = Answer(body={"StatusCode": 0}, pauses=0.2)
    with pytest.raises(EngineTimeout, match=r"has not ended within 0\.2 seconds"):
        engine.run_once("i:1", ["sleep"], 0.2)
    assert server.asked[-1][0] == f"DELETE /v1.51/containers/{ONCE}?v=1&force=1"
    server.answers[f"POST /v1.51/containers/{ONCE}/start"] = Answer(500, {"message": "no space left on device"})
    with pytest.raises(EngineError, match="no space left"):
        engine.run_once("i:1", ["sleep"], 20)
    assert server.asked[-1][0] == f"DELETE /v1.51/containers/{ONCE}?v=1&force=1"


def test_a_command_in_a_container_that_runs(server: Server) -> None:
    engine = connect(server)
    server.answers["POST /v1.51/containers/a/exec"] = Answer(201, {"Id": "e"})
    server.answers["POST /v1.51/exec/e/start"] = Answer(body=frame(1, b"hi"), kind="application/vnd.docker.raw-stream")
    server.answers["GET /v1.51/exec/e/json"] = Answer(body={"ExitCode": 2})
    assert engine.execute("a", ["x"], 5) == Ran(2, "hi", "")
