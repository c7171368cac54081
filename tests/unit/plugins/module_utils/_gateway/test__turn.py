# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gateway._runtime import (
    RuntimeSocketError,
    ServerState,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._gateway._turn import bring


class Proxy:
    """A proxy whose servers finish one request at each look."""

    def __init__(self, **servers: tuple[str, int]) -> None:
        self.now = dict(servers)
        self.told: list[tuple[str, str]] = []
        self.deaf = False

    def servers(self) -> list[ServerState]:
        found = [ServerState("model:m", name, status, requests) for name, (status, requests) in self.now.items()]
        for name, (status, requests) in self.now.items():
            self.now[name] = (status, max(0, requests - 1) if status == "DRAIN" else requests)
        return found

    def put(self, server: ServerState, state: str) -> None:
        self.told.append((server.server, state))
        if not self.deaf:
            status = {"ready": "UP", "drain": "DRAIN", "maint": "MAINT"}[state]
            self.now[server.server] = (status, self.now[server.server][1])


def nothing(_seconds: float) -> None:
    """Wait for nothing."""


def test_a_server_leaves_when_its_last_request_has_ended() -> None:
    proxy = Proxy(a=("UP", 3), b=("UP", 5))
    turn = bring(proxy, ["a"], "maint", 60, sleep=nothing)
    assert (turn.changed, turn.requests) == (True, 0)
    assert proxy.told == [("a", "drain"), ("a", "maint")]
    assert proxy.now == {"a": ("MAINT", 0), "b": ("UP", 5)}


def test_the_wait_is_bounded_and_what_still_runs_is_told() -> None:
    ticks = iter(range(100))
    proxy = Proxy(a=("UP", 50))
    turn = bring(proxy, ["a"], "drain", 3, sleep=nothing, clock=lambda: next(ticks))
    assert turn.requests > 0
    assert proxy.told == [("a", "drain")]


def test_a_server_that_is_in_its_state_is_left_alone() -> None:
    proxy = Proxy(a=("MAINT", 0), b=("DOWN", 0))
    assert not bring(proxy, ["a"], "maint", 1).changed
    assert not bring(proxy, ["b"], "ready", 1).changed
    assert proxy.told == []


def test_a_run_that_was_killed_is_taken_up() -> None:
    proxy = Proxy(a=("DRAIN", 0), b=("MAINT", 0), c=("UP", 1))
    assert bring(proxy, [], "ready", 1).changed
    assert proxy.told == [("a", "ready"), ("b", "ready")]


def test_check_mode_tells_and_does_nothing() -> None:
    proxy = Proxy(a=("UP", 2))
    assert bring(proxy, ["a"], "maint", 1, dry=True).changed
    assert proxy.told == []


def test_a_server_that_nobody_has_is_nothing_to_do() -> None:
    assert not bring(Proxy(a=("UP", 2)), ["z"], "maint", 1).changed


def test_a_proxy_that_takes_a_word_and_does_nothing_is_an_error() -> None:
    proxy = Proxy(a=("UP", 0))
    proxy.deaf = True
    with pytest.raises(RuntimeSocketError, match="a is UP and not maint"):
        bring(proxy, ["a"], "maint", 1)
