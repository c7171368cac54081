# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.private_llm.fleet.plugins.plugin_utils._fleet import report
from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway._derive import fleet_connections

SERVER = {
    "name": "alpha",
    "address": "192.0.2.1",
    "bind": "0.0.0.0",
    "port": 18005,
    "state": "started",
    "status": "ready",
    "served_model_names": ["alpha"],
    "key_file": "/k",
}


def test_the_end_of_a_run_names_the_gateway_and_calls_go_there() -> None:
    endpoint = {"url": "http://192.0.2.9:8000", "users": ["ann"], "keys": "/etc/private_llm/gateway/keys"}
    hostvars = {"gpu": {"vllm_server_endpoints": [SERVER]}, "gw": {"gateway_endpoint": endpoint}}
    said = report({"gpu_hosts": ["gpu"], "gateway_hosts": ["gw"]}, hostvars)
    assert said["failed"] == []
    text = "\n".join(said["lines"])
    assert "Gateway: http://192.0.2.9:8000/v1  keys of ann in /etc/private_llm/gateway/keys on gw" in text
    assert "call: base URL http://192.0.2.9:8000/v1, model alpha, the key of a user of the gateway" in text


def test_a_gateway_that_did_not_come_to_its_end_is_named() -> None:
    assert report({"gateway_hosts": ["gw"]}, {"gw": {}})["failed"][0].startswith("gw: did not come to the end")


def test_without_a_gateway_open_webui_has_a_connection_to_each_server() -> None:
    (found,) = fleet_connections(["gpu"], {"gpu": {"vllm_server_endpoints": [SERVER]}}, "web")
    assert found["url"] == "http://192.0.2.1:18005/v1"
