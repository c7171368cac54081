# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import normal_instances
from ansible_collections.private_llm.fleet.plugins.plugin_utils import _plan_fit
from ansible_collections.private_llm.fleet.plugins.plugin_utils._chain import offer_of
from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan import fleet_plan, host_plan
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict

GIB = 2**30
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
}
WEIGHTS = 65_527_752_704
FILES = [
    {"path": "config.json", "size": 728},
    {"path": "tokenizer.json", "size": 11_422_654},
    {"path": "model-00001-of-00001.safetensors", "size": WEIGHTS},
]
MODELS = {"Qwen/Qwen3-32B": {"config": CONFIG, "files": FILES, "bytes_missing": WEIGHTS}}


def gpu(
    index: int, name: str = "NVIDIA H100 80GB HBM3", total: int = 81559, capability: str = "9.0"
) -> dict[str, t.Any]:
    return {
        "index": index,
        "uuid": f"GPU-{index}",
        "name": name,
        "memory": {"total": total, "used": 0, "free": total},
        "compute_capability": capability,
        "mig": {"mode": "disabled", "devices": []},
        "problem": None,
    }


def host(*gpus: t.Mapping[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    gpu_more = {key: more.pop(key) for key in ("processes", "topology", "driver_version") if key in more}
    return {
        "gpu": {"gpus": list(gpus), "processes": [], "topology": [], "driver_version": "580.65.06", **gpu_more},
        "models": {},
        "images": {},
        "image_folder": {"path": "/var/lib/docker", "free": 10**12, "device": 1},
        "folders": {"/srv/models": {"free": 10**12, "device": 2}},
        "containers": [],
        "measured": {},
        **more,
    }


def server(name: str = "big", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "model": "Qwen/Qwen3-32B", "port": 18005, "gpus": [0, 1], **more}


def plan(
    servers: t.Sequence[t.Mapping[str, t.Any]],
    found: t.Mapping[str, t.Any],
    looked: t.Sequence[t.Any] = (),
    **more: t.Any,
) -> dict[str, t.Any]:
    """The plan of a host, with its problems and notes as sentences."""
    made = host_plan(normal_instances(servers), looked, found, more.pop("models", MODELS), **more)
    return {**made, **{key: [one["sentence"] for one in made[key]] for key in ("problems", "notes")}}


def checked(name: str, **more: t.Any) -> dict[str, t.Any]:
    """A result of vllm_server in check mode."""
    return {"item": {"name": name}, "actions": [], "changes": [], "container": {}, **more}


TWO = server(engine={"tensor_parallel_size": 2})


def test_a_new_server() -> None:
    found = plan([TWO], host(gpu(0), gpu(1)), [checked("big", actions=["create", "start"])])
    (row,) = found["servers"]
    assert found["problems"] == []
    assert found["notes"] == []
    assert row["verdict"] == "fits"
    assert row["estimated"]
    assert row["actions"] == ["create", "start"]
    assert row["bytes_to_fetch"] == WEIGHTS
    assert row["outage_seconds"] == 0, "nobody uses it yet"
    assert row["kv_bytes_per_token"] == 64 * 4 * 256 * 2
    assert 300_000 < row["kv_tokens"] < 350_000


def test_what_a_server_measured_counts_while_nothing_changes() -> None:
    measured = {
        "config_hash": "abc",
        "kv_cache_tokens": 222_000,
        "max_concurrency": 5.42,
        "max_model_len": 40960,
        "started_in_seconds": 95.0,
    }
    there = host(gpu(0), gpu(1), measured={"big": measured})
    container = {"config_hash": "abc", "status": "running"}
    row = plan([TWO], there, [checked("big", container=container)])["servers"][0]
    assert (row["kv_tokens"], row["max_concurrency"], row["estimated"]) == (222_000, 5.42, False)
    assert row["outage_seconds"] == 0
    change = {"option": "max_model_len", "before": 40960, "after": 8192}
    changed = server(engine={"tensor_parallel_size": 2, "max_model_len": 8192})
    row = plan([changed], there, [checked("big", container=container, actions=["recreate"], changes=[change])])[
        "servers"
    ][0]
    assert row["changes"] == [change]
    assert row["measured"] is None
    assert row["max_model_len"] == 8192
    assert row["outage_seconds"] == 95.0


def test_what_a_start_measured_corrects_the_estimate_of_the_next() -> None:
    plain = plan([TWO], host(gpu(0), gpu(1)))["servers"][0]
    measured = {"config_hash": "abc", "kv_cache_tokens": 200_000, "max_concurrency": 4.88, "max_model_len": 40960}
    there = host(gpu(0), gpu(1), measured={"big": measured})
    container = {"config_hash": "abc", "image": "vllm/vllm-openai:v0.32.0", "engine": {"tensor_parallel_size": 2}}
    shorter = server(engine={"tensor_parallel_size": 2, "max_model_len": 20480})
    row = plan([shorter], there, [checked("big", container=container, actions=["recreate"])])["servers"][0]
    assert plain["kv_tokens"] > 300_000
    assert abs(row["kv_tokens"] - 200_000) < 100, "it had less than estimated, and has as little with another length"
    other = {**container, "engine": {"tensor_parallel_size": 1}}
    row = plan([shorter], there, [checked("big", container=other, actions=["recreate"])])["servers"][0]
    assert row["kv_tokens"] > 300_000, "on another number of GPUs it tells nothing"


def test_one_that_cannot_fit_is_refused_with_what_fits() -> None:
    found = plan([server(gpus=[0])], host(gpu(0, total=76000), gpu(1, total=76000)))
    assert found["problems"] == [
        "vllm_server_instances[0]: big does not fit: one request of max_model_len 40960 needs 10.00 GiB of KV cache, "
        "and there are 6.54 GiB at most; what fits: engine.max_model_len: 18432; or engine.kv_cache_dtype: fp8; or "
        "engine.tensor_parallel_size: 2 with 2 GPUs"
    ]
    assert found["notes"] == []


def test_what_the_driver_keeps_for_itself_is_not_there_for_a_server() -> None:
    kept = gpu(0)
    kept["memory"] = {"total": 81559, "used": 400, "free": 80679}
    whole, part, untold = (
        plan([server(gpus=[0], engine={"max_model_len": 8192})], host(one))["servers"][0]["kv_tokens"]
        for one in (gpu(0), kept, {**kept, "memory": {"total": 81559, "used": None, "free": None}})
    )
    # 480 MiB less, of which 92 % would be the server's, at 256 KiB for a token.
    assert (whole - part) // 16 == 480 * 0.92 * 4 // 16
    assert untold == whole


def test_one_that_may_just_fit_is_noted() -> None:
    found = plan([server(gpus=[0])], host(gpu(0)))
    assert found["problems"] == []
    (note,) = found["notes"]
    assert note.startswith(
        "vllm_server_instances[0]: big: fits only if less memory than usual is needed beside weights and KV cache ("
    )
    assert "fits in any case" in note


WITH_STATES = {
    "model_type": "qwen3_5_text",
    "num_hidden_layers": 64,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "linear_num_value_heads": 48,
    "max_position_embeddings": 262144,
    "mtp_num_hidden_layers": 1,
}


def test_a_limit_that_is_no_memory_is_told_with_what_works() -> None:
    files = [{"path": "model.safetensors", "size": 31 * 10**9}, {"path": "tokenizer.json", "size": 1}]
    models = {"Qwen/Qwen3.6-27B": {"config": WITH_STATES, "files": files, "bytes_missing": 0}}
    wanted = server(model="Qwen/Qwen3.6-27B", gpus=[0], engine={"max_num_seqs": 4096})
    found = plan([wanted], host(gpu(0)), models=models)
    (problem,) = found["problems"]
    assert "max_num_seqs 4096 needs as many blocks for states" in problem
    change = found["servers"][0]["nearest"][0]["engine"]
    assert f"what fits: engine.max_num_seqs: {change['max_num_seqs']}" in problem
    again = plan([{**wanted, "engine": change}], host(gpu(0)), models=models)
    assert again["problems"] == []


def test_a_draft_is_known_where_its_model_is() -> None:
    speculative = {"method": "eagle3", "model": "some/draft", "num_speculative_tokens": 3}
    wanted = server(engine={"speculative_config": speculative})
    two = host(gpu(0), gpu(1))
    assert plan([wanted], two)["servers"][0]["verdict"] == "cannot_predict"
    draft = {
        "config": {**CONFIG, "num_hidden_layers": 1},
        "files": [{"path": "model.safetensors", "size": 10**9}],
        "bytes_missing": 0,
    }
    known = plan([wanted], two, models={**MODELS, "some/draft": draft})["servers"][0]
    assert known["verdict"] == "fits"
    assert known["kv_tokens"] < plan([server()], two)["servers"][0]["kv_tokens"]


def test_unified_memory_is_the_hosts_and_said_so() -> None:
    shared = {**gpu(0, name="NVIDIA GB10", total=122000, capability="12.1"), "unified": True}
    found = plan([server(gpus=[0])], host(shared))
    assert any("the memory of this GPU is the host's" in note for note in found["notes"])


def test_what_is_said_to_fit_does() -> None:
    four = host(*(gpu(index, total=76000) for index in range(4)))
    nearest = plan([server(gpus=[0])], four)["servers"][0]["nearest"]
    assert len(nearest) == 3
    for change in nearest:
        count = change["engine"].get("tensor_parallel_size", 1)
        again = plan([server(gpus=list(range(count)), engine=change["engine"])], four)
        assert again["problems"] == []
        assert again["servers"][0]["kv_tokens"] == change["kv_tokens"]


def test_a_model_that_is_not_known_is_no_problem() -> None:
    found = plan([TWO], host(gpu(0), gpu(1)), models={})
    assert found["problems"] == []
    assert found["servers"][0]["verdict"] == "cannot_predict"
    assert found["notes"] == [
        "vllm_server_instances[0]: big: what it will hold cannot be predicted, because the model's config.json is not "
        "known before the model is downloaded"
    ]


def test_a_model_on_the_host_is_read_there() -> None:
    there = host(gpu(0), gpu(1), models={"/data/qwen": {"config": CONFIG, "weight_bytes": WEIGHTS}})
    row = plan([{**TWO, "model": "/data/qwen"}], there, models={})["servers"][0]
    assert row["verdict"] == "fits"
    assert row["bytes_to_fetch"] == 0


def test_one_gpu_by_two_names() -> None:
    found = plan([server("one", gpus=[0], port=1), server("two", gpus=["GPU-0"], port=2)], host(gpu(0), gpu(1)))
    assert (
        "vllm_server_instances[1].gpus: GPU 0 is shared by one (0.92) and two (0.92), together 1.84 of its memory; "
        "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
    ) in found["problems"]


def test_a_mig_device_has_the_memory_of_its_own() -> None:
    divided = gpu(0)
    part = {"uuid": "MIG-a", "profile": "3g.40gb", "memory": {"total": 40000, "used": 0, "free": 40000}}
    divided["mig"] = {"mode": "enabled", "devices": [part]}
    found = plan([server(gpus=["MIG-0000"])], host(divided))
    assert "there is no GPU with UUID MIG-0000" in found["problems"][0]
    part["uuid"] = "MIG-0000"
    found = plan([server(gpus=["MIG-0000"])], host(divided))
    assert "weights 61.03 GiB and at least 0.48 GiB besides leave no memory" in found["problems"][0]


def test_a_count_takes_what_the_others_leave() -> None:
    servers = [server("any", gpus=1, port=1), server("first", gpus=[0], port=2), server("too many", gpus=1, port=3)]
    found = plan(servers, host(gpu(0), gpu(1)), models={})
    (problem,) = found["problems"]
    assert problem.startswith("vllm_server_instances[2].gpus: 1 GPUs are wanted and 0 can be given (2 taken by others)")


def test_a_stranger_on_the_gpu_is_named() -> None:
    process = {"pid": 4242, "name": "python3", "gpu_uuid": "GPU-0", "used_memory": 30000, "container": None}
    found = plan([TWO], host(gpu(0), gpu(1), processes=[process]))
    (problem,) = found["problems"]
    assert problem.startswith(
        "vllm_server_instances[0].gpus: GPU 0 is in use by python3 (pid 4242, 30000 MiB), and big is to take 92% of its"
    )
    contained = [{**process, "container": "c0ffee"}]
    other = host(gpu(0), gpu(1), processes=contained, containers=[{"id": "c0ffee", "name": "trainer", "server": None}])
    assert "(pid 4242 in container trainer, 30000 MiB)" in plan([TWO], other)["problems"][0]


@pytest.mark.parametrize(
    ("process", "containers"),
    [
        ({"used_memory": 300, "container": None}, []),
        ({"used_memory": 70000, "container": "c0ffee"}, [{"id": "c0ffee", "name": "big", "server": "big"}]),
        ({"used_memory": 70000, "container": None, "gpu_uuid": "GPU-2"}, []),
    ],
)
def test_what_is_small_ours_or_elsewhere_is_no_stranger(process: dict[str, t.Any], containers: list[t.Any]) -> None:
    processes = [{"pid": 1, "name": "Xorg", "gpu_uuid": "GPU-0", **process}]
    assert plan([TWO], host(gpu(0), gpu(1), gpu(2), processes=processes, containers=containers))["problems"] == []


@pytest.mark.parametrize(
    ("change", "config", "capability", "problem"),
    [
        (
            {"engine": {"dtype": "bfloat16"}},
            {},
            "7.5",
            "engine.dtype: bfloat16 needs compute capability 8.0, and T has",
        ),
        (
            {},
            {"quantization_config": {"quant_method": "mxfp4"}},
            "7.5",
            "model: quantization mxfp4 needs compute capability 8.0",
        ),
        ({"engine": {"quantization": "fp8"}}, {}, "7.0", "model: quantization fp8 needs compute capability 7.5"),
        ({}, {}, "7.0", "image: vllm/vllm-openai:v0.32.0 is built for CUDA 13, which needs compute capability 7.5"),
        ({}, {"model_type": "gemma2"}, "7.5", "engine.dtype: gemma2 does not run in float16"),
    ],
)
def test_a_gpu_that_is_too_old(
    change: dict[str, t.Any], config: dict[str, t.Any], capability: str, problem: str
) -> None:
    models = {"Qwen/Qwen3-32B": {"config": {**CONFIG, **config}, "files": []}}
    found = plan([server(gpus=[0], **change)], host(gpu(0, "T", 81559, capability)), models=models)
    assert any(one.startswith(f"vllm_server_instances[0].{problem}") for one in found["problems"]), found["problems"]


def test_a_driver_that_is_too_old() -> None:
    old = host(gpu(0), gpu(1), driver_version="570.124.06")
    assert plan([TWO], old)["problems"] == [
        "vllm_server_instances[0].image: vllm/vllm-openai:v0.32.0 needs driver 580 or newer for CUDA 13, and the "
        "host has 570.124.06; install a newer one, or use the tag that ends in -cu129"
    ]
    assert plan([{**TWO, "image": "vllm/vllm-openai:v0.32.0-cu129"}], old)["problems"] == []
    assert plan([{**TWO, "image": "vllm/vllm-openai:latest"}], old)["problems"] == []


def test_gpus_without_nvlink_between_them_and_gpus_that_idle_are_noted() -> None:
    topology = [
        {"index": 0, "gpus": {"1": "NV18", "2": "SYS"}},
        {"index": 1, "gpus": {"0": "NV18", "2": "SYS"}},
        {"index": 2, "gpus": {"0": "SYS", "1": "SYS"}},
    ]
    three = host(gpu(0), gpu(1), gpu(2), topology=topology)
    found = plan([server(gpus=[0, 2], engine={"tensor_parallel_size": 2})], three)
    assert found["problems"] == []
    assert found["notes"] == [
        "vllm_server_instances[0].gpus: GPUs 0 and 2 are not linked by NVLink, which slows tensor_parallel_size 2 "
        "down; GPUs 0, 1 are"
    ]
    assert plan([TWO], three)["notes"] == []
    idle = plan([server(gpus=[0, 1, 2], engine={"tensor_parallel_size": 2})], host(gpu(0), gpu(1), gpu(2)))
    assert "gives 3 GPUs, and big uses 2" in idle["notes"][0]


def test_disks_must_hold_all_that_is_missing_together() -> None:
    there = host(
        gpu(0),
        gpu(1),
        images={"vllm/vllm-openai:v0.32.0": False},
        image_folder={"path": "/var/lib/docker", "free": 70 * 10**9, "device": 1},
        folders={"/srv/models": {"free": 70 * 10**9, "device": 1}},
    )
    (problem,) = plan([TWO], there)["problems"]
    assert problem.startswith(
        "/var/lib/docker has 70.0 GB free, and 85.5 GB are needed for image vllm/vllm-openai:v0.32.0, "
        "model Qwen/Qwen3-32B"
    )
    assert plan([TWO], {**there, "folders": {"/srv/models": {"free": 70 * 10**9, "device": 2}}})["problems"] == []
    assert plan([TWO], there, archive="/srv/vllm.tar")["problems"] == []


def test_on_a_cpu_the_cache_is_exact() -> None:
    on_cpu = server(
        gpus=[], image="vllm/vllm-openai-cpu:v0.32.0", env={"VLLM_CPU_KVCACHE_SPACE": 4}, engine={"max_model_len": 8192}
    )
    row = plan([on_cpu], {**host(), "gpu": None})["servers"][0]
    assert (row["verdict"], row["kv_tokens"], row["estimated"]) == ("fits", 16384, False)
    untold = plan([{**on_cpu, "env": {}}], {**host(), "gpu": None})["servers"][0]
    assert untold["verdict"] == "cannot_predict"


# --- the fleet ---


def told(name: str, found: t.Mapping[str, t.Any], servers: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    return {
        "ansible_host": f"10.0.0.{len(name)}",
        "vllm_server_plan": host_plan(normal_instances(servers), [], found, MODELS),
    }


def test_the_fleet_offers_another_host() -> None:
    small, large = host(gpu(0, "NVIDIA L40S", 46068, "8.9")), host(gpu(0), gpu(1))
    hostvars = {"gpu-2": told("gpu-2", small, [server(gpus=[0])]), "gpu-10": told("gpu-10", large, [])}
    problems = [{**problem, "host": "gpu-2"} for problem in hostvars["gpu-2"]["vllm_server_plan"]["problems"]]
    found = fleet_plan(["gpu-2", "gpu-10"], hostvars, ["gpu-10: port 1 is taken", *problems])
    assert found["problems"][0].startswith("gpu-2: vllm_server_instances[0]: big does not fit")
    assert found["problems"][0].endswith("; what fits: host gpu-10 with 1 x NVIDIA H100 80GB HBM3")
    assert found["problems"][1] == "gpu-10: port 1 is taken"


def test_one_machine_by_two_names() -> None:
    hostvars = {name: {"ansible_host": "10.0.0.1"} for name in ("a", "b")}
    (problem,) = fleet_plan(["a", "b"], hostvars)["problems"]
    assert problem.startswith("b: ansible_host 10.0.0.1 is also that of a")


def test_the_table() -> None:
    found = host(gpu(0), gpu(1))
    hostvars = {"gpu-01": told("gpu-01", found, [TWO])}
    looked = [checked("big", actions=["create", "start"])]
    hostvars["gpu-01"]["vllm_server_plan"] = host_plan(normal_instances([TWO]), looked, found, MODELS)
    lines = fleet_plan(["gpu-01"], hostvars)["lines"]
    assert lines[0].split() == [
        "host",
        "server",
        "does",
        "because",
        "of",
        "fetches",
        "KV",
        "tokens",
        "at",
        "once",
        "context",
        "down",
        "for",
    ]
    cells = [cell for cell in lines[1].split("  ") if cell]
    assert [cell.strip() for cell in cells[:2]] == ["gpu-01", "big"]
    assert "create, start" in lines[1]
    assert "65.5 GB" in lines[1]
    assert "about " in lines[1]
    assert "40,960" in lines[1]


def test_a_fleet_that_told_nothing() -> None:
    assert fleet_plan(["gpu-01"], {"gpu-01": {}})["lines"] == []


def test_each_kind_of_server_is_judged_once_on_each_kind_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fit = _verdict.fit
    monkeypatch.setattr(_plan_fit, "_ANSWERS", {})
    monkeypatch.setattr(_verdict, "fit", lambda request: asked.append(request) or fit(request))
    kinds = [host(gpu(0, "NVIDIA L40S", 46068, "8.9")), host(gpu(0, "NVIDIA L4", 23034, "8.9")), host(gpu(0), gpu(1))]
    hostvars = {}
    problems = []
    for number in range(60):
        name = f"gpu-{number:02}"
        servers = [server(name=f"s{one}", port=1000 + one, gpus=[0]) for one in range(number % 3 < 2)]
        hostvars[name] = {"vllm_server_plan": host_plan(normal_instances(servers), [], kinds[number % 3], MODELS)}
        problems += [{**problem, "host": name} for problem in hostvars[name]["vllm_server_plan"]["problems"]]
    found = fleet_plan(list(hostvars), hostvars, problems)["problems"]
    assert len(found) == 40
    assert all(
        "; what fits: hosts gpu-02, gpu-05, gpu-08 and 17 more with 1 x NVIDIA H100 80GB HBM3" in one for one in found
    )
    assert len(asked) < 20, "as many as there are kinds, not hosts"


def test_gpus_that_are_linked_are_found_among_many() -> None:
    many = [gpu(index) for index in range(64)]
    linked = {str(index): "NV4" for index in range(60, 64)}
    topology = [{"index": index, "gpus": linked if index >= 60 else {}} for index in range(64)]
    found = plan([server(gpus=[0, 1, 2, 3], engine={"tensor_parallel_size": 4})], host(*many, topology=topology))
    assert [note for note in found["notes"] if note.endswith("GPUs 60, 61, 62, 63 are")]


def test_an_odd_value_of_one_host_is_a_note_with_its_name() -> None:
    found = host(gpu(0), gpu(1))
    found["measured"] = {"big": {"kv_cache_tokens": "many"}}
    hostvars = {
        "gpu-01": {"vllm_server_plan": host_plan(normal_instances([TWO]), [7], found, MODELS)},
        "gpu-02": {"vllm_server_plan": {"servers": ["odd"]}, "ansible_port": {}},
        "gpu-03": {"vllm_server_plan": "odd"},
    }
    made = fleet_plan(list(hostvars), hostvars)
    assert [row["host"] for row in made["servers"]] == ["gpu-01"]
    assert made["notes"] == [
        "gpu-01: vllm_host_info.measured.big.kv_cache_tokens: is a string, not a whole number",
        "gpu-01: vllm_server[0]: is a number, not a mapping; it is left out",
        "gpu-02: vllm_server_plan.servers[0]: is a string, not a mapping; it is left out",
        "gpu-03: vllm_server_plan: is a string, not a mapping",
    ]


def tried(name: str, verdict: str, why: str = "", tokens: int | None = None) -> dict[str, t.Any]:
    """A result of vllm_dry_fit."""
    return {"name": name, "verdict": verdict, "why": why, "kv_cache_tokens": tokens, "max_concurrency": 2.5}


def test_what_a_start_with_made_up_weights_measured_takes_the_place_of_the_estimate() -> None:
    made = plan([server()], host(gpu(0), gpu(1)), tried=[tried("big", "starts", tokens=123456)])
    row = made["servers"][0]
    assert (row["dry_fit"], row["verdict"], row["kv_tokens"], row["estimated"]) == ("starts", "fits", 123456, False)
    assert row["max_concurrency"] == 2.5
    assert "123,456 (tried)" in "\n".join(fleet_plan(["gpu-01"], {"gpu-01": {"vllm_server_plan": made}})["lines"])


def test_a_model_without_a_kv_cache_that_starts_with_made_up_weights_is_marked() -> None:
    made = plan([server()], host(gpu(0), gpu(1)), tried=[tried("big", "starts")])
    assert (made["servers"][0]["verdict"], made["servers"][0]["kv_tokens"]) == ("fits", None)
    assert "starts (tried)" in "\n".join(fleet_plan(["gpu-01"], {"gpu-01": {"vllm_server_plan": made}})["lines"])


def test_a_start_with_made_up_weights_that_fails_is_a_problem() -> None:
    made = plan([server()], host(gpu(0), gpu(1)), tried=[tried("big", "does_not_start", "the context is too long")])
    assert made["servers"][0]["kv_tokens"] is None
    assert [text for text in made["problems"] if "big does not start with made-up weights: the context" in text]
    lines = fleet_plan(["gpu-01"], {"gpu-01": {"vllm_server_plan": made}})["lines"]
    assert "does not start (tried)" in "\n".join(lines)


def test_what_could_not_be_tried_is_a_note() -> None:
    made = plan([server()], host(gpu(0), gpu(1)), tried=[tried("big", "unclear", "the image is not on this host yet")])
    assert made["problems"] == plan([server()], host(gpu(0), gpu(1)))["problems"]
    assert [text for text in made["notes"] if "was not tried with made-up weights: the image is not" in text]


def test_the_plan_says_who_gets_which_image_from_whom() -> None:
    result = {"digest": "d" * 64, "bytes_missing": 8_000_000_000, "bytes_total": 8_000_000_000, "source": "registry"}
    looked = [{**result, "files": [], "item": {"repo": "vllm/vllm-openai:v0.32.0"}}]
    hostvars = {name: {"container_image_offer": offer_of(looked, f"http://{name}:8790", "")} for name in "abc"}
    found = fleet_plan(["a", "b", "c"], hostvars)
    assert found["lines"] == [
        "vllm/vllm-openai:v0.32.0: a fetches it, b, c from there in a chain; 8.0 GB cross the line",
    ]
    assert [(one["lack"], one["bytes_from_hub"]) for one in found["images"]] == [(["a", "b", "c"], 8_000_000_000)]
    assert found["models"] == []
    assert fleet_plan(["a"], hostvars)["images"] == []
