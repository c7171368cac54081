# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups import _steps
from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._steps import (
    complaint,
    decide,
    obstacles,
    peers,
    progress,
)

MEMBER = {"name": "big", "member": {"nodes": ["a", "b"], "rank": 1}}
RUNS = {"name": "big", "step": "look", "status": "running", "image_id": "sha256:aa", "release": "r1"}


def hosts(a: t.Mapping[str, t.Any], b: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"a": {"vllm_server_member": dict(a)}, "b": {"vllm_server_member": dict(b)}}


def test_a_group_that_runs_as_declared_is_proven() -> None:
    assert decide(MEMBER, hosts(RUNS, RUNS)) == {"action": "prove", "reasons": [], "running": True}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"changes": [{"option": "max_model_len"}], "actions": ["recreate", "start"]}, "b: max_model_len changed"),
        ({"status": "", "actions": ["create", "start"]}, "b: there is no member"),
        (
            {"status": "exited", "actions": ["start"], "diagnosis": {"cause": "out of memory"}},
            "b: its member is exited (out of memory)",
        ),
    ],
)
def test_what_one_node_needs_starts_all(change: dict[str, t.Any], reason: str) -> None:
    found = decide(MEMBER, hosts(RUNS, {**RUNS, **change}))
    assert (found["action"], found["reasons"]) == ("change", [reason])


def test_a_group_of_which_a_node_tells_nothing_is_left_as_it_is() -> None:
    seen = hosts(RUNS, RUNS)
    seen["b"] = {"fleet_failure": {"stage": "reach", "message": "cannot be reached: no route"}}
    found = decide(MEMBER, seen)
    assert found["action"] == "leave"
    assert "b: told nothing: cannot be reached: no route" in found["reasons"][0]
    assert not found["running"]
    seen["b"] = {}
    assert decide(MEMBER, seen)["action"] == "leave"
    # What it told in an earlier step, or of another server, is nothing.
    assert decide(MEMBER, hosts(RUNS, {**RUNS, "step": "wait"}))["action"] == "leave"
    assert decide(MEMBER, hosts(RUNS, {**RUNS, "name": "other"}))["action"] == "leave"


def test_a_problem_of_one_node_leaves_all() -> None:
    found = decide(MEMBER, hosts({**RUNS, "problem": "no such model"}, RUNS))
    assert (found["action"], found["reasons"]) == ("leave", ["a: no such model"])
    assert decide(MEMBER, hosts(RUNS, {**RUNS, "image_id": "sha256:bb"}))["action"] == "leave"


def test_the_head_s_container_of_before_says_that_a_change_was_not_proven() -> None:
    before = {**RUNS, "previous": True}
    assert decide(MEMBER, hosts(before, before))["action"] == "undo"
    assert decide(MEMBER, hosts(before, RUNS))["action"] == "undo"
    # The head was kept: the change was proven, and only workers are left to be tidied.
    assert decide(MEMBER, hosts(RUNS, before))["action"] == "keep"


def test_a_group_that_another_run_claims_is_left_unless_that_run_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = {**RUNS, "holder": "servers of c/1.2", "problem": "another run (servers of c/1.2) is at work on it"}
    assert decide(MEMBER, hosts(claimed, RUNS))["action"] == "leave"
    monkeypatch.setattr(_steps, "has_ended", lambda run: run == "servers of c/1.2")
    found = decide(MEMBER, hosts(claimed, RUNS))
    assert (found["action"], found["reasons"]) == ("take_over", ["servers of c/1.2"])
    other = {**claimed, "holder": "servers of d/1.2"}
    assert decide(MEMBER, hosts(claimed, other))["action"] == "leave"


def test_nodes_are_told_where_the_others_listen_and_what_stands_between_them() -> None:
    listens = {"name": "big", "step": "listen", "address": "10.0.0.2", "port": 40001}
    seen = hosts({**listens, "address": "10.0.0.1"}, listens)
    assert peers(MEMBER, seen, "a") == [{"node": "b", "address": "10.0.0.2", "port": 40001}]
    assert peers(MEMBER, hosts(listens, {**listens, "problem": "no address"}), "a") == []
    reached = {"name": "big", "step": "reach"}
    assert obstacles(MEMBER, hosts(reached, reached)) == []
    (found,) = obstacles(MEMBER, hosts(reached, {**reached, "problem": "it does not reach a"}))
    assert found.sentence == "b: big: it does not reach a"
    # A node that could not listen said so before anybody could reach it.
    assert obstacles(MEMBER, hosts(reached, listens)) != []


def waits(**more: t.Any) -> dict[str, t.Any]:
    return {"name": "big", "step": "wait", "verdict": "waiting", **more}


def test_the_head_alone_says_that_the_group_is_ready() -> None:
    assert progress(MEMBER, hosts(waits(verdict="ready"), waits()))["verdict"] == "ready"
    assert progress(MEMBER, hosts(waits(), waits(verdict="ready")))["verdict"] == "waiting"


def test_any_member_that_ended_ends_the_group() -> None:
    assert progress(MEMBER, hosts(waits(), waits(problem="killed")))["verdict"] == "failed"
    assert progress(MEMBER, hosts(waits(verdict="ready"), waits(problem="killed")))["verdict"] == "failed"
    assert progress(MEMBER, {"a": {"vllm_server_member": waits()}})["verdict"] == "failed"


def test_slices_grow_with_the_time_that_a_start_takes() -> None:
    waited = [0.0, 12.0, 100.0, 9000.0]
    assert [progress(MEMBER, hosts(waits(waited=one), waits()))["wait"] for one in waited] == [5, 5, 25, 300]


def failed(problem: str, known: str = "", log: str = "") -> dict[str, t.Any]:
    one = {"name": "big", "step": "wait", "problem": problem, "diagnosis": {"id": known}, "log_file": log}
    return {"fleet_group_failure": one}


def test_the_member_with_a_cause_of_its_own_is_named_first() -> None:
    text = complaint(
        MEMBER, {"a": failed("it waited", "timeout"), "b": failed("no memory", "oom", "/log")}, "All back."
    )
    first, second, ending = text.split("\n")
    assert first == (
        "big did not become ready, because the member on b (node 1) failed: no memory. Its log: /log on b."
    )
    assert second == "The member on a (node 0) failed: it waited."
    assert ending == "All back."


def test_one_reason_is_told_once() -> None:
    text = complaint(MEMBER, {"a": failed("bad option", "x"), "b": failed("bad option", "x")}, "")
    assert text.split("\n")[1] == "The member on b (node 1) failed: for the same reason."
    assert "no member says why" in complaint(MEMBER, {"a": {}, "b": {}}, "")
