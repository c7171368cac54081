# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
from jinja2.exceptions import UndefinedError

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import (
    endpoints,
    normal_instances,
)
from ansible_collections.private_llm.fleet.plugins.plugin_utils import _fleet


def endpoint(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "name": "alpha",
        "where": "vllm_server_instances[0]",
        "address": "192.0.2.11",
        "bind": "0.0.0.0",
        "port": 18005,
        "state": "started",
        "served_model_names": ["alpha"],
        "key_file": "/etc/private_llm/vllm_server/alpha/api_keys",
        **changes,
    }


def test_models_are_listed_once_and_only_with_what_the_instances_say() -> None:
    instances = [
        {"name": "a", "model": "Qwen/Qwen3-8B"},
        {"name": "b", "model": "Qwen/Qwen3-8B", "revision": "v1"},
        {"name": "c", "model": "/srv/mine"},
        {"name": "d", "model": "Qwen/Qwen3-0.6B", "source": "git_lfs"},
        {"name": "e", "model": "Qwen/Gone", "state": "absent"},
        {"name": "f"},
        {"name": "g", "model": "Qwen/Box", "archive": "/mnt/box.tar", "archive_on": "controller", "image": "x"},
        {
            "name": "h",
            "model": "Qwen/Part",
            "source": "huggingface",
            "endpoint": "https://hub.example.com",
            "token": "hf_canary",
            "include": ["*.json"],
            "exclude": ["*.bin"],
        },
    ]
    assert _fleet.instance_models(instances) == [
        {"repo": "Qwen/Qwen3-8B", "revision": "v1"},
        {"repo": "Qwen/Qwen3-0.6B", "source": "git_lfs"},
        {"repo": "Qwen/Box", "archive": "/mnt/box.tar", "archive_on": "controller", "source": "archive"},
        {
            "repo": "Qwen/Part",
            "source": "huggingface",
            "endpoint": "https://hub.example.com",
            "token": "hf_canary",
            "include": ["*.json"],
            "exclude": ["*.bin"],
        },
    ]


@pytest.mark.parametrize(
    ("bind", "address", "server_host", "expected"),
    [
        ("0.0.0.0", "192.0.2.11", "gpu", "http://192.0.2.11:18005/v1"),
        ("0.0.0.0", "192.0.2.11", "web", "http://host.docker.internal:18005/v1"),
        ("198.51.100.7", "192.0.2.11", "gpu", "http://198.51.100.7:18005/v1"),
        ("198.51.100.7", "192.0.2.11", "web", "http://198.51.100.7:18005/v1"),
        ("::", "2001:db8::11", "gpu", "http://[2001:db8::11]:18005/v1"),
        ("0.0.0.0", "gpu.example.com", "gpu", "http://gpu.example.com:18005/v1"),
    ],
)
def test_server_url(bind: str, address: str, server_host: str, expected: str) -> None:
    assert _fleet.server_url(endpoint(bind=bind, address=address), server_host, "web") == expected


def test_a_server_bound_to_loopback_is_a_problem_where_there_is_a_web_host() -> None:
    hostvars = {
        "gpu-01": {"vllm_server_instances": [{"bind": "127.0.0.1"}, {}, {"bind": "127.0.0.1", "state": "absent"}]},
        "gpu-02": {"vllm_server_bind": "::1", "vllm_server_instances": [{}, {"bind": "0.0.0.0"}, {"bind": "nonsense"}]},
        "gpu-03": {},
    }
    problems = _fleet.connection_problems(list(hostvars), hostvars, ["web"])
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["gpu-01", "vllm_server_instances[0].bind"],
        ["gpu-02", "vllm_server_instances[0].bind"],
    ]
    assert "not by Open WebUI in its container on web; bind to an address" in problems[0]
    assert _fleet.connection_problems(list(hostvars), hostvars, []) == []


def test_a_server_with_tls_of_its_own_is_reached_by_https_everywhere() -> None:
    instances = normal_instances(
        [
            {"name": "alpha", "model": "/m", "port": 18005, "gpus": [0], "engine": {"ssl_certfile": "/tls/cert.pem"}},
            {"name": "beta", "model": "/m", "port": 18006, "gpus": [1]},
        ]
    )
    hostvars = {"gpu": {"vllm_server_endpoints": endpoints(instances, [], "192.0.2.11")}}
    urls = ["https://192.0.2.11:18005/v1", "http://192.0.2.11:18006/v1"]
    assert [one["url"] for one in _fleet.connections(["gpu"], hostvars, "web")] == urls
    beside = [one["url"] for one in _fleet.connections(["gpu"], hostvars, "gpu")]
    assert beside == [urls[0], "http://host.docker.internal:18006/v1"], "no certificate names the gateway"
    lines = _fleet.report({"gpu_hosts": ["gpu"], "webui_hosts": []}, hostvars)["lines"]
    assert [url in line for url, line in zip(urls, lines[1:], strict=True)] == [True, True]


@pytest.mark.parametrize("url", ["https://llm.example.com/alpha", "https://llm.example.com/alpha/v1/"])
def test_a_server_behind_a_proxy_is_reached_by_the_url_it_declares_and_may_listen_on_loopback(url: str) -> None:
    declared = {"name": "alpha", "model": "/m", "port": 18005, "gpus": [0], "bind": "127.0.0.1", "url": url}
    told_of_it = endpoints(normal_instances([declared]), [], "192.0.2.11")
    hostvars = {"gpu": {"vllm_server_instances": [declared], "vllm_server_endpoints": told_of_it}}
    assert _fleet.connection_problems(["gpu"], hostvars, ["web"]) == []
    (connection,) = _fleet.connections(["gpu"], hostvars, "gpu")
    assert connection["url"] == "https://llm.example.com/alpha/v1"
    assert connection["url"] in _fleet.report({"gpu_hosts": ["gpu"], "webui_hosts": []}, hostvars)["lines"][1]


@pytest.mark.parametrize("declared", ["qwen", ["qwen"], {"name": "qwen"}, 7, [None], [["a"]], [{"gpus": "x"}, 3]])
def test_a_malformed_declaration_is_left_to_the_role_that_tells_it(declared: t.Any) -> None:
    hostvars = {
        "gpu-01": {"vllm_server_instances": declared},
        "gpu-02": {"vllm_server_instances": [{"name": "a", "bind": "127.0.0.1"}]},
    }
    assert _fleet.wants_gpus(declared) is (declared == [{"gpus": "x"}, 3])
    assert _fleet.instance_models(declared) == []
    assert len(_fleet.connection_problems(["gpu-01", "gpu-02"], hostvars, ["web"])) == 1
    assert _fleet.connections(["gpu-01", "gpu-02"], hostvars, "web") == []


class Unevaluated(dict[str, t.Any]):
    """A mapping of which one value needs facts that are not there, as Ansible hands it over."""

    def __getitem__(self, key: str) -> t.Any:
        if super().__getitem__(key) == "{{ facts }}":
            raise UndefinedError("object of type 'dict' has no attribute 'default_ipv4'")
        return super().__getitem__(key)


def test_a_host_without_facts_takes_nothing_from_the_others_and_is_named() -> None:
    down = Unevaluated(name="alpha", bind="{{ facts }}")
    hostvars = {
        "gpu-01": {"vllm_server_instances": [down, Unevaluated(name="{{ facts }}", served_model_names=[["x"]])]},
        "gpu-02": {**told(endpoint()), "vllm_server_instances": [{"name": "beta", "bind": "::1"}]},
        "gpu-03": Unevaluated(vllm_server_instances="{{ facts }}", vllm_server_bind="{{ facts }}"),
    }
    assert connected(hostvars) == [("gpu-02", "alpha", ["gpu-02.alpha"])], "the name that can be read counts"
    (problem,) = _fleet.connection_problems(list(hostvars), hostvars, ["web"])
    assert problem.startswith("gpu-02: vllm_server_instances[0].bind")
    lines = _fleet.report({"gpu_hosts": ["gpu-01", "gpu-03"], "webui_hosts": []}, hostvars)["lines"]
    why = "cannot be evaluated: object of type 'dict' has no attribute 'default_ipv4'"
    assert f"note: gpu-01: vllm_server_instances[0].bind: {why}" in lines
    assert f"note: gpu-03: vllm_server_instances: {why}" in lines


def told(*servers: dict[str, t.Any]) -> dict[str, t.Any]:
    """The variables of a host whose servers told where they are."""
    return {"vllm_server_endpoints": list(servers)}


def connected(hostvars: dict[str, t.Any]) -> list[tuple[str, str, list[str]]]:
    """Host, server and the models' names in Open WebUI, of each connection."""
    return [
        (entry["host"], entry["server"], entry["models"])
        for entry in _fleet.connections(list(hostvars), hostvars, "web")
    ]


def test_connections_leave_out_servers_that_do_not_run() -> None:
    beta = endpoint(name="beta", served_model_names=["beta"], state="stopped")
    assert connected({"gpu": told(endpoint(), beta)}) == [("gpu", "alpha", ["alpha"])]


def test_connections_leave_out_hosts_that_told_nothing() -> None:
    assert connected({"gpu-01": told(endpoint()), "gpu-02": {}}) == [("gpu-01", "alpha", ["alpha"])]


def test_servers_of_one_model_are_told_apart_by_a_prefix() -> None:
    beta = endpoint(name="beta", served_model_names=["beta"])
    assert connected({"gpu-01": told(endpoint()), "gpu-02": told(endpoint(), beta)}) == [
        ("gpu-01", "alpha", ["gpu-01.alpha"]),
        ("gpu-02", "alpha", ["gpu-02.alpha"]),
        ("gpu-02", "beta", ["beta"]),
    ]


def test_servers_of_one_model_on_one_host_are_told_apart_by_their_names_too() -> None:
    both = [
        endpoint(name="first", served_model_names=["m", "m-latest"]),
        endpoint(name="next", served_model_names=["m"]),
    ]
    assert connected({"gpu-01": told(*both), "gpu-02": told(endpoint(name="m", served_model_names=["m"]))}) == [
        ("gpu-01", "first", ["gpu-01-first.m", "gpu-01-first.m-latest"]),
        ("gpu-01", "next", ["gpu-01-next.m"]),
        ("gpu-02", "m", ["gpu-02.m"]),
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"vllm_server_instances": [{"name": "alpha"}]}, id="left out of this run"),
        pytest.param(
            {"vllm_server_instances": [{"name": "x", "served_model_names": ["alpha"]}]}, id="by its served name"
        ),
        pytest.param(told(endpoint(state="stopped")), id="stopped"),
    ],
)
def test_a_server_keeps_its_models_names_while_another_one_of_that_model_is_away(other: dict[str, t.Any]) -> None:
    assert connected({"gpu-01": told(endpoint()), "gpu-02": other}) == [("gpu-01", "alpha", ["gpu-01.alpha"])]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"vllm_server_instances": [{"name": "alpha", "state": "absent"}]}, id="declared absent"),
        pytest.param({"vllm_server_instances": ["alpha", {"name": "beta"}]}, id="nonsense"),
    ],
)
def test_a_server_that_is_gone_leaves_its_name_to_the_other(other: dict[str, t.Any]) -> None:
    assert connected({"gpu-01": told(endpoint()), "gpu-02": other}) == [("gpu-01", "alpha", ["alpha"])]


def test_table_aligns_and_marks_what_is_missing() -> None:
    rows = [{"host": "gpu-01", "state": "ready"}, {"host": "g2", "state": ""}, {"state": "failed"}]
    assert _fleet.table(rows, ["host", "state"]) == ["host    state", "gpu-01  ready", "g2      -", "-       failed"]


@pytest.mark.parametrize(
    ("instance", "expected"),
    [({}, False), ({"gpus": []}, False), ({"gpus": 0}, False), ({"gpus": [0]}, True), ({"gpus": 2}, True)],
)
def test_wants_gpus(instance: dict[str, t.Any], expected: bool) -> None:
    assert _fleet.wants_gpus([{"name": "cpu"}, instance]) is expected
    assert _fleet.wants_gpus([{**instance, "state": "absent"}]) is False


def test_keys_find_their_servers() -> None:
    without = endpoint(name="open", served_model_names=["open"], key_file="")
    hostvars = {"gpu-01": told(endpoint(), without), "gpu-02": told(endpoint())}
    servers = _fleet.connections(list(hostvars), hostvars, "web")
    read = [
        {"item": servers[0], "content": base64.b64encode(b"first\nsecond\n").decode()},
        {"item": servers[2], "failed": True, "msg": "file not found"},
    ]
    url = "http://192.0.2.11:18005/v1"
    assert _fleet.with_keys(servers, read) == [
        {"url": url, "prefix_id": "gpu-01", "model_ids": [], "key": "first"},
        {"url": url, "prefix_id": "", "model_ids": [], "key": ""},
        {"url": url, "prefix_id": "gpu-02", "model_ids": []},
    ]
    # Open WebUI puts the prefix in front by itself.
    static = _fleet.with_keys(servers, read, static=True)
    assert [one["model_ids"] for one in static] == [["alpha"], ["open"], ["alpha"]]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00", b"\x1b[2J", "schlüssel".encode()])
def test_a_damaged_key_file_is_named_and_leaves_the_other_connections_alone(content: bytes) -> None:
    hostvars = {"gpu-01": told(endpoint()), "gpu-02": told(endpoint(name="b", served_model_names=["b"]))}
    servers = _fleet.connections(list(hostvars), hostvars, "web")
    read = [
        {"item": servers[0], "content": base64.b64encode(content).decode()},
        {"item": servers[1], "content": base64.b64encode(b"good").decode()},
    ]
    first, second = _fleet.with_keys(servers, read)
    assert ("key" in first, second["key"]) == (False, "good")
    (problem,) = _fleet.key_problems(read)
    assert problem.startswith("gpu-01: alpha: /etc/private_llm/vllm_server/alpha/api_keys holds ")
    unread = {"web": {"fleet_keys_unread": [problem]}}
    assert problem in _fleet.report({"gpu_hosts": [], "webui_hosts": ["web"]}, unread)["failed"]


def test_a_key_file_that_cannot_be_read_is_named() -> None:
    servers = _fleet.connections(["gpu-01"], {"gpu-01": told(endpoint())}, "web")
    (problem,) = _fleet.key_problems([{"item": servers[0], "unreachable": True, "msg": "timed out"}])
    assert "could not be read: timed out; Open WebUI keeps the key" in problem


@pytest.mark.parametrize(
    ("public_url", "shown"),
    [("https://chat.example.com/", "https://chat.example.com"), ("", "http://192.0.2.21:3000"), (None, None)],
)
def test_people_are_told_the_public_url_of_open_webui(public_url: str | None, shown: str | None) -> None:
    told = {"bind": "0.0.0.0", "port": 3000, "admin_email": "a@b", "password_file": "/p", "public_url": public_url}
    hosts = {"web": {"ansible_host": "192.0.2.21", "open_webui_endpoint": told}}
    lines = _fleet.report({"gpu_hosts": [], "webui_hosts": ["web"]}, hosts)["lines"]
    assert any((shown or "http://192.0.2.21:3000") + "  sign in as" in line for line in lines)


def test_the_report_shows_servers_web_and_answers_and_names_who_failed() -> None:
    ready = {"kv_cache_tokens": 123456, "max_concurrency": 3.77, "seconds": 41.2}
    hostvars = {
        "gpu-01": {"vllm_server_endpoints": [endpoint(status="ready", ready=ready)]},
        "gpu-02": {"fleet_failure": {"stage": "servers", "message": "no room for the KV cache"}},
        "gpu-03": {},
        "web": {
            "ansible_host": "192.0.2.21",
            "open_webui_endpoint": {
                "bind": "0.0.0.0",
                "port": 3000,
                "admin_email": "admin@example.com",
                "password_file": "/etc/private_llm/open_webui/admin_password",
            },
            "open_webui_answers": {"answers": [{"model": "alpha", "answer": " Hello. ", "seconds": 0.42}]},
        },
    }
    report = _fleet.report({"gpu_hosts": ["gpu-01", "gpu-02", "gpu-03"], "webui_hosts": ["web"]}, hostvars)
    assert report["lines"] == [
        "host    server  serves  address                     state  KV tokens  at once  started in",
        "gpu-01  alpha   alpha   http://192.0.2.11:18005/v1  ready  123,456    3.8      41 s",
        (
            "Open WebUI: http://192.0.2.21:3000  sign in as admin@example.com, "
            "password in /etc/private_llm/open_webui/admin_password on web"
        ),
        'alpha answered in 0.4 s: "Hello."',
        "Next:",
        "  chat: open http://192.0.2.21:3000 and choose a model",
        (
            "  call: base URL http://192.0.2.11:18005/v1, model alpha, "
            "a key from /etc/private_llm/vllm_server/alpha/api_keys on gpu-01"
        ),
        "  mend: correct what is listed as failed and run the same command again; it goes on where it stopped",
        "  look: ansible-playbook private_llm.fleet.report draws the fleet as a page",
    ]
    assert report["failed"] == [
        "gpu-02: servers: no room for the KV cache",
        "gpu-03: did not come to the end of its steps; its last task above says why",
    ]


def test_hosts_that_a_limit_leaves_out_have_not_failed_but_those_that_were_lost_have() -> None:
    limit = {"ansible_limit": "gpu-01"}
    hostvars = {"gpu-01": {**limit, "fleet_reached": {}}, "gpu-02": limit}
    report = _fleet.report({"gpu_hosts": ["gpu-01", "gpu-02"], "webui_hosts": []}, hostvars)
    assert report["failed"] == ["gpu-01: did not come to the end of its steps; its last task above says why"]


def test_a_server_that_fell_is_told_of() -> None:
    fall = {"at": 1795435200.0, "text": "its engine hung", "action": "the watch restarted it", "evidence": "x"}
    watch = {"falls": 2, "given_up": True, "last_fall": fall}
    told = {"gpu-01": {"vllm_server_endpoints": [endpoint(status="ready", watch=watch)]}}
    lines = _fleet.report({"gpu_hosts": ["gpu-01"], "webui_hosts": []}, told)["lines"]
    assert lines[2] == (
        "alpha on gpu-01 fell 2 times, last at 2026-11-23 12:00 UTC: its engine hung; the watch restarted it;"
        " it is not restarted any more"
    )
    assert _fleet.fall_of("alpha", {}) == _fleet.fall_of("alpha", {"falls": 0, "last_fall": {}}) == ""


def test_what_the_watch_saw_of_the_other_services_is_told() -> None:
    fall = {"at": 1795435200.0, "text": "it answered nothing any more", "action": "the watch restarted it"}
    watched = [
        {"name": "open-webui", "state": "ready", "falls": 1, "given_up": False, "last_fall": fall},
        {"name": "private-llm-gateway", "state": "busy", "falls": 0, "given_up": False, "last_fall": None},
        {"state": "nameless"},
    ]
    told = {"web-01": {"server_watch_seen": {"watched": watched}}}
    groups = {"gpu_hosts": [], "webui_hosts": ["web-01"], "gateway_hosts": ["web-01", "gw-02"]}
    lines = [line for line in _fleet.report(groups, told)["lines"] if "open-webui" in line]
    assert lines == [
        "Watch of web-01: open-webui ready, private-llm-gateway busy",
        "open-webui on web-01 fell once, last at 2026-11-23 12:00 UTC: it answered nothing any more; the watch"
        " restarted it",
    ]


def test_what_comes_next_is_what_there_is() -> None:
    groups = {"gpu_hosts": ["gpu-01"], "webui_hosts": []}
    open_server = {"gpu-01": {"vllm_server_endpoints": [endpoint(status="ready", key_file="")]}}
    assert _fleet.report(groups, open_server)["lines"][2:] == [
        "Next:",
        "  call: base URL http://192.0.2.11:18005/v1, model alpha, no key",
        "  look: ansible-playbook private_llm.fleet.report draws the fleet as a page",
    ]
    assert _fleet.report({"gpu_hosts": [], "webui_hosts": []}, {})["lines"] == [
        "nothing is declared: no server in gpu_hosts, no host in webui_hosts"
    ]
