# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI over an engine of paper, asked over a real socket."""

from __future__ import annotations

import http.server
import json
import pathlib
import socket
import threading
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import Server
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _webs
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import (
    Config,
    Door,
    Limits,
    parse,
    render,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._pass import Pass, Place
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._probing import Probe
from ansible_collections.private_llm.fleet.tests.support import ports

NAME = "open-webui"


class Host:
    """An engine with one Open WebUI."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.container: dict[str, t.Any] = {
            "Id": "one",
            "RestartCount": 0,
            "State": {"Running": True, "StartedAt": "2026-11-23T12:00:00Z", "ExitCode": 0},
            "Config": {
                "Labels": {
                    f"private_llm.fleet.{key}": value
                    for key, value in (("managed-by", "private_llm.fleet"), ("kind", "open_webui"))
                }
            },
            "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}, "Binds": [f"{self.data}:/data"]},
        }
        self.probe = Probe("token")
        self.inside = "- Connection refused"
        self.calls: list[str] = []
        self.memories: dict[str, Memory] = {}
        self.now = 1795435800.0
        self.place = Place(str(folder), str(folder / "locks"), str(folder / "turns"))

    def inspect(self, name: str) -> dict[str, t.Any]:
        return {**self.container, "State": dict(self.container["State"])}

    def stop(self, name: str, seconds: int) -> None:
        self.calls.append("stop")
        self.container["State"].update(Running=False)

    def start(self, name: str) -> None:
        self.calls.append("start")
        self.container["State"].update(Running=True, ExitCode=0, StartedAt=f"2026-11-23T12:10:{len(self.calls):02}Z")
        self.probe = Probe("down", "Connection refused")

    def execute(self, name: str, command: t.Sequence[str], seconds: float) -> t.Any:
        return type("Ran", (), {"stdout": self.inside})

    def containers(self) -> list[dict[str, t.Any]]:
        return []

    def watch(self) -> Memory:
        config = Config({}, Limits(), webs={NAME: Door("127.0.0.1", 1)})
        Pass(
            t.cast(t.Any, self), config, self.memories, tell=lambda text: None, now=lambda: self.now, place=self.place
        ).run()
        return self.memories[NAME]


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(_webs, "ask", lambda server, path, seconds: made.probe)
    return made


def test_one_that_hangs_is_restarted(host: Host) -> None:
    assert host.watch().state == "ready"
    host.probe = Probe("still", "it answered nothing within 45.0 seconds")
    memory = host.watch()
    assert (memory.state, host.calls, memory.last_fall["cause"]) == ("starting", ["stop", "start"], "hung")
    host.now += 100_000.0
    assert host.watch().state == "starting"  # however long it takes
    host.probe = Probe("token")
    assert (host.watch().state, host.calls) == ("ready", ["stop", "start"])


def test_what_it_answers_is_told_and_left(host: Host) -> None:
    host.watch()
    host.probe = Probe("refused", "GET /ready answered 503: Database not ready")
    for _pass in range(5):
        memory = host.watch()
        host.now += 600
    assert (memory.state, memory.message, host.calls) == ("failing", host.probe.text, [])


def test_one_that_is_up_and_not_reached_is_told_and_left(host: Host) -> None:
    host.watch()
    host.probe, host.inside = Probe("down", "Connection refused"), "200 uvicorn"
    for _pass in range(5):
        memory = host.watch()
        host.now += 600
    assert (memory.state, host.calls) == ("unreachable", [])
    assert "Open WebUI answers in its container" in memory.message


def test_one_that_the_engine_could_not_start_waits_for_its_data(host: Host) -> None:
    host.container["State"].update(Running=False, ExitCode=128, Error="mount failed")
    host.data.rmdir()
    memory = host.watch()
    assert (memory.state, memory.message) == ("waiting", f"waiting for {host.data}")
    host.data.mkdir()
    assert (host.watch().state, host.calls) == ("starting", ["start"])


def test_one_that_somebody_stopped_or_works_on_is_left(host: Host) -> None:
    host.watch()
    host.probe = Probe("still", "nothing")
    with _lock.hold("open_webui", NAME, "changing it", directory=host.place.locks):
        assert host.watch().state == "changing"
    host.container["State"].update(Running=False, ExitCode=0)
    assert (host.watch().state, host.calls) == ("stopped", [])


def test_one_that_ended_has_fallen(host: Host) -> None:
    host.watch()
    host.container["RestartCount"] = 1
    host.container["State"]["StartedAt"] = "2026-11-23T12:05:00Z"
    memory = host.watch()
    assert (memory.falls_total, memory.last_fall["text"]) == (1, "Open WebUI ended by itself")


def test_a_question_has_four_answers() -> None:
    status = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *arguments: t.Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", ports.free_port()), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        server = Server("127.0.0.1", httpd.server_port)
        assert _webs.ask(server, "/ready", 5.0).outcome == "token"
        status[0] = 503
        assert _webs.ask(server, "/ready", 5.0) == Probe("refused", "GET /ready answered 503: ")
        httpd.shutdown()
    assert _webs.ask(server, "/ready", 5.0).outcome == "down"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        probe = _webs.ask(Server("127.0.0.1", silent.getsockname()[1]), "/ready", 0.2)
    assert probe.outcome == "still"


def test_a_configuration_keeps_what_else_is_watched() -> None:
    config = Config({"alpha": "stopped"}, webs={NAME: Door("::1", 3000)}, gateway=Door("127.0.0.1", 8405))
    assert parse(render(config)) == config
    assert config.watched == {"alpha": "stopped", NAME: "started", "private-llm-gateway": "started"}
    # What an older release wrote.
    older = json.loads(render(Config({"alpha": "started"})))
    del older["webs"], older["gateway"]
    assert parse(json.dumps(older)).watched == {"alpha": "started"}
