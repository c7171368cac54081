# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._judge import differences, problems

BIG = {"name": "big", "model": "org/big", "nodes": ["a", "b"], "port": 18005, "gpus": 8}
CPU: dict[str, t.Any] = {"gpus": [], "image": "vllm/vllm-openai-cpu:v0.32.0"}


def fleet(instance: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    return {
        "a": {"vllm_server_instances": [dict(instance or BIG)], "ansible_host": "10.0.0.1"},
        "b": {"ansible_host": "10.0.0.2"},
        "c": {"ansible_host": "10.0.0.3"},
    }


def sentences(hostvars: t.Mapping[str, t.Any], in_run: t.Collection[str] = ("a", "b", "c")) -> list[str]:
    return [problem.sentence for problem in problems(["a", "b", "c"], hostvars, in_run)]


def test_a_group_in_order_has_no_problem() -> None:
    assert sentences(fleet()) == []
    assert sentences(fleet({**BIG, **CPU})) == []
    assert sentences(fleet({**BIG, "state": "absent"})) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": ["a", "x"]}, "x is not a host of gpu_hosts"),
        ({"nodes": ["b", "a"]}, "is declared on a, and its first node is b"),
        ({"gpus": ["GPU-1", "GPU-2"]}, "gpus names GPUs by UUID"),
        ({"engine": {"tensor_parallel_size": 3}}, "is 3 ranks, and 2 nodes with 8 GPU(s) each have 16"),
        ({**CPU, "engine": {"tensor_parallel_size": 3}}, "is 3 ranks, which 2 nodes cannot share evenly"),
    ],
)
def test_what_is_declared_wrongly_is_told(change: dict[str, t.Any], said: str) -> None:
    (sentence,) = sentences(fleet({**BIG, **change}))
    assert said in sentence
    assert sentence.startswith("a: vllm_server_instances[0].")


def test_a_part_of_a_group_is_no_run() -> None:
    (sentence,) = sentences(fleet(), ["a", "c"])
    assert "b is not part of this run, and a and b are changed together or not at all" in sentence
    assert sentence.startswith("a: ")
    (sentence,) = sentences(fleet(), ["b"])
    assert sentence.startswith("b: "), "the head is not there to be told"
    assert sentences(fleet(), ["c"]) == []


def test_a_host_is_a_node_of_one_group() -> None:
    hostvars = fleet()
    hostvars["c"]["vllm_server_instances"] = [{**BIG, "name": "other", "nodes": ["c", "b"]}]
    (sentence,) = sentences(hostvars)
    assert "b is a node of big of a, too" in sentence
    hostvars["c"]["vllm_server_instances"][0]["name"] = "big"
    assert "b is a node of big of a, too" in sentences(hostvars)[0], "two heads may give one name"
    hostvars["c"]["vllm_server_instances"][0]["state"] = "absent"
    assert sentences(hostvars) == []


@pytest.mark.parametrize(
    ("engine", "port", "option"),
    [
        ({}, 29501, "master_port"),
        ({"master_port": 18005}, 18005, "master_port"),
        ({"data_parallel_size": 2, "tensor_parallel_size": 8}, 29550, "data_parallel_rpc_port"),
    ],
)
@pytest.mark.parametrize("other", [False, True])
def test_nodes_meet_where_no_server_of_the_head_listens(
    engine: dict[str, t.Any], port: int, option: str, other: bool
) -> None:
    hostvars = fleet({**BIG, "engine": engine, "port": 18000 if other else port})
    small = {"name": "small", "model": "org/small", "port": port}
    hostvars["b"]["vllm_server_instances"] = [small]
    if other:
        hostvars["a"]["vllm_server_instances"].append(small)
    (sentence,) = sentences(hostvars)
    assert sentence.startswith(f"a: vllm_server_instances[0].engine.{option}: big: its nodes meet at port {port} of a")
    assert f"where {'small' if other else 'big'} takes requests; give {option} another port" in sentence
    hostvars["a"]["vllm_server_instances"][-1]["state"] = "stopped"
    assert sentences(hostvars) == []


def test_a_worker_s_own_server_of_the_same_name_is_a_problem() -> None:
    hostvars = fleet()
    hostvars["b"]["vllm_server_instances"] = [{"name": "big", "model": "/m", "port": 1}]
    assert "b declares a server of the same name" in sentences(hostvars)[0]


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1", "127.0.0.1 is not an address at which other hosts reach b"), ("fd00::2", "fd00::2 is IPv6")],
)
def test_addresses_must_be_of_hosts_that_speak_to_each_other(address: str, said: str) -> None:
    hostvars = fleet()
    hostvars["b"]["vllm_server_group_address"] = address
    (sentence,) = sentences(hostvars)
    assert said in sentence
    assert sentence.startswith("b: vllm_server_group_address: ")


def test_nodes_must_have_the_same_image_release_and_kind_of_gpu() -> None:
    one = {"image_id": "sha256:aa", "release": "r1", "gpu_names": ["H200"]}
    assert differences("big", {"a": one, "b": dict(one)}) == []
    assert differences("big", {"a": one, "b": {**one, "image_id": "", "release": ""}}) == []
    (image,) = differences("big", {"a": one, "b": {**one, "image_id": "sha256:bb"}})
    assert "the image is not the same on all nodes of big (aa on a, bb on b)" in image
    (release,) = differences("big", {"a": one, "b": {**one, "release": "r2"}})
    assert "the release of the model is not the same" in release
    (kind,) = differences("big", {"a": one, "b": {**one, "gpu_names": ["A100"]}})
    assert "H200 on a, A100 on b" in kind
