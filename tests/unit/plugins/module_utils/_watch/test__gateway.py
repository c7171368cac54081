# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway as systemd tells of it, with passes that heal it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._gateway._runtime import RuntimeSocketError
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _gateway
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Config, Door, Limits
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._pass import Pass, Place
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._probing import Probe

UNIT = _gateway.UNIT


class Systemd:
    """systemd with the gateway's unit, and the gateway itself."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.unit = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "Result": "success",
            "NRestarts": "0",
            "ExecMainStartTimestamp": "@1000",
        }
        self.web = Probe("token")
        self.socket = "Name: HAProxy"
        self.refuse = ""
        self.calls: list[str] = []
        self.told: list[str] = []
        self.memories: dict[str, Memory] = {}
        self.now = 5000.0
        self.place = Place(str(folder), str(folder / "locks"), str(folder / "turns"))

    def control(self, arguments: t.Sequence[str], seconds: float = 0) -> str:
        if arguments[0] == "show":
            return "".join(f"{key}={value}\n" for key, value in self.unit.items())
        self.calls.append(arguments[0])
        if arguments[0] == "restart":
            if self.refuse:
                raise EngineError(self.refuse)
            self.unit.update(ActiveState="active", SubState="running", ExecMainStartTimestamp=f"@{self.now:.0f}")
            self.web = Probe("token")
        return ""

    def ask(self, command: str) -> str:
        if not self.socket:
            raise RuntimeSocketError("no answer")
        return self.socket

    def watch(self, port: int = 8405) -> Memory:
        config = Config({}, Limits(), gateway=Door("127.0.0.1", port))
        one = Pass(None, config, self.memories, tell=self.told.append, now=lambda: self.now, place=self.place)
        socket = t.cast("t.Any", self)  # as much of one as is asked
        one._gateway = _gateway.Gateway(config.gateway, config.limits, self.control, lambda path, seconds: socket)
        one.run()
        return self.memories[UNIT]


@pytest.fixture
def systemd(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd(tmp_path)
    monkeypatch.setattr(_gateway, "ask", lambda server, path, seconds: made.web)
    return made


def test_one_that_answers_is_ready(systemd: Systemd) -> None:
    assert systemd.watch().state == "ready"
    systemd.web = Probe("still")
    assert systemd.watch(port=0).state == "ready"  # then its socket alone is asked
    assert systemd.calls == []


def test_one_that_hangs_is_killed_and_started(systemd: Systemd) -> None:
    systemd.watch()
    systemd.web, systemd.socket = Probe("still", "it answered nothing within 45.0 seconds"), ""
    memory = systemd.watch()
    assert (memory.state, systemd.calls) == ("starting", ["kill", "reset-failed", "restart"])
    assert (memory.restarts_total, memory.falls_total, memory.last_fall["cause"]) == (1, 1, "hung")
    assert memory.last_fall["action"] == "the watch restarted it"
    memory = systemd.watch()
    assert (memory.state, memory.falls_total, len(systemd.calls)) == ("ready", 1, 3)


def test_one_that_has_all_the_connections_that_it_may_is_busy(systemd: Systemd) -> None:
    systemd.watch()
    systemd.web = Probe("still")
    assert (systemd.watch().state, systemd.calls) == ("busy", [])


def test_one_that_systemd_starts_again_has_fallen(systemd: Systemd) -> None:
    systemd.watch()
    systemd.unit.update(NRestarts="2", ExecMainStartTimestamp="@4000")
    memory = systemd.watch()
    assert (memory.state, memory.falls_total, memory.restarts_total) == ("ready", 2, 0)
    assert memory.last_fall["action"] == "systemd started it again"


def test_one_that_systemd_gave_up_is_started(systemd: Systemd) -> None:
    systemd.unit.update(ActiveState="failed", SubState="failed", Result="exit-code")
    systemd.refuse = "systemctl restart: Job failed"
    memory = systemd.watch()
    assert (memory.state, memory.given_up, memory.restarts_total) == ("stopped", False, 1)
    assert "systemd could not start the gateway" in memory.message
    systemd.watch()
    assert systemd.calls == ["reset-failed", "restart"]  # further apart
    systemd.now, systemd.refuse = systemd.now + 61, ""
    assert systemd.watch().state == "starting"


@pytest.mark.parametrize("state", ["inactive", "deactivating"])
def test_one_that_somebody_stopped_stays_stopped(systemd: Systemd, state: str) -> None:
    systemd.watch()
    systemd.unit.update(ActiveState=state, SubState="dead")
    assert (systemd.watch().state, systemd.calls) == ("stopped", [])


def test_a_start_of_systemd_is_waited_for(systemd: Systemd) -> None:
    systemd.unit.update(ActiveState="activating", SubState="start")
    assert systemd.watch().state == "starting"
    systemd.unit.update(SubState="auto-restart")
    assert systemd.watch().state == "restarting"
    systemd.unit.update(LoadState="not-found")
    assert systemd.watch().state == "absent"
    assert systemd.calls == []


def test_a_program_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="systemctl show"):
        _gateway.systemctl(["show"])
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Unit not loaded.' >&2\nexit 5\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="Unit not loaded"):
        _gateway.systemctl(["show"])
