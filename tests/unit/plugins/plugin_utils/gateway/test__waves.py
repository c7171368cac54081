# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway._waves import batches, rounds


def fleet(*hosts: str, still: str = "") -> dict[str, t.Any]:
    """Return hosts whose servers, a letter each, serve the model of that letter; those in ``still`` do not stop."""
    return {
        f"gpu-{number}": {
            "vllm_server_instances": [
                {"name": f"{letter}{place}", "model": "m", "port": 1000 + place, "served_model_names": [letter]}
                for place, letter in enumerate(host)
            ],
            "fleet_stopping": [f"{letter}{place}" for place, letter in enumerate(host) if letter not in still],
        }
        for number, host in enumerate(hosts)
    }


@pytest.mark.parametrize(
    ("hosts", "still", "most", "expected"),
    [
        (["a", "a", "a"], "", 1, [1, 1, 1]),
        (["a", "a", "a"], "", 2, [2, 1]),
        (["a", "b", "a", "b"], "", 1, [2, 2]),
        (["a", "a", "b", "b"], "", 1, [1, 2, 1]),
        (["a", "b", "c"], "", 1, [3]),
        (["a", "a", "a"], "a", 1, [3]),
        (["ab", "ab"], "b", 1, [1, 1]),
        (["aa", "b", "a"], "", 1, [2, 1]),
        (["a", "a"], "", 0, [1, 1]),
        (["a", "a"], "", None, [1, 1]),
        ([], "", 1, [1]),
    ],
)
def test_never_more_replicas_are_away_than_may_be(
    hosts: list[str], still: str, most: int | None, expected: list[int]
) -> None:
    hostvars = fleet(*hosts, still=still)
    assert batches(list(hostvars), hostvars, most) == expected


def test_replicas_of_one_host_take_turns() -> None:
    instances = fleet("aab")["gpu-0"]["vllm_server_instances"]
    everyone = ["a0", "a1", "b2"]
    assert rounds(instances, everyone, everyone, 1) == [["a0", "b2"], ["a1"]]
    assert rounds(instances, everyone, everyone, 2) == [everyone]
    assert rounds(instances, ["a1"], ["a1"], 1) == [["a0", "b2"], ["a1"]]
    assert rounds(instances, [], [], 1) == [everyone]


def test_servers_that_do_not_run_wait_for_nobody() -> None:
    hostvars = fleet("a", "a", "a", "a")
    for host in ("gpu-0", "gpu-1", "gpu-3"):
        hostvars[host]["fleet_stopping"] = []
    assert batches(list(hostvars), hostvars, 1) == [4]
    instances = fleet("aaaa")["gpu-0"]["vllm_server_instances"]
    assert rounds(instances, ["a0", "a1", "a2", "a3"], [], 1) == [["a0", "a1", "a2", "a3"]]
    assert rounds(instances, ["a0", "a1", "a3"], ["a0", "a1"], 1) == [["a2"], ["a0", "a3"], ["a1"]]


@pytest.mark.parametrize("odd", [None, 7, "x", [None], [{"name": []}], {"a": 1}])
def test_what_has_another_form_never_raises(odd: t.Any) -> None:
    assert rounds(odd, odd, odd, odd) == []
    assert batches(odd, odd, odd)
