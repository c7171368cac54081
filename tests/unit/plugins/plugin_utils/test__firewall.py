# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import normal_instances
from ansible_collections.private_llm.fleet.plugins.plugin_utils._firewall import GROUPS, More, rules
from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._members import members

HOSTVARS: dict[str, t.Any] = {
    "gpu-01": {"ansible_host": "10.0.0.1"},
    "gpu-02": {"ansible_host": "10.0.0.2", "vllm_server_group_address": "10.1.0.2"},
    "gw-01": {"ansible_host": "192.0.2.30", "gateway_address": "10.0.0.30"},
    "web-01": {"ansible_host": "10.0.0.40"},
    "watch-01": {},
}
SERVERS = normal_instances(
    [
        {"name": "one", "model": "/m", "port": 18005},
        {"name": "two", "model": "/m", "port": 18006, "state": "stopped"},
        {"name": "old", "model": "/m", "port": 18007, "state": "absent"},
    ]
)

NO_MORE = More()


def derived(
    servers: t.Any = SERVERS, host: str = "gpu-01", more: More = NO_MORE, **groups: t.Any
) -> list[dict[str, t.Any]]:
    return rules(servers, {name: groups.get(name, []) for name in GROUPS}, HOSTVARS, host, more)


def test_gateways_and_monitoring_ask_the_servers_and_open_webui_asks_the_gateway() -> None:
    (servers,) = derived(gateway_hosts=["gw-01"], webui_hosts=["web-01"], monitoring_hosts=["watch-01"])
    assert servers["ports"] == [18005, 18006]
    assert servers["sources"] == ["10.0.0.30", "watch-01"]


def test_without_a_gateway_open_webui_asks_the_servers() -> None:
    assert derived(webui_hosts=["web-01"])[0]["sources"] == ["10.0.0.40"]


def test_a_host_needs_no_rule_for_itself() -> None:
    assert derived(gateway_hosts=["gpu-01", "gw-01"])[0]["sources"] == ["10.0.0.30"]


def test_more_sources_are_added() -> None:
    assert derived(more=More(["10.9.0.0/16"]))[0]["sources"] == ["10.9.0.0/16"]


def grouped(**engine: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    server = {
        "name": "big",
        "model": "org/big",
        "nodes": ["gpu-01", "gpu-02"],
        "port": 18005,
        "gpus": 1,
        "engine": engine,
    }
    declared = {**HOSTVARS, "gpu-01": {**HOSTVARS["gpu-01"], "vllm_server_instances": [server]}}
    return members(["gpu-01", "gpu-02"], declared)


@pytest.mark.parametrize(
    ("engine", "ports"),
    [
        ({}, [29501]),
        ({"master_port": 29600}, [29600]),
        ({"data_parallel_size": 2}, [29501, 29550]),
        ({"data_parallel_size": 2, "data_parallel_rpc_port": 29999}, [29501, 29999]),
    ],
)
def test_the_other_nodes_alone_reach_a_member(engine: dict[str, t.Any], ports: list[int]) -> None:
    servers, group = derived(grouped(**engine)["gpu-01"], gateway_hosts=["gw-01"])
    assert servers["ports"] == [18005]
    assert group["ports"] == ports
    assert group["chosen_ports"] is True
    assert group["sources"] == ["10.1.0.2"]
    assert group["open_ports"] == [22]


def test_a_worker_serves_no_api() -> None:
    servers, group = derived(grouped()["gpu-02"], "gpu-02", More(open_ports=[40001]), gateway_hosts=["gw-01"])
    assert servers["ports"] == []
    assert group["sources"] == ["10.0.0.1"]
    assert group["open_ports"] == [22, 40001]


def test_the_port_that_ansible_comes_by_stays_open() -> None:
    variables = {**HOSTVARS, "gpu-02": {**HOSTVARS["gpu-02"], "ansible_port": "40022"}}
    found = rules(grouped()["gpu-02"], {name: [] for name in GROUPS}, variables, "gpu-02", NO_MORE)
    assert found[1]["open_ports"] == [40022]
