# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import (
    InstanceError,
    endpoints,
    instance_problems,
    normal_instances,
    option_problems,
    server_options,
)


def instance(**changes: t.Any) -> dict[str, t.Any]:
    """A server that is declared well, with changes; a change to None takes the key away."""
    given = {"name": "alpha", "model": "Qwen/Qwen3-32B", "gpus": [0], "port": 18005, **changes}
    return {key: value for key, value in given.items() if value is not None}


def test_nothing_is_wrong_with_a_good_declaration() -> None:
    declared = [
        instance(engine={"max_model_len": 81920}),
        instance(name="beta", gpus=["GPU-1a2b", "MIG-1a2b-3c"], port=18006, api_keys=["sk-one", "sk-two"]),
        instance(
            name="cpu",
            model="/srv/models/tiny",
            gpus=[],
            port="18007",
            bind="127.0.0.1",
            api_keys=[],
            image="vllm/vllm-openai-cpu:v0.32.0",
        ),
        instance(name="two", gpus=2, port=18008, restart_policy=False, shm_size="16g", volumes=["/a:/b:ro"]),
        {"name": "gone", "state": "absent"},
    ]
    assert instance_problems(declared) == []


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ("x", "vllm_server_instances: must be a list, not a string"),
        (["x"], "vllm_server_instances[0]: must be a mapping, not a string"),
        (
            [instance(prot=18005)],
            "vllm_server_instances[0].prot: is not a key of an instance; did you mean port?",
        ),
        (
            [instance(served_model_name=["x"])],
            (
                "vllm_server_instances[0].served_model_name: is not a key of an instance; did you mean "
                "served_model_names?"
            ),
        ),
        ([instance(name=None)], "vllm_server_instances[0].name: is required"),
        ([instance(model=None)], "vllm_server_instances[0].model: is required"),
        ([instance(port=None)], "vllm_server_instances[0].port: is required"),
        ([instance(name=5)], "vllm_server_instances[0].name: must be a string, not a number"),
        (
            [instance(name="my server")],
            (
                "vllm_server_instances[0].name: 'my server' cannot name a container; use 2 to 100 letters, digits, "
                "dots, dashes or underscores"
            ),
        ),
        (
            [instance(name="a.previous")],
            (
                "vllm_server_instances[0].name: 'a.previous' ends in .previous, which is kept for a "
                "container that is being "
                "replaced"
            ),
        ),
        (
            [instance(model="Qwen3-32B")],
            (
                "vllm_server_instances[0].model: 'Qwen3-32B' is neither a hub id (organization/name) nor "
                "an absolute path on "
                "the host"
            ),
        ),
        ([instance(image="vllm openai")], "vllm_server_instances[0].image: 'vllm openai' is not an image reference"),
        (
            [instance(gpus="0,1")],
            "vllm_server_instances[0].gpus: must be a list of indices or UUIDs, or a count, not a string; [] is CPU",
        ),
        ([instance(gpus=-1)], "vllm_server_instances[0].gpus: -1 is not a count of GPUs"),
        (
            [instance(gpus=[0, "x"])],
            "vllm_server_instances[0].gpus[1]: 'x' is not a GPU index, a GPU-… UUID or a MIG-… UUID",
        ),
        ([instance(gpus=[0, "0"])], "vllm_server_instances[0].gpus[1]: 0 is named twice"),
        ([instance(port=70000)], "vllm_server_instances[0].port: 70000 is not a TCP port (1 to 65535)"),
        ([instance(port=True)], "vllm_server_instances[0].port: True is not a TCP port (1 to 65535)"),
        (
            [instance(bind="eth0")],
            "vllm_server_instances[0].bind: 'eth0' is not an IP address of the host (0.0.0.0 is all of them)",
        ),
        (
            [instance(engine=["max_model_len"])],
            "vllm_server_instances[0].engine: must be a mapping of vLLM's option names to values, not a list",
        ),
        ([instance(engine={"port": 1})], "vllm_server_instances[0].engine.port: is not set here; use port"),
        (
            [instance(engine={"max-model-len": 1})],
            (
                "vllm_server_instances[0].engine.max-model-len: is not an option name; write it with underscores: "
                "max_model_len"
            ),
        ),
        (
            [instance(served_model_names="x")],
            "vllm_server_instances[0].served_model_names: must be a list, not a string",
        ),
        (
            [instance(served_model_names=["x", "x"])],
            "vllm_server_instances[0].served_model_names[1]: 'x' is named twice",
        ),
        (
            [instance(api_keys="sk-secret")],
            (
                "vllm_server_instances[0].api_keys: must be a list, not a string; leave it out to have "
                "one key made on the "
                "host"
            ),
        ),
        (
            [instance(api_keys=["-x"])],
            "vllm_server_instances[0].api_keys[0]: begins with a dash; vLLM would take it for an option",
        ),
        (
            [instance(api_keys=["a b"])],
            "vllm_server_instances[0].api_keys[0]: holds a blank or a character that no HTTP header can carry",
        ),
        ([instance(api_keys=[""])], "vllm_server_instances[0].api_keys[0]: is empty"),
        ([instance(api_keys=["sk-alike", "sk-alike"])], "vllm_server_instances[0].api_keys[1]: repeats another key"),
        (
            [instance(api_keys=[])],
            (
                "vllm_server_instances[0].api_keys: is empty, so anyone who reaches 0.0.0.0:18005 may "
                "use the model; leave it "
                "out to have a key made, bind to 127.0.0.1, or name alpha in vllm_server_allow_unauthenticated"
            ),
        ),
        (
            [instance(env={"VLLM_API_KEY": "x"})],
            "vllm_server_instances[0].env.VLLM_API_KEY: is not set here; use api_keys",
        ),
        (
            [instance(env={"NCCL_P2P_DISABLE": True})],
            "vllm_server_instances[0].env.NCCL_P2P_DISABLE: must be a string or a number, not a boolean; quote it",
        ),
        ([instance(env={"A-B": "x"})], "vllm_server_instances[0].env.A-B: is not the name of an environment variable"),
        (
            [instance(volumes=["data:/data"])],
            (
                "vllm_server_instances[0].volumes[0]: 'data:/data' is not "
                "/on/the/host:/in/the/container, with :ro or :rw at "
                "the end if you like"
            ),
        ),
        (
            [instance(volumes=["/a:/b:z"])],
            "vllm_server_instances[0].volumes[0]: '/a:/b:z' ends in 'z', which is neither ro nor rw",
        ),
        ([instance(shm_size="big")], "vllm_server_instances[0].shm_size: 'big' is not a size such as 16g"),
        (
            [instance(shm_size="16g", ipc="host")],
            "vllm_server_instances[0].shm_size: has no effect with ipc: host; leave one of the two out",
        ),
        (
            [instance(state="present")],
            "vllm_server_instances[0].state: 'present' is none of started, stopped, absent",
        ),
        (
            [instance(state="running")],
            "vllm_server_instances[0].state: 'running' is none of started, stopped, absent",
        ),
        (
            [instance(restart_policy="unless_stopped")],
            (
                "vllm_server_instances[0].restart_policy: 'unless_stopped' is none of no, always, "
                "on-failure, unless-stopped; "
                "did you mean unless-stopped?"
            ),
        ),
        (
            [instance(model="/srv/models/x", revision="main")],
            "vllm_server_instances[0].revision: has no meaning beside a model that is a path; leave it out",
        ),
        (
            [instance(gpus=[0, 1], engine={"tensor_parallel_size": 2, "pipeline_parallel_size": 2})],
            (
                "vllm_server_instances[0].gpus: gives 2 GPU(s), but tensor_parallel_size 2 x "
                "pipeline_parallel_size 2 needs 4"
            ),
        ),
        (
            [instance(gpus=[], image="mirror:5000/vllm/vllm-openai:v0.32.0-cu129")],
            "vllm_server_instances[0].image: mirror:5000/vllm/vllm-openai:v0.32.0-cu129 runs on GPUs "
            "alone; name some in gpus, or use vllm/vllm-openai-cpu",
        ),
        (
            [instance(), instance(gpus=[1], port=18006)],
            (
                "vllm_server_instances[1].name: alpha is already the name of vllm_server_instances[0]; a "
                "name is a container "
                "of the host"
            ),
        ),
        (
            [instance(), instance(name="beta", gpus=[1])],
            (
                "vllm_server_instances[1].port: 18005 is already the port of vllm_server_instances[0] "
                "(alpha); change one of "
                "the two"
            ),
        ),
        (
            [instance(bind="192.0.2.1"), instance(name="beta", gpus=[1], bind="::")],
            (
                "vllm_server_instances[1].port: 18005 is already the port of vllm_server_instances[0] "
                "(alpha); change one of "
                "the two"
            ),
        ),
        (
            [instance(), instance(name="beta", port=18006)],
            (
                "vllm_server_instances[1].gpus: GPU 0 is shared by alpha (0.92) and beta (0.92), "
                "together 1.84 of its memory; "
                "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
            ),
        ),
        (
            [
                instance(name=name, port=port, engine={"kv_cache_memory_bytes": "4G"})
                for name, port in (("alpha", 18005), ("beta", 18006))
            ],
            (
                "vllm_server_instances[1].gpus: GPU 0 is shared by alpha (0.92) and beta (0.92), "
                "together 1.84 of its memory; "
                "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
            ),
        ),
        (
            [instance(), instance(name="beta", gpus=[1], port=18006, revision="v2")],
            (
                "vllm_server_instances[1].revision: 'v2' differs from vllm_server_instances[0], which "
                "serves the same model "
                "Qwen/Qwen3-32B; a host keeps one release of a model in use"
            ),
        ),
    ],
)
def test_one_problem(declared: t.Any, problem: str) -> None:
    assert instance_problems(declared) == [problem]


@pytest.mark.parametrize(
    "declared",
    [
        [instance(), instance(name="beta", gpus=[1], state="stopped")],
        [instance(bind="192.0.2.1"), instance(name="beta", gpus=[1], bind="192.0.2.2")],
        [
            instance(engine={"gpu_memory_utilization": 0.5}),
            instance(name="beta", port=18006, engine={"gpu_memory_utilization": 0.5}),
        ],
        [
            instance(engine={"gpu_memory_utilization": 0.9}),
            instance(name="beta", port=18006, engine={"kv_cache_memory_bytes": "4G", "gpu_memory_utilization": 0.1}),
        ],
        [instance(), instance(name="beta", port=18006, state="absent")],
        [instance(gpus=[0, 1], engine={"tensor_parallel_size": 8, "nnodes": 4})],
    ],
    ids=["two-on-one-port-one-stopped", "two-addresses", "half-each", "fixed-amount", "absent", "several-hosts"],
)
def test_two_that_get_along(declared: list[dict[str, t.Any]]) -> None:
    assert instance_problems(declared) == []


def test_all_problems_come_at_once_and_name_the_host() -> None:
    problems = instance_problems([instance(prot=1, port=0), instance(name="x", gpus="1")], host="gpu-02")
    assert len(problems) == 4
    assert all(problem.startswith("gpu-02: vllm_server_instances[") for problem in problems)


def test_no_problem_quotes_a_key() -> None:
    declared = [instance(api_keys=["-canary", "canary canary", "canary", "canary"])]
    problems = instance_problems(declared)
    assert len(problems) == 3
    assert "canary" not in " ".join(problems)


def test_a_server_without_a_key_must_be_allowed() -> None:
    declared = [instance(api_keys=[])]
    assert instance_problems(declared, allow_unauthenticated=["alpha"]) == []
    assert instance_problems([instance(api_keys=[], bind="::1")]) == []
    assert instance_problems(declared, defaults={"bind": "127.0.0.1"}) == []


def test_where_a_model_comes_from_may_be_said_by_its_server() -> None:
    declared = [
        instance(source="archive", archive="/mnt/a.tar", archive_on="controller"),
        instance(name="box", model="a/b", gpus=[1], port=18006, archive="/mnt/b.tar", include=["*.json"], exclude=[]),
        instance(name="hub", model="a/c", gpus=[2], port=18007, endpoint="https://hub.example.com/x", token="hf_1\n"),
    ]
    assert instance_problems(declared) == []
    assert normal_instances(declared)[2]["token"] is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"source": "archive"},
            "archive: is required with source: archive; name the folder or tar file with the model",
        ),
        ({"archive": "a.tar"}, "archive: 'a.tar' is not an absolute path"),
        (
            {"archive": "/a.tar", "endpoint": "https://hub.example.com"},
            "endpoint: has no meaning with source: archive; leave one of the two out",
        ),
        (
            {"source": "huggingface", "archive": "/a.tar"},
            "archive: has no meaning with source: huggingface; leave one of the two out",
        ),
        ({"archive_on": "host"}, "archive_on: has no meaning with source: a hub; leave one of the two out"),
        ({"archive": "/a", "archive_on": "here"}, "archive_on: 'here' is none of host, controller"),
        (
            {"endpoint": "https://me:canary@hub.example.com"},
            "endpoint: holds a user or a password; give the token in token, where it stays secret",
        ),
        ({"endpoint": "hub"}, "endpoint: is not a URL such as https://llm.example.com"),
        ({"token": "two canaries"}, "token: holds a blank inside it: give the key or token alone"),
        ({"token": ["canary"]}, "token: must be a string, not a list"),
        ({"include": "*.json"}, "include: must be a list of shell patterns, not a string"),
        ({"exclude": [""]}, "exclude[0]: '' is not a shell pattern such as *.safetensors"),
        (
            {"model": "/srv/models/own", "include": ["*"]},
            "include: has no meaning beside a model that is a path; leave it out",
        ),
    ],
)
def test_a_source_that_cannot_be(changes: dict[str, t.Any], problem: str) -> None:
    found = instance_problems([instance(**changes)])
    assert found == [f"vllm_server_instances[0].{problem}"]
    assert "canar" not in str(found)


def test_two_servers_of_one_model_take_it_from_one_place() -> None:
    declared = [instance(include=["a"]), instance(name="beta", gpus=[1], port=18006, include=["b"])]
    (problem,) = instance_problems(declared)
    assert problem.startswith("vllm_server_instances[1].include: ")
    assert "which serves the same model Qwen/Qwen3-32B; a host keeps one release of a model in use" in problem


def test_normal_form_of_the_least_declaration() -> None:
    assert normal_instances([{"name": "alpha", "model": "Qwen/Qwen3-32B", "port": "18005"}]) == [
        {
            "name": "alpha",
            "model": "Qwen/Qwen3-32B",
            "model_repo": "Qwen/Qwen3-32B",
            "model_path": "/srv/models/Qwen/Qwen3-32B/current",
            "source": "",
            "revision": "",
            "endpoint": "",
            "token": None,
            "archive": "",
            "archive_on": "",
            "include": None,
            "exclude": None,
            "image": "vllm/vllm-openai:v0.32.0",
            "gpus": [],
            "port": 18005,
            "bind": "0.0.0.0",
            "url": "",
            "share": None,
            "engine": {},
            "served_model_names": ["alpha"],
            "api_keys": None,
            "key_file": "/etc/private_llm/vllm_server/alpha/api_keys",
            "env": {},
            "volumes": [],
            "shm_size": "",
            "ipc": "private",
            "restart_policy": "unless-stopped",
            "nodes": [],
            "state": "started",
        }
    ]


def test_normal_form_lays_an_instance_over_the_defaults() -> None:
    declared = [
        instance(
            model="/srv/models/own",
            gpus=[1, "GPU-1a"],
            engine={"max_model_len": 1024, "dtype": None},
            env={"B": "2"},
            volumes=["/c:/d"],
            api_keys=[],
            restart_policy=False,
        )
    ]
    defaults = {
        "models_root": "/data/models/",
        "engine": {"max_model_len": 4096, "dtype": "half", "enforce_eager": True},
        "env": {"A": "1", "B": "1"},
        "volumes": ["/a:/b"],
        "image": "vllm/vllm-openai:v0.31.0",
    }
    (normal,) = normal_instances(declared, defaults)
    assert normal["engine"] == {"max_model_len": 1024, "dtype": None, "enforce_eager": True}
    assert normal["env"] == {"A": "1", "B": "2"}
    assert normal["volumes"] == ["/a:/b", "/c:/d"]
    assert normal["image"] == "vllm/vllm-openai:v0.31.0"
    assert (normal["model_path"], normal["model_repo"], normal["key_file"]) == ("/srv/models/own", "", "")
    assert normal["gpus"] == ["1", "GPU-1a"]
    assert normal["restart_policy"] == "no"
    assert defaults["env"] == {"A": "1", "B": "1"}
    (hub,) = normal_instances([instance()], defaults)
    assert hub["model_path"] == "/data/models/Qwen/Qwen3-32B/current"


@pytest.mark.parametrize(
    ("declared", "defaults", "message"),
    [
        ("x", None, "vllm_server_instances: must be a list, not a string"),
        (["x"], None, "vllm_server_instances[0]: must be a mapping, not a string"),
        ([], {"imag": "x"}, "the defaults hold imag, which is none of archive, "),
        ([], "x", "the defaults must be a mapping, not a string"),
    ],
)
def test_what_has_no_normal_form(declared: t.Any, defaults: t.Any, message: str) -> None:
    with pytest.raises(InstanceError) as error:
        normal_instances(declared, defaults)
    assert str(error.value).startswith(message)


def test_options_of_a_module() -> None:
    assert option_problems({"name": "alpha", "model": "/srv/x", "port": 18005, "api_keys": None}) == []
    assert option_problems({"name": "a b", "model": "Qwen/Qwen3-32B", "port": 0}) == [
        "name: 'a b' cannot name a container; use 2 to 100 letters, digits, dots, dashes or underscores",
        "port: 0 is not a TCP port (1 to 65535)",
        "model: 'Qwen/Qwen3-32B' is a hub id; download it first, and name the absolute path on the host",
    ]


def test_endpoints_join_what_is_declared_and_what_is_found() -> None:
    declared = normal_instances([instance(), {"name": "gone", "state": "absent"}, instance(name="beta", port=18006)])
    found = [{"name": "alpha", "status": "ready", "ready": {"seconds": 20.5}, "container": {"id": "1"}}]
    result = endpoints(declared, found, "192.0.2.11")
    assert [(row["name"], row["where"], row["status"]) for row in result] == [
        ("alpha", "vllm_server_instances[0]", "ready"),
        ("beta", "vllm_server_instances[2]", "absent"),
    ]
    assert result[0] == {
        "name": "alpha",
        "where": "vllm_server_instances[0]",
        "address": "192.0.2.11",
        "bind": "0.0.0.0",
        "port": 18005,
        "scheme": "http",
        "url": "",
        "state": "started",
        "served_model_names": ["alpha"],
        "key_file": "/etc/private_llm/vllm_server/alpha/api_keys",
        "status": "ready",
        "ready": {"seconds": 20.5},
        "watch": {},
    }


def test_instances_become_options_of_the_module() -> None:
    declared = [
        {"name": "alpha", "model": "Qwen/Qwen3-8B", "port": 18005, "gpus": [0], "engine": {"max_model_len": 1024}},
        {"name": "beta", "model": "/srv/x", "port": 18006, "api_keys": [], "state": "stopped"},
        {"name": "gone", "state": "absent"},
    ]
    found = server_options(normal_instances(declared), {"drain_timeout": 5, "allow_unauthenticated": ["beta"]})
    shared = {"bind": "0.0.0.0", "env": {}, "volumes": [], "shm_size": "", "ipc": "private", "drain_timeout": 5}
    assert found == [
        {
            **shared,
            "name": "alpha",
            "model": "/srv/models/Qwen/Qwen3-8B/current",
            "image": "vllm/vllm-openai:v0.32.0",
            "gpus": ["0"],
            "port": 18005,
            "engine": {"max_model_len": 1024},
            "served_model_names": ["alpha"],
            "restart_policy": "unless-stopped",
            "state": "started",
            "allow_unauthenticated": False,
        },
        {
            **shared,
            "name": "beta",
            "model": "/srv/x",
            "image": "vllm/vllm-openai:v0.32.0",
            "gpus": [],
            "port": 18006,
            "engine": {},
            "served_model_names": ["beta"],
            "api_keys": [],
            "restart_policy": "unless-stopped",
            "state": "stopped",
            "allow_unauthenticated": True,
        },
        {"name": "gone", "state": "absent"},
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "alpha\n"),
        ("model", "Qwen/Qwen3-8B\n"),
        ("model", "/srv/m\n"),
        ("model", "/srv/a:b"),
        ("model", "/etc:ro"),
        ("model", "/"),
        ("model", "/srv/.."),
        ("model", "/run/private_llm"),
        ("model", "/proc/1"),
        ("image", "vllm/vllm-openai:v0.32.0\n"),
        ("image", "vllm//x"),
        ("image", "vllm/vllm-openai:"),
        ("image", "vllm/vllm-openai:v 1"),
        ("image", f"vllm/{'x' * 300}:v1"),
        ("revision", "main\n"),
        ("revision", "a b"),
        ("revision", "-f"),
        ("gpus", [0, "00"]),
        ("gpus", ["٣"]),
        ("gpus", ["GPU-1A", "gpu-1a"]),
        ("gpus", [0, "0\n"]),
        ("gpus", [10**6000]),
        ("gpus", 10**9),
        ("port", "²"),
        ("port", "9" * 5000),
        ("port", 18005.5),
        ("bind", "224.0.0.1"),
        ("bind", "255.255.255.255"),
        ("bind", "0.0.0.7"),
        ("bind", "fe80::1%eth0"),
        ("bind", "fe80::1"),
        ("bind", "ff02::1"),
        ("share", 0),
        ("share", 1.01),
        ("share", True),
        ("share", "a tenth"),
        ("share", float("nan")),
        ("url", "llm.example.com"),
        ("url", "ftp://llm.example.com"),
        ("url", "https://user:canary@llm.example.com"),
        ("url", "https://llm.example.com/?a=b"),
        ("url", "https://llm.example.com:99999"),
        ("url", "https://[::1/"),
        ("url", "https://llm example.com"),
        ("served_model_names", ["a\n"]),
        ("served_model_names", ["a\x1b[2J"]),
        ("api_keys", ["a"]),
        ("env", {"A\n": "1"}),
        ("env", {"A": "a\x00b"}),
        ("env", {"A": float("nan")}),
        ("env", {"A": "\ud800"}),
        ("volumes", ["/a:/b", "/c:/b/"]),
        ("volumes", ["/a:/run/private_llm"]),
        ("volumes", ["/a:/var/cache/vllm:rw"]),
        ("volumes", ["/a:/"]),
        ("volumes", ["/a:/proc/sys"]),
        ("volumes", ["/a:/b\n"]),
        ("volumes", ["/a:/srv/models/Qwen/Qwen3-32B/current"]),
        ("shm_size", 0),
        ("shm_size", "0"),
        ("shm_size", "0.5b"),
        ("shm_size", "999t"),
        ("shm_size", "١g"),
        ("shm_size", "1g\n"),
        ("engine", {"gpu_memory_utilization": 5}),
        ("engine", {"gpu_memory_utilization": -0.5}),
        ("engine", {"gpu_memory_utilization": float("nan")}),
        ("engine", {"max_model_len": 0}),
        ("engine", {"max_model_len": "32,768"}),
        ("engine", {"max_num_seqs": "²"}),
        ("engine", {"kv_offloading_size": float("inf")}),
        ("engine", {"data_parallel_size": 8}),
        ("engine", {"tensor_parallel_size": "٢"}),
        ("engine", {"chat_template": {1, 2}}),
        ("engine", {"cudagraph_capture_sizes": []}),
        ("engine", {"additional_config": {"when": datetime.date(2026, 1, 1)}}),
    ],
)
def test_what_docker_or_vllm_would_refuse_is_refused_by_its_variable(key: str, value: t.Any) -> None:
    problems = instance_problems([instance(**{key: value})])
    assert problems
    named = {"data_parallel_size": "gpus"}.get(next(iter(value)), key) if isinstance(value, dict) else key
    assert all(problem.startswith(f"vllm_server_instances[0].{named}") for problem in problems)
    assert not any("canary" in problem or "\n" in problem or "\x1b" in problem for problem in problems)


@pytest.mark.parametrize("key", ["engine", "env", "volumes", "gpus", "served_model_names", "api_keys"])
def test_a_value_that_holds_itself_is_refused(key: str) -> None:
    holds: t.Any = {} if key in ("engine", "env") else []
    holds.update(a=holds) if isinstance(holds, dict) else holds.append(holds)
    (problem,) = instance_problems([instance(**{key: holds})])
    assert problem.startswith(f"vllm_server_instances[0].{key}")
    assert "holds itself" in problem
    with pytest.raises(InstanceError, match="holds itself"):
        normal_instances([instance(**{key: holds})])


def test_a_value_of_a_million_values_is_refused_at_once() -> None:
    many: t.Any = ["a"] * 10
    for _level in range(8):
        many = [many] * 10
    (problem,) = instance_problems([instance(engine={"additional_config": {"a": many}})])
    assert "more than 100,000 values" in problem


@pytest.mark.parametrize(
    ("defaults", "problem"),
    [
        ({"engine": ["a"]}, "vllm_server_engine: must be a mapping of vLLM's option names to values, not a list"),
        ({"volumes": "/a:/b"}, "vllm_server_volumes: must be a list, not a string"),
        ({"models_root": "srv"}, "vllm_server_models_root: 'srv' is not an absolute path on the host"),
        ({"shm_size": 0}, "vllm_server_shm_size: 0 is less than 1m; leave it out to have as much as vLLM needs"),
    ],
)
def test_a_default_that_is_wrong_is_told_once_by_its_variable(defaults: dict[str, t.Any], problem: str) -> None:
    assert instance_problems([instance(), instance(name="beta")], defaults=defaults) == [problem]
    with pytest.raises(InstanceError, match="vllm_server_"):
        normal_instances([instance()], defaults)


def test_two_replicas_on_one_gpu_are_refused_unless_others_have_the_gpus() -> None:
    spread = {"data_parallel_size": 8}
    assert len(instance_problems([instance(engine=spread)])) == 1
    for more in ({"data_parallel_size_local": 1}, {"data_parallel_backend": "ray"}, {"data_parallel_rank": 1}):
        assert instance_problems([instance(engine={**spread, **more})]) == []


def test_a_server_that_is_to_go_needs_no_image_that_fits() -> None:
    gone = {"name": "gone", "state": "absent", "image": "vllm/vllm-openai:v0.32.0", "gpus": []}
    assert option_problems(gone) == []
    assert option_problems({**gone, "state": "started"}) != []
