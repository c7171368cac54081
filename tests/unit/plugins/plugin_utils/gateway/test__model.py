# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _model


def server(name: str = "gpu-01:qwen", **changes: t.Any) -> dict[str, t.Any]:
    return {"name": name, "url": "http://192.0.2.1:18005", "models": ["qwen"], "model": "Qwen/Qwen3-8B", **changes}


ANN = {"name": "ann", "models": ["*"]}


def test_no_name_is_taken_for_a_hop() -> None:
    assert ":to:" not in _model.label("a:to:b")
    assert _model.label("a:to:b") != _model.label("a_to_b")


def test_names_that_the_same_servers_serve_are_one_pool() -> None:
    servers = [server(models=["qwen", "default"]), server("gpu-02:qwen", models=["default", "qwen"])]
    fleet = _model.fleet_of([*servers, server("gpu-03:other", models=["other"])], [])
    assert [(pool.names, [one.name for one in pool.replicas]) for pool in fleet.pools] == [
        (("default", "qwen"), ["gpu-01:qwen", "gpu-02:qwen"]),
        (("other",), ["gpu-03:other"]),
    ]


def test_a_name_that_one_replica_alone_serves_is_routed_to_that_one() -> None:
    fleet = _model.fleet_of([server(models=["qwen", "canary"]), server("gpu-02:qwen")], [])
    assert {pool.names: len(pool.replicas) for pool in fleet.pools} == {("canary",): 1, ("qwen",): 2}


def test_the_order_of_declarations_changes_nothing() -> None:
    servers = [server(), server("gpu-02:qwen"), server("gpu-03:x", models=["x", "y"])]
    users = [ANN, {"name": "bob", "models": ["x"]}]
    assert _model.fleet_of(servers, users) == _model.fleet_of(servers[::-1], users[::-1])


@pytest.mark.parametrize(("measured", "most"), [(None, 256), (0, 256), (0.5, 16), (12.5, 50), (1000.0, 256), (-1, 256)])
def test_a_server_is_sent_what_its_cache_was_measured_for(measured: float | None, most: int) -> None:
    assert _model.most_requests(measured) == most


def test_requests_are_held_for_three_times_what_a_start_took_and_a_minute() -> None:
    fleet = _model.fleet_of([server(start_seconds=89.2), server("gpu-02:qwen", start_seconds=30)], [])
    assert fleet.pools[0].hold_seconds == 328
    assert _model.hold_seconds(None) == 300


def test_labels_are_what_the_proxy_accepts_and_stay_apart() -> None:
    names = ["gpu-01:qwen", "gpu 01:qwen", "gpu/01:qwen", "模型:x"]
    labels = [_model.label(name) for name in names]
    assert labels[0] == names[0]
    assert len(set(labels)) == len(names)
    assert all(label.isascii() and not _model.NOT_IN_A_NAME.search(label) for label in labels)


def test_sound_declarations_have_no_problem() -> None:
    users = [ANN, {"name": "bob", "models": ["qwen"], "requests_per_minute": 60, "concurrent_requests": 4}]
    assert _model.problems([server(), server("gpu-02:qwen")], users) == []


@pytest.mark.parametrize(
    ("servers", "users", "said"),
    [
        ([server()], [], "gateway_users: is empty"),
        ([server()], [{"name": "ann"}], "gateway_users[0].models: ann may use no model"),
        ([server()], [{"name": "ann", "models": ["qwne"]}], "did you mean qwen?"),
        ([server()], [{"name": "ann", "models": ["llama"]}], "; there are qwen"),
        ([server()], [ANN, ANN], "gateway_users[1].name: ann is also gateway_users[0]"),
        ([server()], [{"name": "ann b", "models": ["*"]}], "gateway_users[0].name: 'ann b' is not a user's name"),
        ([server()], [{"name": "ann|x", "models": ["*"]}], "is not a user's name"),
        ([server()], [{**ANN, "requests_per_minute": -1}], "gateway_users[0].requests_per_minute: is -1"),
        ([server()], [{**ANN, "requests_per_minute": "many"}], "requests_per_minute"),
        (
            [server(), server("gpu-02:llama", model="meta/Llama")],
            [ANN],
            "gateway_servers[1].models: qwen is served by gpu-02:llama from meta/Llama, and by gpu-01:qwen from Qwen",
        ),
        ([server(), server()], [ANN], "gateway_servers[1].name: gpu-01:qwen is also gateway_servers[0]"),
        ([server(url="ftp://x")], [ANN], "gateway_servers[0].url: gpu-01:qwen: is not a URL"),
        ([server(models=[])], [ANN], "gateway_servers[0].models: gpu-01:qwen serves no name"),
        ([server(models=["# x"])], [ANN], "cannot be routed"),
        ([server(models=["a b"])], [ANN], "cannot be routed"),
        ([server(), server("gpu-02:qwen", share=0)], [ANN], "gateway_servers[1].share: gpu-02:qwen has the share 0"),
        ([server(), server("gpu-02:qwen", share=1.5)], [ANN], "gpu-02:qwen has the share 1.5; give a number above 0"),
        ([server(), server("gpu-02:qwen", share=1)], [ANN], "the shares of qwen leave nothing for gpu-01:qwen"),
        ([server(share=0.2)], [ANN], "the shares of qwen are 0.2 in all, and no server is there for the rest"),
        (
            [server(share=0.2), server("gpu-02:qwen", share=0.3)],
            [ANN],
            "the shares of qwen are 0.5 in all, and no server is there for the rest: gpu-01:qwen 0.2, gpu-02:qwen 0.3",
        ),
    ],
)
def test_problems_name_the_variable_and_what_to_do(servers: t.Any, users: t.Any, said: str) -> None:
    assert any(said in problem.sentence for problem in _model.problems(servers, users)), _model.problems(servers, users)


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ((None, None), ()),
        ((0.1, None), (28, 256)),
        ((0.1, None, None), (57, 256, 256)),
        ((0.5, 0.25, 0.25), (256, 128, 128)),
        ((0.33, 0.33, 0.33), (256, 256, 256)),
        ((0.001, None), (1, 256)),
        ((1,), ()),
    ],
)
def test_shares_are_weights_and_those_without_one_divide_the_rest(
    shares: tuple[float | None, ...], weights: tuple[int, ...]
) -> None:
    servers = [server(f"gpu-{number}:qwen", share=share) for number, share in enumerate(shares)]
    assert _model.fleet_of(servers, []).pools[0].weights == weights
    assert _model.problems(servers, [ANN]) == []


def test_a_canary_may_be_another_model_under_the_same_name() -> None:
    canary = server("gpu-02:next", model="Qwen/Qwen3.5-8B", share=0.1)
    assert _model.problems([server(), canary], [ANN]) == []
    assert _model.problems([server(), {**canary, "share": None}], [ANN])


@pytest.mark.parametrize("odd", [None, 7, "x", {"a": 1}, [None], [7], [[]], [{"name": 1}]])
def test_what_has_another_form_is_told_and_never_raises(odd: t.Any) -> None:
    assert _model.problems(odd, odd)
    assert _model.fleet_of(odd, odd) is not None
