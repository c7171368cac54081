# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._network import (
    NetworkError,
    Place,
    environment,
    interfaces_here,
    parse_inet6,
    place,
    resolve_here,
    shown,
)

HERE = [("lo", "127.0.0.1"), ("eth0", "203.0.113.9"), ("eth1", "8.8.4.4"), ("ib0", "10.0.0.1"), ("ib0", "fd00::1")]


def found(stated: str, interface: str = "", private: bool = True, names: t.Sequence[str] = ()) -> Place:
    return place(stated, interface, private, HERE, lambda name: names)


def test_the_interface_is_the_one_that_has_the_address() -> None:
    assert found("10.0.0.1") == Place("10.0.0.1", "ib0")
    assert found("fd00::1") == Place("fd00::1", "ib0")
    assert found("gpu-01", names=["127.0.0.1", "10.0.0.1"]) == Place("10.0.0.1", "ib0")


def test_a_declared_interface_decides() -> None:
    assert found("gpu-01", "ib0", names=["8.8.4.4"]) == Place("10.0.0.1", "ib0")


@pytest.mark.parametrize("stated", ["10.0.0.2", "127.0.0.1", "nowhere"])
def test_what_others_cannot_reach_is_refused_with_what_there_is(stated: str) -> None:
    with pytest.raises(NetworkError, match=r"its addresses: .*10\.0\.0\.1 on ib0.*set vllm_server_group_address"):
        found(stated)


def test_an_address_of_the_internet_must_be_declared() -> None:
    with pytest.raises(NetworkError, match="not authenticated; set vllm_server_group_address"):
        found("8.8.4.4")
    assert found("8.8.4.4", private=False) == Place("8.8.4.4", "eth1")


def test_what_is_stated_wins_over_the_derived_environment() -> None:
    assert environment(Place("10.0.0.1", "ib0"), {"NCCL_SOCKET_IFNAME": "ib", "NCCL_IB_HCA": "mlx5"}) == {
        "VLLM_HOST_IP": "10.0.0.1",
        "GLOO_SOCKET_IFNAME": "ib0",
    }
    assert environment(Place("10.0.0.1", "ib0"), {})["NCCL_SOCKET_IFNAME"] == "=ib0"


def test_rdma_is_used_where_it_is_asked_for() -> None:
    here = Place("10.0.0.1", "ib0")
    assert environment(here, {})["NCCL_IB_DISABLE"] == "1"
    assert "NCCL_IB_HCA" not in environment(here, {}, hcas="=mlx5_0")
    fast = environment(here, {}, rdma=True, hcas="=mlx5_0,mlx5_1")
    assert fast["NCCL_IB_HCA"] == "=mlx5_0,mlx5_1"
    assert "NCCL_IB_DISABLE" not in fast
    assert "NCCL_IB_HCA" not in environment(here, {}, rdma=True)


def test_a_diagnosis_shows_the_network_and_nothing_else() -> None:
    env = {"HF_TOKEN": "secret", "VLLM_HOST_IP": "10.0.0.1", "GLOO_SOCKET_IFNAME": "ib0", "NCCL_IB_HCA": "=mlx5_0"}
    assert shown(env) == "GLOO_SOCKET_IFNAME=ib0, NCCL_IB_HCA==mlx5_0, VLLM_HOST_IP=10.0.0.1"


def test_addresses_of_one_link_are_left_out() -> None:
    text = "fd000000000000000000000000000001 02 40 00 80 ib0\nfe800000000000000000000000000001 02 40 20 80 ib0\nodd\n"
    assert parse_inet6(text) == [("ib0", "fd00::1")]


def test_this_machine_has_a_loopback_interface() -> None:
    assert ("lo", "127.0.0.1") in interfaces_here()
    assert "127.0.0.1" in resolve_here("localhost")
    assert resolve_here("no-such-host.invalid") == []
