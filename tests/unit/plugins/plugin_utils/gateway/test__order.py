# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan import fleet_plan

# Each host's servers: name, served name, what the plan found, and the seconds that its last start took.
FLEET: dict[str, list[tuple[str, str, list[str], float | None]]] = {
    "gpu-01": [("a", "big", ["recreate"], 95), ("b", "small", ["recreate"], 30), ("c", "small", ["recreate"], 40)],
    "gpu-02": [("d", "big", ["recreate"], 90), ("e", "still", [], 0)],
    "gpu-03": [("f", "lone", ["recreate"], 60), ("g", "new", ["create", "start"], 0)],
}


def planned(gateways: list[str], fleet: t.Mapping[str, t.Any] | None = None, most: int = 1) -> dict[str, t.Any]:
    """Return the plan of a fleet."""
    hostvars = {
        host: {
            "vllm_server_instances": [
                {"name": name, "model": "m", "port": 1000 + place, "served_model_names": [model]}
                for place, (name, model, _actions, _seconds) in enumerate(servers)
            ],
            "vllm_server_plan": {
                "servers": [
                    {
                        "name": name,
                        "where": f"vllm_server_instances[{place}]",
                        "actions": actions,
                        "outage_seconds": took,
                    }
                    for place, (name, _model, actions, took) in enumerate(servers)
                ]
            },
        }
        for host, servers in (FLEET if fleet is None else fleet).items()
    }
    return fleet_plan(list(hostvars), hostvars, (), (), gateways, most)


def brief(plan: t.Mapping[str, t.Any]) -> list[tuple[t.Any, ...]]:
    keys = ("turn", "server", "stay", "begins_after_seconds", "down_seconds")
    return [tuple(step[key] for key in keys) for step in plan["steps"]]


def test_the_order_of_a_roll_with_the_times_that_starts_took() -> None:
    assert brief(planned(["gw"])) == [
        (1, "a", 1, 0.0, 95),
        (1, "b", 1, 0.0, 30),
        (2, "c", 1, 95.0, 40),
        (3, "d", 1, 135.0, 90),
        (3, "f", 0, 135.0, 60),
        (3, "g", 0, 135.0, 0),
    ]


def test_more_may_be_away_at_once() -> None:
    assert [step["turn"] for step in planned(["gw"], most=2)["steps"]] == [1, 1, 1, 1, 1, 1]
    assert [step["stay"] for step in planned(["gw"], most=2)["steps"]] == [0, 0, 0, 0, 0, 0]


def test_after_a_start_that_nobody_measured_no_time_is_known() -> None:
    fleet = {"x": [("a", "big", ["recreate"], None)], "y": [("b", "big", ["recreate"], 30)]}
    assert brief(planned(["gw"], fleet)) == [(1, "a", 1, 0.0, None), (2, "b", 1, None, 30)]


def test_the_lines_say_who_waits_and_for_whom_others_answer() -> None:
    lines = planned(["gw"])["lines"]
    head = next(index for index, line in enumerate(lines) if line.startswith("turn"))
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[head : head + 7]]
    assert rows[0] == ["turn", "host", "server", "models", "begins", "down for", "meanwhile"]
    assert rows[3] == ["2", "gpu-01", "c", "small", "after 1 min 35 s", "about 40 s", "1 of 2 answer"]
    assert rows[5][-2:] == ["about 1 min 0 s", "requests wait at the gateway"]
    assert rows[6][-2:] == ["-", "-"], "nobody uses it yet"
    assert "note: before it goes down, a server has fleet_drain_seconds" in "\n".join(lines)


def test_a_server_that_is_taken_away_for_good() -> None:
    fleet = {"x": [("a", "big", [], 0)]}
    plan = planned(["gw"], fleet)
    assert plan["steps"] == []
    hostvars = {
        "x": {
            "vllm_server_instances": [{"name": "a", "model": "m", "port": 1, "state": "absent"}],
            "vllm_server_plan": {"servers": [{"name": "a", "where": "w", "actions": ["remove"], "outage_seconds": 9}]},
        }
    }
    (step,) = fleet_plan(["x"], hostvars, (), (), ["gw"])["steps"]
    assert not step["returns"]


def test_without_a_gateway_the_plan_says_that_requests_will_be_cut() -> None:
    plan = planned([])
    assert plan["steps"] == []
    (note,) = [line for line in plan["lines"] if line.startswith("note: ")]
    assert note.startswith("note: there is no gateway (gateway_hosts), so these changes cut the requests that run")
    assert note.endswith(": a on gpu-01, b on gpu-01, c on gpu-01, d on gpu-02, f on gpu-03")


def test_nothing_is_said_where_nothing_changes() -> None:
    fleet = {"x": [("a", "big", [], 0), ("b", "new", ["create", "start"], 0)]}
    assert not any(line.startswith("note: ") for line in planned([], fleet)["lines"])
