# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every filter is fed hostile values at every place of its input; the outcome is a clean result or a clear refusal."""

from __future__ import annotations

import datetime
import decimal
import importlib
import json
import pathlib
import re
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from jinja2.runtime import StrictUndefined

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import normal_instances
from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._members import members
from ansible_collections.private_llm.fleet.tests.support import hostile

FILTERS = pathlib.Path(__file__).parents[4] / "plugins" / "filter"


def _holds_itself() -> list[t.Any]:
    mapping: dict[str, t.Any] = {}
    mapping["a"] = mapping
    listed: list[t.Any] = [1]
    listed.append(listed)
    return [mapping, listed, {"name": listed}, [mapping, mapping]]


def _nested(depth: int) -> t.Any:
    value: t.Any = 1
    for _level in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


TEXTS = [
    *("", " ", "\n", "\t", "a\n", "\na", "a b", " a", "a ", "\x00", "a\x00b", "\x1b[2J", "\x1b]0;t\x07", "\r", "a\rb"),
    *("\x7f", "\x85", "\x9b2J", "\u2028", "\u202eevil", "\u200b", "\ufeff", "\ud800", "a\udcffb", "²", "٣", "Ⅷ", "½"),
    *("9" * 5000, "-1", "+1", "1e3", "1_000", "0x10", "00", "0", "1.5", "inf", "nan", "-inf", "NaN", "Infinity", "1,5"),
    *("true", "false", "yes", "null", "None", "~", "auto", "-", "--", "-x", "--x", "=", "a=b", ":", "::", ":::", "/"),
    *("//", "/..", "../..", "/etc:ro", "/a:/b", "/a:/b:ro:x", "a/b/c/d", "a/", "/a", "@", "@sha256:", "a@sha256:b"),
    *("{{ x }}", "{% raw %}", "{}", "[]", '{"a": 1}', "[1", "<script>", "&amp;", "'", '"', "`id`", "$(id)", "%s", "%"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "fe80::1%eth0", "[::1]", "http://", "http://u:p@h", "ftp://x"),
    *("x" * 100_000, "ü" * 300, "日本語", "e\u0301", "a:b:c", "vllm/vllm-openai:v99.99.99", "v0.32.0", "latest", "."),
]
NUMBERS = [0, -1, 1, 2, 7, 2**31, 2**63, 2**64, 10**400, 10**6000, -(10**6000), 0.0, -0.0, 0.5, 1e308, 5e-324, 1e400]
NUMBERS += [float("inf"), float("-inf"), float("nan"), True, False]
OTHERS = [
    None,
    b"bytes",
    bytearray(b"x"),
    {1, 2},
    frozenset("a"),
    datetime.date(2026, 1, 31),
    datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC),
    decimal.Decimal("1.5"),
    complex(1, 2),
    object(),
    StrictUndefined("facts"),
    pathlib.PurePosixPath("/a"),
    [],
    {},
    (),
    [None],
    [[]],
    [{}],
    {"": ""},
    {None: None},
    {1: 2},
    {"a": None},
    {"name": {}},
    {"name": []},
    {(1, 2): 3},
    {"\x1b[2J": "\x1b[2J"},
    {"\ud800": 1},
    ["a", 1, None, {}],
    [StrictUndefined("facts")],
    {"name": StrictUndefined("facts")},
    [{"name": "a"}, {"name": "a"}],
    [{"name": "a", "served_model_names": [{}]}],
    [[1, 2], [3]],
    range(3),
    _nested(30),
    _nested(31),
    _nested(500),
    _nested(501),
    *_holds_itself(),
]
HOSTILE = [*TEXTS, *NUMBERS, *OTHERS]

INSTANCE = {
    "name": "alpha",
    "model": "o/m",
    "gpus": ["0"],
    "port": 18005,
    "bind": "10.0.0.1",
    "url": "https://llm.example.com/v1",
    "engine": {"max_model_len": 1024, "tensor_parallel_size": 1, "gpu_memory_utilization": 0.9},
    "served_model_names": ["alpha"],
    "api_keys": ["sk-0123456789"],
    "env": {"A": "1"},
    "volumes": ["/a:/b"],
    "shm_size": "1g",
    "revision": "main",
}
NORMAL = normal_instances([INSTANCE])
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "vocab_size": 151936,
    "quantization_config": {"quant_method": "fp8"},
}
READY = {"seconds": 3.5, "kv_cache_tokens": 1000, "max_concurrency": 2.5, "max_model_len": 512}
GPU = {
    "status": "ok",
    "message": "",
    "driver_version": "580.65.06",
    "cuda_version": "13.0",
    "gpus": [
        {
            "index": 0,
            "uuid": "GPU-0",
            "name": "NVIDIA L4",
            "memory": {"total": 23034, "used": 1000, "free": 21000},
            "compute_capability": "8.9",
            "problem": None,
            "mig": {"mode": "disabled", "devices": []},
        }
    ],
    "processes": [{"gpu_uuid": "GPU-0", "container": "1", "used_memory": 9000, "name": "python", "pid": 7}],
    "topology": [{"index": 0, "gpus": {"0": "X"}}],
}
HOST = {
    "gpu": GPU,
    "models": {"/srv/models/o/m/current": {"config": CONFIG, "weight_bytes": 65_000_000_000}},
    "images": {"vllm/vllm-openai:v0.32.0": False},
    "image_folder": {"path": "/var/lib/docker", "free": 10**9, "device": 1},
    "folders": {"/srv/models": {"free": 10**9, "device": 1}},
    "containers": [{"id": "1", "name": "other", "server": None}],
    "measured": {"alpha": {"config_hash": "a", **READY, "started_in_seconds": 9.0}},
}
LOOKED = {
    "item": {"name": "alpha"},
    "name": "alpha",
    "failed": False,
    "actions": ["recreate"],
    "changes": [{"option": "max_model_len", "before": 1, "after": 2}],
    "container": {"status": "running", "config_hash": "a", "image": "vllm/vllm-openai:v0.32.0", "engine": {}},
}
LISTED = {"o/m": {"config": CONFIG, "files": [{"path": "a.safetensors", "size": 65_000_000_000}], "bytes_missing": 5}}
TOLD = {
    "name": "alpha",
    "where": "vllm_server_instances[0]",
    "address": "10.0.0.1",
    "bind": "0.0.0.0",
    "port": 18005,
    "scheme": "http",
    "url": "",
    "state": "started",
    "served_model_names": ["alpha"],
    "key_file": "/k",
    "status": "ready",
    "ready": READY,
}
FOUND = {
    "name": "alpha",
    "status": "ready",
    "message": "",
    "models": [{"id": "alpha", "max_model_len": 512}],
    "container": {"port": 18005, "gpus": ["GPU-0"]},
    "ready": READY,
    "measured": READY,
    "load": {"running": 1, "waiting": 0, "kv_cache_usage": 0.5},
}
ROW = {"name": "alpha", "where": "vllm_server_instances[0]", "verdict": "does_not_fit", "reasons": ["too big"]}
ROW.update({"actions": ["create"], "changes": [{"option": "a"}], "kv_tokens": 5, "max_concurrency": 1.5})
ROW.update({"nearest": [{"engine": {"max_model_len": 1024}}], "outage_seconds": 3, "bytes_to_fetch": 5})
ROW["question"] = {"config": CONFIG, "engine": {}, "release": [0, 32, 0], "weight_bytes": 65_000_000_000}
PLAN = {
    "servers": [ROW],
    "notes": [{"where": "a", "kind": "b", "text": "c"}],
    "gpus": {"name": "NVIDIA L4", "memory": 2**34, "compute_capability": 8.9, "count": 1},
}
# Of a model, what a look said, and what its host tells the others of that.
SNAPSHOT = {
    "item": {"repo": "o/m"},
    "digest": "d" * 64,
    "files": [{"path": "a.bin", "size": 5, "sha256": "0" * 64}],
    "bytes_missing": 5,
    "bytes_total": 5,
}
OFFER = {
    "url": "http://10.0.0.1:8790",
    "rack": "",
    "models": [{"repo": "o/m", "digest": "d" * 64, "bytes_missing": 5, "bytes_total": 5}],
}
BAD = {
    "ansible_host": "10.0.0.1",
    "ansible_port": 22,
    "ansible_limit": "all",
    "fleet_stopping": ["alpha"],
    "fleet_failure": {"stage": "servers", "message": "no room"},
    "fleet_gpu": GPU,
    "fleet_found": {"servers": [FOUND]},
    "fleet_keys_unread": ["a"],
    "model_download_offer": OFFER,
    "container_image_offer": OFFER,
    "fleet_web_found": {"status": "ready", "webui_version": "0.6", "message": ""},
    "open_webui_answers": {"answers": [{"model": "alpha", "seconds": 0.5, "answer": "Hello"}]},
    "open_webui_endpoint": {
        "bind": "0.0.0.0",
        "port": 3000,
        "public_url": "https://chat.example.com",
        "admin_email": "a@b",
        "password_file": "/p",
    },
    "vllm_server_address": "10.0.0.1",
    "vllm_server_bind": "0.0.0.0",
    "vllm_server_endpoints": [TOLD],
    "vllm_server_instances": [INSTANCE],
    "vllm_server_plan": PLAN,
}
GOOD = {**BAD, "ansible_host": "10.0.0.2", "vllm_server_endpoints": [{**TOLD, "name": "sound-server"}]}
GOOD["fleet_found"] = {"servers": [{**FOUND, "name": "sound-server"}]}
GOOD["vllm_server_plan"] = {**PLAN, "servers": [{**ROW, "name": "sound-server"}]}
HOSTVARS = {"bad-host": BAD, "good-host": GOOD}
GROUPS = {"gpu_hosts": ["bad-host", "good-host"], "webui_hosts": ["bad-host"]}
HOSTS = ["bad-host", "good-host"]
PROBLEM = {
    "host": "bad-host",
    "where": "vllm_server_instances[0]",
    "kind": "does_not_fit",
    "text": "alpha does not fit",
}
SERVER = {
    "host": "bad-host",
    "server": "alpha",
    "url": "http://a/v1",
    "prefix_id": "",
    "key_file": "/k",
    "served": ["a"],
}
SLURPED = {"item": SERVER, "content": "c2stMDEyMzQ1Njc4OQ==", "failed": False, "msg": ""}
FAILED = {"failed": True, "msg": "no", "results": [{"failed": True, "msg": "no", "module_stderr": ""}]}

BEHIND = {
    "share": 0.1,
    "name": "bad-host:alpha",
    "host": "bad-host",
    "server": "alpha",
    "url": "http://10.0.0.1:18005",
    "models": ["alpha"],
    "model": "o/m",
    "key_file": "/k",
    "max_concurrency": 2.5,
    "start_seconds": 3.5,
    "key": "sk-0123456789",
    "keyed": True,
    "unreachable": "",
}
USER = {"name": "ann", "models": ["*"], "requests_per_minute": 60, "concurrent_requests": 2, "keys": ["k" * 40]}
BEHIND_WEB = {"name": "chat.example.com", "url": "http://10.0.0.1:3000", "unreachable": ""}
GATEWAY = {"bind": "0.0.0.0", "port": 8000, "tls": False, "max_body_bytes": 10**7, "queue_seconds": 60}
GATEWAY["webs"] = [BEHIND_WEB]
ASKED = {
    "kind": "server",
    "name": "bad-host:alpha",
    "url": "http://10.0.0.1:18005",
    "host": "bad-host",
    "server": "alpha",
    "model": "alpha",
    "gpus": ["0"],
    "gpu_count": 1,
    "unreachable": "",
}
MONITORING = {
    "interval": 15,
    "limits": {"queue_seconds": 600},
    "receivers": [{"name": "robot", "type": "dingtalk", "url": "https://a.example.com/x", "secret": "s"}],
    "switch_url": "https://b.example.com",
    "gpu_hour_cost": 2.5,
}

GROUPED = {
    "bad-host": {**BAD, "vllm_server_instances": [{**INSTANCE, "nodes": HOSTS}], "vllm_server_models_root": "/data"},
    "good-host": {"vllm_server_group_address": "10.0.0.2", "vllm_server_group_interface": "ib0"},
}
MEMBER = members(HOSTS, GROUPED)["good-host"][0]
STEP = {
    "name": "alpha",
    "problem": "",
    "actions": ["recreate"],
    "changes": [{"option": "max_model_len"}],
    "status": "running",
    "previous": False,
    "image_id": "sha256:aa",
    "release": "d",
    "gpu_names": ["NVIDIA L4"],
    "waited": 5.0,
    "diagnosis": {"id": "oom", "cause": "a", "evidence": "b", "fix": "c"},
    "log_file": "/l",
    "holder": "",
    "network": "NCCL_IB_DISABLE=1",
}
LOOKING = {name: {"vllm_server_member": {**STEP, "step": "look"}} for name in HOSTS}
STARTING = {name: {"vllm_server_member": {**STEP, "step": "wait"}} for name in HOSTS}
LISTENING = {
    name: {"vllm_server_member": {**STEP, "step": "listen", "address": "10.0.0.1", "port": 40001}} for name in HOSTS
}
REACHING = {name: {"vllm_server_member": {**STEP, "step": "reach", "problem": "blocked"}} for name in HOSTS}
BROKEN = {name: {"fleet_group_failure": {**STEP, "step": "wait", "problem": "killed"}} for name in HOSTS}
BUNDLED = {
    "platform": "debian:13",
    "architecture": "x86_64",
    "packages": ["docker.io"],
    "libraries": ["requests==2.32.5"],
    "images": {"vllm/vllm-openai:v0.32.0": "mirror:5000/vllm/vllm-openai:v0.32.0"},
    "plain": ["mirror:5000"],
    "models": ["o/m"],
}
BUNDLING = {"wants": BUNDLED, "platform": "debian:13", "releases": {"o/m": {"path": "/w/o/m", "bytes_total": 5}}}
ENGINE_LOOK = {
    "holds": True,
    "needs": "none",
    "refused": "a",
    "programs": ["/usr/bin/dockerd"],
    "snap": False,
    "user_sockets": ["/run/user/1/docker.sock"],
    "engine": {
        "running": True,
        "version": "26.1.5",
        "data_root": "/var/lib/docker",
        "rootless": False,
        "swarm": True,
        "network_problem": "a",
    },
    "unit": {"loaded": True, "active": True, "enabled": True},
}
ENGINE_WANTED = {
    "host": "bad-host",
    "path": "/etc/docker/daemon.json",
    "source": "distribution",
    "packages": ["docker.io"],
    "live_restore": True,
    "proxies": True,
    "enabled": True,
    "distribution": "Debian",
    "release": "13",
    "family": "Debian",
    "service_mgr": "runit",
}
TOOLKIT_LOOK = {
    "holds": True,
    "needs": "none",
    "refused": "a",
    "packages": [{"name": "a", "version": "1.20.0-1"}],
    "locks": ["a"],
    "repository": {"listed": True, "trusted": True, "others": ["/etc/apt/sources.list"]},
    "engine": {
        "running": True,
        "version": "20.10.24",
        "data_root": "/var/lib/docker",
        "rootless": True,
        "runtimes": ["nvidia"],
        "gpu_containers": ["alpha"],
    },
    "gpu": {"status": "no_driver", "message": "there is no driver"},
}
TOOLKIT_WANTED = {
    "host": "bad-host",
    "state": "present",
    "family": "debian",
    "version": "1.20.1",
    "packages": ["a", "b"],
    "files": ["/f/a_1.20.1-1_amd64.deb"],
    "allow_insecure": False,
    "hold": True,
    "runtime": "nvidia",
    "cdi": True,
    "path": "/etc/docker/daemon.json",
    "socket": "/var/run/docker.sock",
    "hook": True,
    "marked": False,
    "key_refresh": False,
    "require_gpu": True,
    "stop_users": False,
}

# A model as it is declared, and what holds where it says nothing.
DECLARED = {"repo": "o/m", "source": "modelscope", "sources": [{"source": "git_lfs", "token": "t"}], "state": "present"}
DECLARED_FOR_ALL = {
    "source": "modelscope",
    "sources": [{"source": "huggingface"}],
    "token": "",
    "proxy": "",
    "packages": {"modelscope": ["modelscope==1.0"], "huggingface": []},
}

# What the variables of the role open_webui say.
WEB_WANTED = {
    "host": "web",
    "image": "ghcr.io/open-webui/open-webui:v0.12.4",
    "version": "0.12.4",
    "port": 3000,
    "bind": "0.0.0.0",
    "name": "open-webui",
    "data_dir": "/srv/data",
    "config_dir": "/etc/webui",
    "backup_dir": "/b",
    "admin_email": "a@b",
    "admin_password": "p",
    "env": {"A": 1},
    "reserved_env": ["PORT"],
    "keeps_settings": True,
    "connections": [{"url": "http://a"}],
    "settings": {"ui.a": 1},
    "secret_settings": {"ldap.b": "c"},
    "oidc": {"client_id": "a"},
    "ldap": {"host": "a"},
    "public_url": "https://chat",
    "backup_keep": 5,
    "database_url": "postgresql://a@b/c",
    "other_keys": ["web-02"],
    "key_file": "/etc/webui/secret_key",
}

# The arguments of each filter, as they should be.
CALLS: dict[str, list[t.Any]] = {
    "bundle_content": [[BUNDLING], "/b.work"],
    "bundle_lines": [
        {"content": [{"kind": "model", "name": "o/m", "bytes": 5}]},
        [BUNDLING],
        {"p": {"bytes_total": 5}},
    ],
    "bundle_wanted": [BUNDLED],
    "docker_engine_state": [ENGINE_LOOK, ENGINE_WANTED],
    "failed_hosts": [HOSTS, HOSTVARS, "servers"],
    "failure_messages": [FAILED],
    "fleet_connection_problems": [HOSTS, HOSTVARS, ["web"]],
    "fleet_connections": [HOSTS, HOSTVARS, "web"],
    "fleet_key_problems": [[SLURPED]],
    "fleet_page": [GROUPS, HOSTVARS, "now"],
    "fleet_plan": [HOSTS, HOSTVARS, [PROBLEM], ["web"], ["gw"], 1],
    "fleet_problems": [FAILED, "bad-host", "docker_engine", [PROBLEM]],
    "fleet_groups": [GROUPS],
    "fleet_report": [GROUPS, HOSTVARS],
    "fleet_table": [[{"a": "b"}], ["a"]],
    "gateway_alternative_names": [["gw-01", "10.0.0.1", "https://llm.example.com/"]],
    "gateway_batches": [HOSTS, HOSTVARS, 1],
    "gateway_options": [[BEHIND], [USER], GATEWAY],
    "gateway_problems": [[BEHIND], [USER], [BEHIND_WEB], True],
    "gateway_rounds": [[INSTANCE], ["alpha"], ["alpha"], 1],
    "gateway_servers": [HOSTS, HOSTVARS, "gw-01"],
    "gateway_webs": [HOSTS, HOSTVARS, "gw-01"],
    "group_complaint": [MEMBER, BROKEN, "All members were stopped."],
    "group_decision": [MEMBER, LOOKING],
    "firewall_rules": [[MEMBER], GROUPS, GROUPED, "good-host", ["10.0.0.9"], [40022]],
    "group_hosts": [HOSTS, HOSTVARS],
    "group_members": [HOSTS, GROUPED],
    "group_obstacles": [MEMBER, REACHING],
    "group_peers": [MEMBER, LISTENING, "b"],
    "group_problems": [HOSTS, GROUPED, HOSTS],
    "group_progress": [MEMBER, STARTING],
    "group_run": ["servers"],
    "instance_models": [[INSTANCE]],
    "local_url": ["0.0.0.0", 3000],
    "service_url": ["gpu-01", 3000, "http", "0.0.0.0"],
    "mirrored_image": ["vllm/vllm-openai:v0.32.0", "mirror.example.com"],
    "model_chain": [HOSTS, HOSTVARS, "bad-host", [SNAPSHOT]],
    "model_needs": [[DECLARED], DECLARED_FOR_ALL],
    "model_offer": [[SNAPSHOT], "10.0.0.1", 8790, ""],
    "model_room": [[{**SNAPSHOT, "bytes_needed": 5, "bytes_free": 5, "file_system": "/srv"}], 1],
    "monitoring_files": [[ASKED], MONITORING],
    "monitoring_problems": [[ASKED], MONITORING],
    "monitoring_targets": [GROUPS, HOSTVARS, "bad-host"],
    "nvidia_toolkit_state": [TOOLKIT_LOOK, TOOLKIT_WANTED],
    "open_webui_other_keys": [HOSTS, HOSTVARS, "web", "postgresql://u:p@db/webui", "k"],
    "open_webui_problems": [WEB_WANTED],
    "open_webui_settings": [{"host": "a"}, "https://chat", ["m"]],
    "vllm_driver_problems": [NORMAL, "580.65.06", "bad-host"],
    "vllm_endpoints": [NORMAL, [FOUND], "10.0.0.1"],
    "vllm_fit": [
        *(CONFIG, 1024, None, 2**34, "NVIDIA L4", 10**9, CONFIG, 10**8, 8.9),
        *(
            {"dtype": "auto", "speculative_config": {"method": "draft_model", "num_speculative_tokens": 2}},
            "0.32.0",
            "cuda",
        ),
    ],
    "vllm_instance_problems": [[INSTANCE], "bad-host", ["alpha"], {"engine": {}, "env": {}, "volumes": []}],
    "vllm_instances": [[INSTANCE], {"engine": {}, "env": {}, "volumes": []}],
    "vllm_plan": [NORMAL, [LOOKED], HOST, LISTED, "", ["refused"]],
    "vllm_server_options": [NORMAL, {"timeout": 5, "allow_unauthenticated": ["alpha"]}],
    "wants_gpus": [[INSTANCE]],
    "with_bundle": [[{"repo": "o/m", "revision": "main"}], {"o/m": "/bundle/o/m"}],
    "with_gateway_keys": [[BEHIND], [SLURPED]],
    "with_keys": [[SERVER], [SLURPED], False],
    "with_members": [NORMAL, [MEMBER]],
    "without_apt_entries": ["deb http://a/b c d\n", "/etc/apt/sources.list", "/nvidia-docker/"],
    "without_failed": [HOSTS, HOSTVARS, "ansible_host"],
}
# Filters that hand on what people declare, which may hold any character; a module writes it as a value.
HANDS_ON = {
    "bundle_content",
    "bundle_wanted",
    "group_members",
    "instance_models",
    "model_chain",
    "model_needs",
    "vllm_endpoints",
    "vllm_instances",
    "vllm_server_options",
    "with_bundle",
    "with_gateway_keys",
    "with_members",
    "without_apt_entries",
}
# Filters over a whole fleet: what one host says must leave the others in the result.
WHOLE_FLEET = {"fleet_connections", "fleet_page", "fleet_plan", "fleet_report"}

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]")


def outcome_of(name: str, arguments: list[t.Any]) -> t.Any:
    """What a filter returns, as text; its refusal where it refuses."""
    module = importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.filter.{name}")
    try:
        result = module.FilterModule().filters()[name](*arguments)
    except AnsibleFilterError as error:
        text = str(error)
        assert text.strip()
        assert not hostile.PYTHON.search(text), text
        assert not CONTROL.search(text), text
        return None
    text = json.dumps(result, ensure_ascii=False, default=None)
    if name not in HANDS_ON:
        assert not CONTROL.search(result if isinstance(result, str) else "".join(_texts(result))), text
        assert not hostile.PYTHON.search(text), text
    return result


def _texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def test_there_are_enough_hostile_values_and_every_filter_is_fed() -> None:
    assert len(HOSTILE) >= 150
    assert set(CALLS) == {path.stem for path in FILTERS.glob("*.py") if path.stem != "__init__"}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_hostile_value_for_any_argument(name: str) -> None:
    assert outcome_of(name, CALLS[name]) is not None, "the input as it should be is taken"
    for index in range(len(CALLS[name])):
        for value in HOSTILE:
            outcome_of(name, hostile.replaced(CALLS[name], (index,), value))


# A value of every kind, for every place within the arguments.
SOME = ["", "\x1b[2J", "a\n", "²", "9" * 5000, 10**6000, -1, 1.5, float("nan"), float("inf"), None, True, [], {}, b"x"]
SOME += [
    {"a": "b"},
    ["\x1b[2J"],
    [None],
    "\ud800",
    StrictUndefined("facts"),
    datetime.date(2026, 1, 31),
    *_holds_itself(),
]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_hostile_value_at_any_place(name: str) -> None:
    everywhere = list(hostile.places(CALLS[name]))
    # Every value comes to every place; with the many places of a fleet to every fourth, so that four neighbors see all.
    step = 1 if len(everywhere) < 40 else 4
    for index, path in enumerate(everywhere):
        if len(path) < 2 or path[:2] == (1, "good-host"):
            continue
        for value in SOME[index % step :: step]:
            result = outcome_of(name, hostile.replaced(CALLS[name], path, value))
            of_one_host = name in WHOLE_FLEET and path[:2] == (1, "bad-host")
            assert not of_one_host or "sound-server" in json.dumps(result), "the others' servers are still there"
