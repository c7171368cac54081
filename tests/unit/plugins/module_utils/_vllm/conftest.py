# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for an engine and for an HTTP server, which behave as the real ones do in what the tests look at."""

from __future__ import annotations

import copy
import http.server
import json
import threading
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine

STARTED = "2026-11-23T12:00:00Z"
STARTED_AT = 1795435200.0
NEVER = "0001-01-01T00:00:00Z"


class FakeEngine:
    """Containers by name, in memory. What was done is in ``calls``."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.lines: dict[str, list[LogLine]] = {}
        self.calls: list[str] = []
        self.refuse: dict[str, str] = {}
        self.inside = "- Connection refused"

    def add(self, name: str, body: t.Mapping[str, t.Any], running: bool = True) -> dict[str, t.Any]:
        container = copy.deepcopy(dict(body))
        container["HostConfig"] = container.pop("HostConfig", {})
        self.there[name] = {
            "Id": f"id-{len(self.calls)}-{name}",
            "Name": "/" + name,
            "Config": container,
            "HostConfig": container["HostConfig"],
            "RestartCount": 0,
            "State": {
                "Running": running,
                "StartedAt": STARTED if running else NEVER,
                "FinishedAt": NEVER,
                "ExitCode": 0,
            },
            "NetworkSettings": {"Networks": {"bridge": {}}},
        }
        return self.there[name]

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.refuse:
            raise EngineError(self.refuse[call])

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return copy.deepcopy(self.there.get(name))

    def containers(self, stopped: bool = False) -> list[dict[str, t.Any]]:
        return [
            {
                "Id": name,
                "Names": ["/" + name],
                "Labels": container["Config"].get("Labels"),
                "State": "running" if container["State"]["Running"] else "exited",
            }
            for name, container in self.there.items()
            if stopped or container["State"]["Running"]
        ]

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        self._do(f"create {name}")
        return str(self.add(name, body, running=False)["Id"])

    def start(self, name: str) -> None:
        self._do(f"start {name}")
        self.there[name]["State"].update(Running=True, StartedAt=STARTED)

    def unpause(self, name: str) -> None:
        self._do(f"unpause {name}")
        self.there[name]["State"]["Paused"] = False

    def stop(self, name: str, seconds: int) -> None:
        self._do(f"stop {name} {seconds}")
        self.there[name]["State"].update(Running=False, Restarting=False)

    def rename(self, name: str, new_name: str) -> None:
        self._do(f"rename {name} {new_name}")
        assert new_name not in self.there
        self.there[new_name] = {**self.there.pop(name), "Name": "/" + new_name}

    def remove(self, name: str) -> None:
        self._do(f"remove {name}")
        self.there.pop(name, None)

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self._do(f"restart policy of {name} {policy['Name']}")
        self.there[name]["HostConfig"]["RestartPolicy"] = dict(policy)

    def execute(self, name: str, command: t.Sequence[str], seconds: float) -> Ran:
        """Answer what ``inside`` says a question in the container is answered with."""
        return Ran(0, self.inside, "")

    def log(self, name: str, since: float = 0.0, until: t.Callable[[str], bool] | None = None) -> list[LogLine]:
        found = []
        for line in self.lines.get(name, []):
            if line.at >= int(since):
                found.append(line)
                if until is not None and until(line.text):
                    break
        return found


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


class FakeVllm(http.server.ThreadingHTTPServer):
    """Answers as told: a path leads to a status and a body. Requests are kept, with the key they brought."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, t.Any]] = {}
        self.requests: list[tuple[str, str, str | None, t.Any]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FakeVllm

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: t.Any) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.answers.get(self.path, (404, {"detail": "Not Found"}))
        payload = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *unused: t.Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def vllm() -> t.Iterator[FakeVllm]:
    with FakeVllm() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
