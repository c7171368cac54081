# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _cures, _judge, _memory, _ties
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Limits
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._judge import (
    NOTHING,
    RESTART,
    START,
    judge,
    may_restart,
    recall,
    remember,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._probing import Probe
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._seen import Seen, seen_of

NOW = 1_000_000.0
UP = {"running": True, "container": "c1", "started_at": NOW - 500}
AT_REST = {"container": "c1", "started_at": NOW - 500}
WORKED = Memory(container="c1", started_at=NOW - 500, worked=True)


def verdict(memory: Memory = WORKED, declared: str = "started", **seen: t.Any) -> tuple[str, str]:
    found = judge(Seen(NOW, **seen), memory, declared, Limits(), 1200.0)
    return found.state, found.action


@pytest.mark.parametrize(
    ("outcome", "state", "action"),
    [
        ("token", "ready", NOTHING),
        ("moving", "busy", NOTHING),
        ("still", "hung", RESTART),
        ("deaf", "hung", RESTART),
        ("refused", "failing", NOTHING),
        ("error", "failing", NOTHING),
        ("down", "failing", NOTHING),
        ("blind", "failing", NOTHING),
    ],
)
def test_a_server_that_worked_is_judged_by_what_it_answers(outcome: str, state: str, action: str) -> None:
    assert verdict(**UP, probe=Probe(outcome)) == (state, action)


@pytest.mark.parametrize("outcome", ["still", "deaf", "refused", "error", "down", "blind"])
def test_a_server_that_starts_has_the_time_of_a_start(outcome: str) -> None:
    young = Memory(container="c1", started_at=NOW - 500)
    assert verdict(young, **UP, probe=Probe(outcome)) == ("starting", NOTHING)
    old = judge(Seen(NOW, **{**UP, "started_at": NOW - 1201}, probe=Probe(outcome)), young, "started", Limits(), 1200.0)
    assert (old.state, old.action, old.cause) == ("hung", RESTART, _cures.STUCK)


@pytest.mark.parametrize(("outcome", "patience"), [("error", 85.0), ("down", 85.0), ("blind", 270.0)])
def test_what_may_be_stopping_has_the_time_that_a_stop_takes(outcome: str, patience: float) -> None:
    for waited, action in ((patience - 1, NOTHING), (patience, RESTART)):
        memory = Memory(worked=True, trouble_since=NOW - waited)
        assert verdict(memory, **UP, stop_seconds=70, probe=Probe(outcome)) == ("failing", action)


def test_a_server_that_is_up_and_not_reached_is_not_restarted() -> None:
    assert verdict(**UP, probe=Probe("deaf"), broken_way="the bridge has gone") == ("unreachable", NOTHING)


@pytest.mark.parametrize("code", [0, 1, 137, 143])
def test_a_server_that_somebody_stopped_stays_stopped(code: int) -> None:
    assert verdict(**AT_REST, exit_code=code) == ("stopped", NOTHING)


def test_a_server_that_the_engine_could_not_start_is_started() -> None:
    error = 'could not select device driver "cdi" with capabilities: []'
    assert verdict(**AT_REST, exit_code=128, error=error) == ("stopped", START)
    assert verdict(**AT_REST, exit_code=128, error=error, policy="no") == ("stopped", NOTHING)
    assert verdict(declared="stopped", **AT_REST, exit_code=128, error=error) == ("stopped", NOTHING)


def test_a_restart_of_our_own_that_was_cut_off_is_finished() -> None:
    assert verdict(Memory(container="c1", restarting=True), **AT_REST, exit_code=137) == ("stopped", START)


@pytest.mark.parametrize(
    ("declared", "seen", "state"),
    [
        ("started", {"present": False}, "absent"),
        ("stopped", {"present": False}, "stopped"),
        ("stopped", {**UP, "probe": None}, "stopped"),
        ("started", {**UP, "paused": True}, "stopped"),
        ("started", {**AT_REST, "restarting": True, "exit_code": 1}, "restarting"),
        ("started", {**UP, "holder": "another run"}, "changing"),
        ("started", {**AT_REST, "error": "no GPU", "holder": "another run"}, "changing"),
    ],
)
def test_these_are_left_alone(declared: str, seen: dict[str, t.Any], state: str) -> None:
    assert verdict(declared=declared, **seen) == (state, NOTHING)


# --- how often ---


def test_restarts_are_few_and_further_and_further_apart() -> None:
    limits = Limits(restarts=3, window=3600.0, backoff=60.0)
    assert may_restart(Memory(), _cures.HUNG, limits, NOW).granted
    assert not may_restart(Memory(attempts=[NOW - 59]), _cures.HUNG, limits, NOW).granted
    assert may_restart(Memory(attempts=[NOW - 60]), _cures.HUNG, limits, NOW).granted
    assert not may_restart(Memory(attempts=[NOW - 300, NOW - 119]), _cures.HUNG, limits, NOW).granted
    assert may_restart(Memory(attempts=[NOW - 300, NOW - 120]), _cures.HUNG, limits, NOW).granted
    spent = may_restart(Memory(attempts=[NOW - 3000, NOW - 2000, NOW - 1000]), _cures.HUNG, limits, NOW)
    assert (spent.granted, spent.given_up) == (False, True)
    # Who was given up is not tried again when the window has passed.
    late = may_restart(Memory(given_up=True, attempts=[NOW - 9000]), _cures.HUNG, limits, NOW)
    assert (late.granted, late.given_up) == (False, True)


def test_a_start_is_tried_again_and_again_further_and_further_apart() -> None:
    tried = Memory(attempts=[NOW - 900 + 60 * number for number in range(6)])
    assert not may_restart(tried, _cures.NOT_STARTED, Limits(), NOW - 1).granted
    assert may_restart(tried, _cures.NOT_STARTED, Limits(), NOW).granted
    tried.given_up = True
    assert may_restart(tried, _cures.NOT_STARTED, Limits(), NOW).given_up


def test_what_a_restart_cannot_cure_is_left() -> None:
    for cause in ("no_weights", "unknown_option", "option_refused", "driver_too_old", "gated"):
        leave = may_restart(Memory(), cause, Limits(), NOW)
        assert (leave.granted, leave.given_up) == (False, True)


# --- what is remembered ---


def seen(**state: t.Any) -> Seen:
    return Seen(NOW, **{**UP, **state})


def test_a_restart_by_the_engine_is_counted() -> None:
    memory = Memory(container="c1", started_at=NOW - 900, worked=True, restart_count=2, attempts=[NOW - 800])
    assert recall(memory, seen(restart_count=4)) == 2
    assert (memory.worked, memory.restart_count, memory.attempts) == (False, 4, [NOW - 800])
    assert recall(memory, seen(restart_count=4)) == 0


def test_a_start_by_somebody_begins_anew() -> None:
    given_up = {"worked": True, "given_up": True, "attempts": [NOW - 800]}
    memory = Memory(container="c1", started_at=NOW - 900, restart_count=2, **given_up)
    assert recall(memory, seen(restart_count=0)) == 0
    assert (memory.given_up, memory.attempts, memory.worked) == (False, [], False)
    memory = Memory(container="c0", started_at=NOW - 900, **given_up)
    recall(memory, seen())
    assert (memory.given_up, memory.attempts, memory.worked) == (False, [], False)


def test_restarts_of_the_engine_are_not_counted_as_restarts_of_its_servers() -> None:
    memory = Memory(container="c1", started_at=NOW - 500, worked=True, attempts=[NOW - 800, NOW - 500])
    recall(memory, seen(running=False, exit_code=128, error="no device driver"))
    assert (memory.attempts, memory.worked) == ([], False)
    memory.attempts = [NOW]
    recall(memory, seen(running=False, exit_code=128, error="no device driver"))
    assert memory.attempts == [NOW]


def test_a_start_of_our_own_does_not() -> None:
    memory = Memory(container="c1", started_at=NOW - 900, own_start=UP["started_at"], attempts=[NOW - 500])
    recall(memory, seen())
    assert memory.attempts == [NOW - 500]


def test_trouble_is_counted_from_its_beginning_and_ends_with_a_token() -> None:
    memory = Memory(worked=True)
    for at in (NOW, NOW + 30):
        remember(memory, seen()._replace(at=at, probe=Probe("down")), _judge.Verdict(_memory.FAILING))
    assert (memory.trouble_since, memory.last_probe, memory.last_token) == (NOW, NOW + 30, 0.0)
    remember(memory, seen()._replace(at=NOW + 60, probe=Probe("token", "", 3)), _judge.Verdict(_memory.READY))
    assert (memory.trouble_since, memory.last_token, memory.requests) == (0.0, NOW + 60, 3)


def test_the_engine_s_words_are_read() -> None:
    container = {
        "Id": "c1",
        "RestartCount": 3,
        "State": {"Running": True, "Restarting": True, "StartedAt": "2026-11-23T12:00:00Z", "ExitCode": 1},
        "HostConfig": {"RestartPolicy": {"Name": "on-failure"}},
        "Config": {"StopTimeout": 70},
    }
    found = seen_of(container, NOW)
    assert (found.running, found.restarting, found.policy, found.stop_seconds) == (False, True, "on-failure", 70)
    assert (found.started_at, found.restart_count, found.exit_code) == (1795435200.0, 3, 1)
    assert not seen_of(None, NOW).present
    assert not seen_of({"State": {"Dead": True}}, NOW).present


# --- members of a server over several hosts ---

TIED = {"10.0.0.2": frozenset({40001})}
HEAD = {**UP, "member": True, "ties": TIED}
WORKER = {**UP, "member": True, "worker": True, "ties": TIED}


def member(seen: dict[str, t.Any], **memory: t.Any) -> _judge.Verdict:
    known = Memory(container="c1", started_at=NOW - 500, **{"worked": True, "ties": {"10.0.0.2": [40001]}, **memory})
    return judge(Seen(NOW, **seen), known, "started", Limits(), 1200.0)


def test_members_that_are_connected_are_judged_as_they_are() -> None:
    assert member({**HEAD, "probe": Probe("token")}).state == "ready"
    assert member({**HEAD, "probe": Probe("still")}).action == RESTART
    assert member(WORKER) == _judge.Verdict("joined")
    assert member({**WORKER, "ties": {}}, ties={}) == _judge.Verdict("starting")


@pytest.mark.parametrize("seen", [HEAD, WORKER])
@pytest.mark.parametrize("ties", [{}, {"10.0.0.2": frozenset({50002})}, {"10.0.0.3": frozenset({40001})}])
def test_a_member_that_lost_another_one_starts_anew(seen: dict[str, t.Any], ties: t.Any) -> None:
    found = member({**seen, "ties": ties, "probe": Probe("token")})
    assert (found.action, found.cause, found.free) == (RESTART, _cures.PARTED, True)
    assert found.message == "its connection to 10.0.0.2 has ended"


@pytest.mark.parametrize("seen", [HEAD, WORKER])
def test_replicas_count_as_connected_by_any_connection(seen: dict[str, t.Any]) -> None:
    known = {"10.0.0.2": sorted(_ties.ANY)}
    assert member({**seen, "ties": {"10.0.0.2": _ties.ANY}, "probe": Probe("token")}, ties=known).action == NOTHING
    found = member({**seen, "ties": {}, "probe": Probe("token")}, ties=known)
    assert (found.action, found.cause) == (RESTART, _cures.PARTED)


def test_a_worker_asks_whether_its_head_is_there() -> None:
    assert member({**WORKER, "knock": "refused"}).message == "its head does not listen any more"
    away = {**WORKER, "knock": "away"}
    assert member(away) == _judge.Verdict("failing", message="the host of its head does not answer")
    assert member(away, trouble_since=NOW - 44).action == NOTHING
    assert member(away, trouble_since=NOW - 45).cause == _cures.PARTED


@pytest.mark.parametrize("code", [0, 1, 137])
def test_a_member_that_ended_starts_anew_whatever_its_policy(code: int) -> None:
    found = member({**AT_REST, "member": True, "policy": "no", "exit_code": code})
    assert (found.action, found.cause, found.free) == (START, "", True)
    made = member({**AT_REST, "member": True, "policy": "no", "started_at": -1.0})
    assert (made.action, made.cause) == (START, _cures.NOT_STARTED)
    for declared in ("stopped", "absent"):
        seen = Seen(NOW, **AT_REST, member=True, policy="no")
        assert judge(seen, WORKED, declared, Limits(), 1200.0).action == NOTHING


def test_starts_of_members_are_not_counted_but_their_cause_must_be_curable() -> None:
    memory = Memory(attempts=[NOW - 3000, NOW - 2900, NOW - 2800, NOW - 1000])
    assert not may_restart(memory, _cures.PARTED, Limits(), NOW).granted
    assert may_restart(memory, _cures.PARTED, Limits(), NOW, free=True).granted
    assert may_restart(memory, "weights_missing", Limits(), NOW, free=True).given_up


def test_connections_are_remembered_for_one_start() -> None:
    memory = Memory(container="c1", started_at=NOW - 500)
    remember(memory, Seen(NOW, **WORKER), _judge.Verdict(_memory.JOINED))
    assert (memory.ties, memory.worked, memory.last_token) == ({"10.0.0.2": [40001]}, True, 0.0)
    parted = Seen(NOW, **{**WORKER, "ties": {}})
    remember(memory, parted, _judge.Verdict(_memory.FAILING, RESTART, "", _cures.PARTED))
    assert memory.ties == {"10.0.0.2": [40001]}
    recall(memory, parted)
    assert memory.ties == {"10.0.0.2": [40001]}
    recall(memory, parted._replace(started_at=NOW - 1))
    assert memory.ties == {}


def test_a_member_is_known_by_its_label() -> None:
    labels = {"private_llm.fleet.member": "0:a,b"}
    assert seen_of({"Config": {"Labels": labels}}, NOW).member
    assert not seen_of({"Config": {"Labels": {}}}, NOW).member


def test_a_clock_that_was_put_back_does_not_put_off_a_restart() -> None:
    memory = Memory(worked=True, trouble_since=9_000.0)
    _judge.recall(memory, Seen(100.0))
    assert memory.trouble_since == 100.0
