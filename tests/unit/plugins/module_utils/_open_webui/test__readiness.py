# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for Open WebUI, by a clock of paper: what it answers, at the host's port and in its container."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _reach
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._life import NotProven
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _client, _readiness

JSON = "application/json"
READY = _client.Reply(200, JSON, b'{"status": true}', None, None)
STARTING = _client.Reply(503, JSON, b'{"detail": "Startup not complete"}', None, None)
PAGE = _client.Reply(404, "text/html", b"nothing here", None, None)

OUTSIDE = {
    READY: _reach.Look(200, "HTTP 200 from uvicorn", "uvicorn"),
    STARTING: _reach.Look(503, "HTTP 503 from uvicorn", "uvicorn"),
    PAGE: _reach.Look(404, "HTTP 404 from nginx", "nginx"),
    None: _reach.Look(0, "connection refused"),
}


class Lab:
    """One container and the host's port in front of it; what they answer changes with the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[tuple[float, t.Callable[[], None]]] = []
        self.outside: _client.Reply | None = None
        self.inside = "- [Errno 111] Connection refused"
        self.container: dict[str, t.Any] | None = {"State": {"Status": "running"}}
        self.rows: list[dict[str, t.Any]] = []
        self.looks = 0

    def at(self, moment: float, action: t.Callable[[], None]) -> None:
        self.later.append((moment, action))

    def answer(self, outside: _client.Reply | None = None, inside: str = "") -> None:
        self.outside, self.inside = outside, inside or self.inside

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment, action in [entry for entry in self.later if entry[0] <= self.now]:
            self.later.remove((moment, action))
            action()

    def wait(self, patience: float = 300) -> dict[str, t.Any]:
        driver = t.cast("t.Any", self)
        waiter = _readiness.Waiter(
            driver, "web", "http://127.0.0.1:1", "box", patience, self.sleep, clock=lambda: self.now
        )
        return waiter.wait(self.container or {})

    # --- the engine ---

    def inspect(self, _name: str) -> dict[str, t.Any] | None:
        return self.container

    def execute(self, _name: str, command: t.Sequence[str], _seconds: float) -> Ran:
        assert command[-1] == "http://127.0.0.1:8080/ready"
        self.looks += 1
        return Ran(0, self.inside + "\n", "")

    def containers(self) -> list[dict[str, t.Any]]:
        return self.rows

    def log(self, _name: str, _since: float) -> list[t.Any]:
        return []


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab()

    def exchange(*_arguments: t.Any) -> _client.Reply:
        if made.outside is None:
            raise _client.UnreachableError("Open WebUI at http://127.0.0.1:1 cannot be reached: connection refused")
        return made.outside

    monkeypatch.setattr(_client.Client, "exchange", exchange)
    monkeypatch.setattr(_reach, "ask", lambda *_arguments: OUTSIDE[made.outside])
    return made


def test_it_is_waited_for_until_it_is_ready(lab: Lab) -> None:
    lab.at(5, lambda: lab.answer(STARTING))
    lab.at(100, lambda: lab.answer(READY))
    assert lab.wait() == {"seconds": 100.0}


def test_one_that_is_up_and_not_reached_is_told_within_a_minute(lab: Lab) -> None:
    lab.at(14, lambda: lab.answer(inside="200 uvicorn"))
    with pytest.raises(NotProven, match=r"Open WebUI on box is up, and nobody reaches it") as error:
        lab.wait()
    assert lab.now <= 60
    assert error.value.cause.startswith("Open WebUI answers in its container and not at the host's port 1")
    for part in ("HTTP 200 from uvicorn", "127.0.0.1:1: connection refused", "systemctl restart docker"):
        assert part in str(error.value)


def test_one_that_is_still_starting_in_its_container_and_not_reached_is_told_as_well(lab: Lab) -> None:
    lab.answer(inside="503 uvicorn")
    with pytest.raises(NotProven, match="nobody reaches it"):
        lab.wait()
    assert lab.now <= 60


def test_a_stranger_at_the_hosts_port_is_named_once_the_real_one_is_up(lab: Lab) -> None:
    lab.answer(PAGE)
    lab.rows = [{"Names": ["/other"], "Ports": [{"PublicPort": 1, "IP": "0.0.0.0", "Type": "tcp"}]}]
    lab.at(20, lambda: lab.answer(PAGE, "200 uvicorn"))
    with pytest.raises(NotProven, match="somebody else does: container other"):
        lab.wait()
    assert lab.now <= 60


def test_one_that_is_reached_a_little_later_is_ready(lab: Lab) -> None:
    lab.answer(inside="200 uvicorn")
    lab.at(17, lambda: lab.answer(READY))
    assert lab.wait() == {"seconds": 17.0}


def test_a_release_that_answers_otherwise_itself_is_not_waited_for(lab: Lab) -> None:
    lab.answer(PAGE, "404 nginx")
    with pytest.raises(NotProven, match="is not an Open WebUI of today: GET /ready gives 404"):
        lab.wait()
    assert lab.now <= 20


def test_with_little_time_the_reason_is_told_at_its_end(lab: Lab) -> None:
    lab.answer(inside="200 uvicorn")
    with pytest.raises(NotProven, match="nobody reaches it"):
        lab.wait(patience=3)
    assert lab.now == 3


def test_one_that_answers_nowhere_is_looked_at_now_and_then(lab: Lab) -> None:
    with pytest.raises(NotProven, match="for which it has 300 seconds"):
        lab.wait()
    assert 15 <= lab.looks <= 21


def test_a_container_that_ended_is_not_waited_for(lab: Lab) -> None:
    lab.at(2, lambda: setattr(lab, "container", {"State": {"Status": "exited", "ExitCode": 3}}))
    with pytest.raises(NotProven, match="has ended by itself, with the exit code 3"):
        lab.wait()
    assert lab.now == 2


def test_an_engine_that_lists_nothing_leaves_the_rest_of_the_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def containers(_lab: Lab) -> list[dict[str, t.Any]]:
        raise EngineError("no")

    monkeypatch.setattr(Lab, "containers", containers)
    lab.answer(inside="200 uvicorn")
    with pytest.raises(NotProven, match="nobody reaches it"):
        lab.wait()
