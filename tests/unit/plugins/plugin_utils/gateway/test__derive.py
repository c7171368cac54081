# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _derive, _model

ALPHA = {"name": "alpha", "model": "Qwen/Qwen3-8B", "port": 18005, "gpus": [0]}


def host(*instances: t.Any, **more: t.Any) -> dict[str, t.Any]:
    return {"ansible_host": "192.0.2.1", "vllm_server_instances": list(instances), **more}


def test_a_server_is_reached_at_its_hosts_address_and_on_the_gateways_own_host_at_the_loopback() -> None:
    hostvars = {"gpu-1": host(ALPHA), "gpu-2": host(ALPHA, ansible_host="192.0.2.2")}
    found = _derive.servers(["gpu-1", "gpu-2"], hostvars, "gpu-1")
    assert [(one["name"], one["url"], one["models"]) for one in found] == [
        ("gpu-1:alpha", "http://127.0.0.1:18005", ["alpha"]),
        ("gpu-2:alpha", "http://192.0.2.2:18005", ["alpha"]),
    ]
    assert found[0]["key_file"] == "/etc/private_llm/vllm_server/alpha/api_keys"


def test_names_binds_urls_and_certificates_are_taken_from_the_declaration() -> None:
    several = [
        {**ALPHA, "served_model_names": ["a", "b"], "bind": "198.51.100.7"},
        {**ALPHA, "name": "beta", "url": "https://llm.example.com/beta/v1", "api_keys": []},
        {**ALPHA, "name": "tls", "engine": {"ssl_certfile": "/c"}},
    ]
    found = _derive.servers(["g"], {"g": host(*several, vllm_server_address="gpu.example.com")}, "other")
    assert [one["url"] for one in found] == [
        "http://198.51.100.7:18005",
        "https://llm.example.com/beta",
        "https://gpu.example.com:18005",
    ]
    assert found[0]["models"] == ["a", "b"]
    assert found[1]["key_file"] == ""


def test_a_share_is_handed_on() -> None:
    found = _derive.servers(["g"], {"g": host(ALPHA, {**ALPHA, "name": "beta", "port": 2, "share": "0.25"})}, "g")
    assert [one["share"] for one in found] == [None, 0.25]


def test_what_is_not_to_run_or_cannot_be_read_is_left_out() -> None:
    odd = [
        {**ALPHA, "state": "stopped"},
        {**ALPHA, "state": "absent"},
        {"name": "no-port", "model": "m"},
        7,
        {"port": []},
    ]
    assert _derive.servers(["g", "none"], {"g": host(*odd)}, "g") == []
    assert _derive.servers(None, {}, None) == []


def test_a_host_that_did_not_tell_keeps_its_place_and_one_that_did_adds_what_it_measured() -> None:
    told = {**ALPHA, "address": "x", "bind": "0.0.0.0", "ready": {"max_concurrency": 8.5, "seconds": 40}}
    told.pop("gpus")
    silent, telling = host(ALPHA), host(ALPHA, vllm_server_endpoints=[told])
    before, after = (_derive.servers(["g"], {"g": one}, "")[0] for one in (silent, telling))
    assert (before["max_concurrency"], after["max_concurrency"], after["start_seconds"]) == (None, 8.5, 40)
    assert before["url"] == after["url"]


def test_what_is_derived_has_no_problem_and_two_models_of_one_name_have_one() -> None:
    users = [{"name": "ann", "models": ["*"]}]
    hostvars = {"g": host(ALPHA), "h": host({**ALPHA, "model": "other/model"})}
    assert _model.problems(_derive.servers(["g"], hostvars, ""), users) == []
    problems = _model.problems(_derive.servers(["g", "h"], hostvars, ""), users)
    assert ["alpha is served by h:alpha from other/model, and by g:alpha" in one.text for one in problems] == [True]


def test_a_server_that_listens_for_its_own_host_alone_is_told_where_the_gateway_is_on_another() -> None:
    hostvars = {"g": host({**ALPHA, "bind": "127.0.0.1"})}
    users = [{"name": "ann", "models": ["*"]}]
    assert _model.problems(_derive.servers(["g"], hostvars, "g"), users) == []
    (problem,) = _model.problems(_derive.servers(["g"], hostvars, "gw"), users)
    assert "g:alpha cannot be reached from the gateway: bind 127.0.0.1 lets programs of g itself" in problem.sentence


def test_open_webui_has_one_connection_to_the_gateway_with_a_user_of_its_own() -> None:
    hostvars = {
        "g": host(ALPHA, {**ALPHA, "name": "b", "port": 18006}),
        "gw": {"ansible_host": "192.0.2.9", "gateway_port": 8443, "gateway_certificate_files": ["/c.pem"]},
    }
    (found,) = _derive.connection(["g"], hostvars, ["gw"])
    assert (found["url"], found["prefix_id"], found["models"]) == ("https://192.0.2.9:8443/v1", "", ["alpha", "b"])
    assert (found["host"], found["key_file"]) == ("gw", "/etc/private_llm/gateway/keys/open-webui")
    for tls in ("gateway_internal_ca", "gateway_acme"):
        hostvars["gw"] = {"ansible_host": "192.0.2.9", tls: True}
        assert _derive.connection(["g"], hostvars, ["gw"])[0]["url"] == "https://192.0.2.9:8000/v1"
    hostvars["gw"] = {"gateway_public_url": "https://llm.example.com"}
    assert _derive.connection(["g"], hostvars, ["gw"])[0]["url"] == "https://llm.example.com/v1"
    assert _derive.connection([], hostvars, ["gw"]) == _derive.connection(["g"], hostvars, []) == []


def test_keys_are_those_that_were_read() -> None:
    derived = _derive.servers(
        ["g"], {"g": host(ALPHA, {**ALPHA, "name": "b"}, {**ALPHA, "name": "c", "api_keys": []})}, ""
    )
    read = [
        {"item": derived[0], "content": base64.b64encode(b"sk-1\nsk-2\n").decode()},
        {"item": derived[1], "failed": True, "msg": "no"},
    ]
    found = [(one["name"], one["keyed"], one["key"]) for one in _derive.with_keys(derived, read)]
    assert found == [("g:alpha", True, "sk-1"), ("g:b", True, None), ("g:c", False, None)]
