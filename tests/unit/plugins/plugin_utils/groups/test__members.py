# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._members import members, with_members

BIG = {"name": "big", "model": "org/big", "nodes": ["a", "b"], "port": 18005, "gpus": 8}


def fleet(instance: t.Mapping[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    """Return the variables of two hosts, of which the first declares the server."""
    return {
        "a": {"vllm_server_instances": [dict(instance)], "ansible_host": "10.0.0.1", **more},
        "b": {"vllm_server_instances": [{"name": "own", "model": "/m", "port": 1}], "ansible_host": "10.0.0.2"},
    }


def derived(instance: t.Mapping[str, t.Any], **more: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    found = members(["a", "b"], fleet(instance, **more))
    return found["a"][0], found["b"][0]


def test_each_node_runs_a_member_with_its_place_among_them() -> None:
    head, worker = derived(BIG)
    assert [one["engine"]["node_rank"] for one in (head, worker)] == [0, 1]
    for one in (head, worker):
        assert one["engine"]["nnodes"] == 2
        assert one["engine"]["master_addr"] == "10.0.0.1"
        assert one["engine"]["master_port"] == 29501
        assert one["restart_policy"] == "no"
        assert one["member"]["nodes"] == ["a", "b"]
    assert "headless" not in head["engine"]
    assert worker["engine"]["headless"] is True
    assert (head["member"]["address"], worker["member"]["address"]) == ("10.0.0.1", "10.0.0.2")


def test_workers_need_no_key_and_no_fact_holds_one() -> None:
    head, worker = derived({**BIG, "api_keys": ["sk-canary-group"]})
    assert (head["api_keys"], worker["api_keys"]) == (None, [])
    assert "canary" not in repr((head, worker))
    assert worker["bind"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("gpus", "engine", "sizes"),
    [
        (8, {}, {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}),
        ([0, 1], {}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
        ([], {}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 1}),
        (8, {"tensor_parallel_size": 16}, {"tensor_parallel_size": 16, "pipeline_parallel_size": 1}),
        (8, {"pipeline_parallel_size": 4}, {"tensor_parallel_size": 4, "pipeline_parallel_size": 4}),
        (
            8,
            {"data_parallel_size": 2},
            {"tensor_parallel_size": 8, "pipeline_parallel_size": 1, "data_parallel_size": 2},
        ),
        (
            8,
            {"data_parallel_size": 16, "enable_expert_parallel": True},
            {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "data_parallel_size": 16},
        ),
    ],
)
def test_tensor_parallel_stays_in_a_host_and_pipeline_parallel_goes_across(
    gpus: t.Any, engine: dict[str, t.Any], sizes: dict[str, int]
) -> None:
    image = f"vllm/vllm-openai{'' if gpus else '-cpu'}:v0.32.0"
    for one in derived({**BIG, "gpus": gpus, "image": image, "engine": engine}):
        names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        assert {name: one["engine"][name] for name in names if name in one["engine"]} == sizes


def test_data_parallel_replicas_find_each_other_at_the_head() -> None:
    head, worker = derived({**BIG, "engine": {"data_parallel_size": 2}})
    assert head["engine"]["data_parallel_address"] == worker["engine"]["data_parallel_address"] == "10.0.0.1"
    assert "data_parallel_address" not in derived(BIG)[0]["engine"]


def test_the_head_s_defaults_hold_for_all_and_each_node_has_its_own_store() -> None:
    head, worker = derived(BIG, vllm_server_image="vllm/vllm-openai:v0.31.0", vllm_server_models_root="/data")
    assert worker["image"] == head["image"] == "vllm/vllm-openai:v0.31.0"
    assert head["model_path"] == "/data/org/big/current"
    assert worker["model_path"] == "/srv/models/org/big/current"
    assert worker["source"] == ""  # each node's own role model_download says it


def test_each_node_has_its_own_network() -> None:
    rdma = {"vllm_server_group_rdma": True, "vllm_server_group_hcas": "=mlx5_0"}
    head, worker = derived(BIG, vllm_server_group_address="192.168.7.1", vllm_server_group_interface="ib0", **rdma)
    assert head["member"] == {
        "nodes": ["a", "b"],
        "rank": 0,
        "address": "192.168.7.1",
        "interface": "ib0",
        "private": False,
        "rdma": True,
        "hcas": "=mlx5_0",
    }
    assert worker["engine"]["master_addr"] == "192.168.7.1"
    assert worker["member"]["private"]
    assert (worker["member"]["rdma"], worker["member"]["hcas"]) == (False, "")


def test_a_member_takes_the_place_of_its_declaration_with_the_declared_keys() -> None:
    head, worker = derived(BIG)
    declared = {**head, "api_keys": ["sk-canary-group"], "engine": {}}
    declared.pop("member")
    (one,) = with_members([declared], [head])
    assert one["engine"]["nnodes"] == 2
    assert one["api_keys"] == ["sk-canary-group"]
    own = {"name": "own", "nodes": []}
    assert [one["name"] for one in with_members([own], [worker])] == ["own", "big"]
    assert with_members([declared], []) == [declared]


def test_an_entry_without_a_normal_form_is_left_to_the_role() -> None:
    assert members(["a", "b"], fleet({**BIG, "engine": "fast"})) == {}
    assert members(["a"], {"a": {}}) == {}
