# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _labels, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._spec import Change, ServerSpec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import normal_instances

FIXTURES = pathlib.Path(__file__).parents[4] / "fixtures" / "vllm"
RECORDED = json.loads((FIXTURES / "container_0.32.0.json").read_text())
RELEASE = "/srv/models/tiny/qwen3/0123456789abcdef"
GIB = 1024**3
MIB = 1024**2


def declared(**changes: t.Any) -> dict[str, t.Any]:
    """The declaration that the recorded container was made from."""
    given: dict[str, t.Any] = {
        "name": "alpha",
        "model": RELEASE,
        "image": "vllm/vllm-openai-cpu:v0.32.0",
        "port": 18005,
        "bind": "127.0.0.1",
        "env": {"VLLM_CPU_KVCACHE_SPACE": 1},
        "engine": {"max_model_len": 512, "enforce_eager": True},
        **changes,
    }
    return normal_instances([given])[0]


def spec(options: dict[str, t.Any] | None = None, **changes: t.Any) -> ServerSpec:
    given: dict[str, t.Any] = {
        "model": RELEASE,
        "gpus": [],
        "keys": "config",
        "secrets_directory": "/etc/private_llm/vllm_server/alpha",
        "cache_directory": "/var/cache/private_llm/vllm/alpha",
        **changes,
    }
    return _spec.desired_spec(options or declared(), **given)


def inspected(wanted: t.Mapping[str, t.Any], name: str = "alpha") -> dict[str, t.Any]:
    """What an engine would say of a container made from this body."""
    body = copy.deepcopy(dict(wanted))
    host = body.pop("HostConfig")
    return {
        "Name": "/" + name,
        "Config": body,
        "HostConfig": host,
        "NetworkSettings": {"Networks": {host["NetworkMode"]: {}}},
    }


def test_a_real_container_equals_its_declaration() -> None:
    assert _spec.spec_of(RECORDED) == spec()
    assert _labels.is_managed(RECORDED)
    assert _spec.differences(_spec.spec_of(RECORDED), spec()) == []
    assert RECORDED["Config"]["Labels"]["private_llm.fleet.name"] == "alpha"


VARIANTS = [
    spec(),
    spec(keys="none"),
    spec(keys="environment"),
    spec(nofile=65535),
    spec(gpus=["GPU-1", "GPU-2"]),
    spec(gpus=["nvidia.com/gpu=GPU-1"], gpu_driver="cdi"),
    spec(declared(ipc="host")),
    spec(declared(shm_size="16g", restart_policy="no", volumes=["/a:/b", "/c:/d:ro"])),
    spec(declared(bind="::1", served_model_names=["one", "two"])),
    spec(
        declared(
            engine={
                "shutdown_timeout": 120,
                "enable_prefix_caching": False,
                "max_model_len": -1,
                "middleware": ["a.B", "c.D"],
                "cudagraph_capture_sizes": [1, 2],
                "speculative_config": {"method": "ngram"},
                "allowed_origins": [],
            }
        )
    ),
    spec({**declared(restart_policy="no"), "member": {"rank": 0, "nodes": ["a", "b"]}}),
    spec({**declared(restart_policy="no"), "member": {"rank": 0, "nodes": ["a", "b"], "rdma": True}}),
    spec({**declared(api_keys=[], engine={"headless": True}), "member": {"rank": 1, "nodes": ["a", "b"]}}, keys="none"),
]


@pytest.mark.parametrize("wanted", VARIANTS)
def test_what_is_created_reads_back_as_what_was_wanted(wanted: ServerSpec) -> None:
    assert _spec.spec_of(inspected(_spec.create_body(wanted))) == wanted


def test_a_member_of_a_group_is_in_the_network_of_its_host() -> None:
    body = _spec.create_body(VARIANTS[-2])
    assert body["HostConfig"]["NetworkMode"] == "host"
    assert "PortBindings" not in body["HostConfig"]
    assert body["Labels"]["private_llm.fleet.member"] == "0:a,b"
    assert body["Cmd"][body["Cmd"].index("--port") + 1] == "18005", "its own port, where nothing is published"
    assert (VARIANTS[-2].inner_port, spec().inner_port) == (18005, 8000)


def test_a_worker_serves_no_api() -> None:
    body = _spec.create_body(VARIANTS[-1])
    assert "--headless" in body["Cmd"]
    assert not {"--host", "--port"}.intersection(body["Cmd"])
    assert VARIANTS[-1].headless
    assert VARIANTS[-1].port == 0


def test_a_member_with_rdma_has_the_devices_and_may_lock_memory() -> None:
    member = {"rank": 0, "nodes": ["a", "b"]}
    plain, fast = (
        spec({**declared(restart_policy="no"), "member": {**member, "rdma": rdma}}) for rdma in (False, True)
    )
    host = _spec.create_body(fast)["HostConfig"]
    assert [one["PathOnHost"] for one in host["Devices"]] == ["/dev/infiniband"]
    assert {"Name": "memlock", "Soft": -1, "Hard": -1} in host["Ulimits"]
    assert "IPC_LOCK" in host["CapAdd"]
    assert "Devices" not in _spec.create_body(plain)["HostConfig"]
    assert {change.option for change in _spec.differences(plain, fast)} == {"rdma", "capabilities"}
    assert _spec.config_hash(plain) != _spec.config_hash(fast)


def test_the_fingerprint_of_other_servers_is_as_it_was_before_there_were_members() -> None:
    assert _spec.config_hash(spec()) == _spec.config_hash(dataclasses.replace(spec(), member=""))
    assert _spec.config_hash(VARIANTS[-2]) != _spec.config_hash(dataclasses.replace(VARIANTS[-2], member="1:a,b"))


def test_a_server_on_cpu_gets_no_gpu_by_accident() -> None:
    assert spec().env["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in spec(gpus=["GPU-1"]).env


def test_the_body() -> None:
    body = _spec.create_body(spec(gpus=["GPU-1"], nofile=65535))
    assert body["Entrypoint"] == ["vllm", "serve"]
    assert body["Cmd"] == [
        RELEASE,
        "--config",
        "/run/private_llm/config.yaml",
        "--host",
        "0.0.0.0",
        "--port",
        "8000",
        "--served-model-name",
        "alpha",
        "--enforce-eager",
        "--max-model-len",
        "512",
    ]
    assert body["StopTimeout"] == 15
    assert body["HostConfig"] == {
        "Binds": [
            "/etc/private_llm/vllm_server/alpha:/run/private_llm:ro",
            f"{RELEASE}:{RELEASE}:ro",
            "/var/cache/private_llm/vllm/alpha:/var/cache/vllm:rw",
        ],
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18005"}]},
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
        "IpcMode": "private",
        "Init": True,
        "NetworkMode": "bridge",
        "CapAdd": ["DAC_OVERRIDE"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 32768,
        "ShmSize": 400 * MIB + GIB,
        "Ulimits": [{"Name": "nofile", "Soft": 65535, "Hard": 65535}],
        "DeviceRequests": [
            {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]], "Options": {}}
        ],
    }
    assert body["Labels"]["private_llm.fleet.managed-by"] == "private_llm.fleet"
    assert "HF_HUB_OFFLINE=1" in body["Env"]


def test_a_key_for_an_old_release_is_exported_by_a_shell() -> None:
    body = _spec.create_body(spec(keys="environment"))
    assert body["Entrypoint"][:2] == ["/bin/sh", "-c"]
    assert "--config" not in body["Cmd"]
    assert _spec.create_body(spec(keys="none"))["HostConfig"]["Binds"] == [
        f"{RELEASE}:{RELEASE}:ro",
        "/var/cache/private_llm/vllm/alpha:/var/cache/vllm:rw",
    ]


@pytest.mark.parametrize(
    ("stated", "engine", "gpus", "size"),
    [
        ("", {}, 0, 400 * MIB + GIB),
        ("", {}, 8, (160 + 8 * 240) * MIB + GIB),
        ("", {"kv_offloading_size": 4.5}, 1, 400 * MIB + GIB + int(4.5 * GIB)),
        ("16g", {"kv_offloading_size": 64}, 8, 16 * GIB),
        ("512MiB", {}, 1, 512 * MIB),
        (1048576, {}, 1, MIB),
        ("1.5 GB", {}, 1, 3 * GIB // 2),
        (0, {}, 0, 400 * MIB + GIB),
        ("0", {}, 0, 400 * MIB + GIB),
        ("0.5b", {}, 0, 400 * MIB + GIB),
    ],
)
def test_shared_memory(stated: str | int, engine: dict[str, t.Any], gpus: int, size: int) -> None:
    assert _spec.shared_memory(stated, engine, gpus) == size


@pytest.mark.parametrize(
    ("engine", "gpus", "size"),
    [
        ({}, 1, None),
        ({}, 4, 4),
        ({"pipeline_parallel_size": 2}, 4, None),
        ({"tensor_parallel_size": 2}, 4, 2),
        ({"tensor_parallel_size": None}, 4, 4),
    ],
)
def test_several_gpus_are_all_used(engine: dict[str, t.Any], gpus: int, size: int | None) -> None:
    assert _spec.with_parallel_size(engine, gpus).get("tensor_parallel_size") == size


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: _spec.parse_size("big"), "'big' is not a size such as 16g"),
        (
            lambda: _spec.shutdown_timeout({"shutdown_timeout": "soon"}),
            "engine.shutdown_timeout must be a number of seconds",
        ),
        (
            lambda: _spec.shared_memory("", {"kv_offloading_size": "x"}, 1),
            "engine.kv_offloading_size must be a number of GiB",
        ),
    ],
)
def test_values_that_mean_nothing(function: t.Callable[[], t.Any], message: str) -> None:
    with pytest.raises(_spec.SpecError) as error:
        function()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (spec(declared(engine={"max_model_len": 1024, "enforce_eager": True})), [Change("max_model_len", 512, 1024)]),
        (
            spec(declared(engine={"max_model_len": 512, "enable_prefix_caching": False})),
            [Change("enable_prefix_caching", None, False), Change("enforce_eager", True, None)],
        ),
        (
            spec(
                declared(
                    engine={"max_model_len": 512, "enforce_eager": True, "speculative_config": {"method": "ngram"}}
                )
            ),
            [Change("speculative_config", None, {"method": "ngram"})],
        ),
        (spec(declared(restart_policy="always")), [Change("restart_policy", "unless-stopped", "always")]),
        (spec(declared(port=18006)), [Change("port", 18005, 18006)]),
        (
            spec(declared(image="vllm/vllm-openai-cpu:v0.33.0")),
            [Change("image", "vllm/vllm-openai-cpu:v0.32.0", "vllm/vllm-openai-cpu:v0.33.0")],
        ),
        (
            spec(declared(env={"VLLM_CPU_KVCACHE_SPACE": 2, "SOME_TOKEN": "canary"})),
            [
                Change("env.SOME_TOKEN", None, "(hidden)"),
                Change("env.VLLM_CPU_KVCACHE_SPACE", "1", "2"),
            ],
        ),
        (spec(declared(served_model_names=["a", "b"])), [Change("served_model_names", ["alpha"], ["a", "b"])]),
    ],
)
def test_changes_are_named_in_vllms_terms(after: ServerSpec, changes: list[Change]) -> None:
    assert _spec.differences(spec(), after) == changes


def test_another_release_of_the_model_is_a_change() -> None:
    options = [change.option for change in _spec.differences(spec(), spec(model="/srv/models/tiny/qwen3/fedc"))]
    assert options == ["model", "volumes"]


def test_gpus_are_compared_by_what_they_are_and_not_by_how_they_are_named() -> None:
    before = spec(gpus=["GPU-1"])
    after = spec(gpus=["nvidia.com/gpu=0"], gpu_driver="cdi")
    uuids = {"nvidia.com/gpu=0": "GPU-1"}
    assert _spec.differences(before, after, lambda device: uuids.get(device, device)) == []
    moved = _spec.differences(before, spec(gpus=["GPU-2"]))
    assert moved == [Change("gpus", ["GPU-1"], ["GPU-2"])]


def test_what_the_image_sets_is_no_part_of_the_server() -> None:
    image_env = {"PATH": "/usr/bin", "HF_HUB_OFFLINE": "1"}
    container = copy.deepcopy(RECORDED)
    container["Config"]["Env"].append("PATH=/usr/bin")
    assert _spec.spec_of(container, image_env) == spec(image_env=image_env)
    assert "env.PATH" in [change.option for change in _spec.differences(_spec.spec_of(container), spec())]


def test_what_vllm_compiles_goes_into_the_folder_that_the_server_has_for_itself() -> None:
    for name in ("TRITON_CACHE_DIR", "VLLM_CACHE_ROOT", "FLASHINFER_WORKSPACE_BASE"):
        assert spec().env[name].startswith(_spec.CACHE_MOUNT + "/")


def test_a_container_cut_off_from_its_network_differs() -> None:
    container = copy.deepcopy(RECORDED)
    container["NetworkSettings"]["Networks"] = {}
    assert _spec.differences(_spec.spec_of(container), spec()) == [Change("network", "", "bridge")]


def test_the_hash_follows_the_configuration() -> None:
    assert _spec.config_hash(spec()) == _spec.config_hash(spec())
    assert _spec.config_hash(spec()) != _spec.config_hash(spec(declared(port=18006)))
    assert RECORDED["Config"]["Labels"]["private_llm.fleet.kind"] == "vllm_server"


@pytest.mark.parametrize(
    ("labels", "managed"),
    [
        (None, False),
        ({}, False),
        ({"private_llm.fleet.managed-by": "private_llm.fleet"}, False),
        ({"private_llm.fleet.managed-by": "private_llm.fleet", "private_llm.fleet.kind": "vllm_server"}, True),
    ],
)
def test_whose_container_it_is(labels: dict[str, str] | None, managed: bool) -> None:
    assert _labels.is_managed({"Config": {"Labels": labels}}) is managed


def test_a_diff_shows_typed_values_and_no_secret() -> None:
    shown = _spec.as_options(dataclasses.replace(spec(), env={"MY_PASSWORD": "canary", "A": "1"}))
    assert shown["engine"] == {"enforce_eager": True, "max_model_len": 512}
    assert shown["env"] == {"A": "1", "MY_PASSWORD": "(hidden)"}
    assert json.dumps(shown)
    given = _spec.declared({"name": "alpha", "api_keys": ["canary"], "env": {"A_TOKEN": "canary"}, "wait": True})
    assert given == {"name": "alpha", "env": {"A_TOKEN": "(hidden)"}}


@pytest.mark.parametrize(
    ("engine", "release", "seconds", "given", "stop"),
    [
        ({}, (0, 32, 0), 60, 60, 75),
        ({}, (0, 17, 1), 60, None, 15),
        ({}, None, 60, None, 15),
        ({}, (0, 32, 0), 0, None, 15),
        ({"shutdown_timeout": 300}, (0, 32, 0), 60, 300, 315),
        ({"shutdown_timeout": 0}, (0, 32, 0), 60, 0, 15),
    ],
)
def test_requests_get_time_to_finish(
    engine: dict[str, t.Any], release: t.Any, seconds: int, given: int | None, stop: int
) -> None:
    wanted = spec({**declared(engine=engine), "drain_timeout": seconds}, release=release)
    assert wanted.engine.get("shutdown_timeout") == (None if given is None else str(given))
    assert wanted.stop_timeout == stop


def test_where_kernels_are_kept_is_no_change() -> None:
    before, after = spec(), spec(cache_directory="/var/cache/private_llm/vllm/v0.32.0-0123456789ab/cpu")
    assert before != after
    assert _spec.differences(before, after) == []
    assert _spec.config_hash(before) == _spec.config_hash(after)
    assert _spec.as_options(before) == _spec.as_options(after)
    moved = spec(declared(volumes=["/a:/b"]), cache_directory="/elsewhere")
    changes = _spec.differences(before, moved)
    assert [change.option for change in changes] == ["volumes"]
    assert "/a:/b:rw" in changes[0].after


def test_a_large_model_gets_more_time_from_vllm() -> None:
    assert spec(weight_bytes=140 * 10**9, release=(0, 32, 0)).env["VLLM_ENGINE_READY_TIMEOUT_S"] == "3600"
    own = declared(env={"VLLM_ENGINE_READY_TIMEOUT_S": 9000})
    assert spec(own, weight_bytes=140 * 10**9, release=(0, 32, 0)).env["VLLM_ENGINE_READY_TIMEOUT_S"] == "9000"


def test_an_upgraded_container_without_hardening_is_made_anew_and_says_why() -> None:
    container = copy.deepcopy(RECORDED)
    container["HostConfig"].update(CapAdd=["CAP_SYS_NICE"], CapDrop=None, SecurityOpt=None, PidsLimit=None)
    changed = {change.option for change in _spec.differences(_spec.spec_of(container), spec())}
    assert changed == {"capabilities", "cap_drop", "security", "pids_limit"}


@pytest.mark.parametrize("written", ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"])
def test_an_option_of_security_is_the_same_however_it_is_written(written: str) -> None:
    container = copy.deepcopy(RECORDED)
    container["HostConfig"].update(SecurityOpt=[written], CapAdd=["CAP_SYS_NICE", "CAP_DAC_OVERRIDE"])
    assert _spec.differences(_spec.spec_of(container), spec()) == []


def test_an_engine_that_cannot_limit_processes_is_not_asked_to() -> None:
    assert "PidsLimit" not in _spec.create_body(spec(pids_limit=0))["HostConfig"]


IMAGE = {"Config": {"WorkingDir": "/vllm-workspace", "User": "", "Healthcheck": None}}


def test_a_container_as_it_was_made_has_not_drifted() -> None:
    assert _spec.drift(RECORDED, "alpha", IMAGE) == []
    assert _spec.drift(RECORDED, "alpha", None) == []
    podman = copy.deepcopy(RECORDED)
    podman["HostConfig"].update(PidMode="private", UTSMode="private", Devices=[], Tmpfs={})
    assert _spec.drift(podman, "alpha", IMAGE) == []


@pytest.mark.parametrize(
    ("part", "changed", "option"),
    [
        ("HostConfig", {"Memory": 2 * GIB, "MemorySwap": 4 * GIB}, "memory"),
        ("HostConfig", {"NanoCpus": 10**9}, "cpus"),
        ("HostConfig", {"CpusetCpus": "0-3"}, "cpuset_cpus"),
        ("HostConfig", {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 3}}, "restart_policy"),
        ("HostConfig", {"Privileged": True}, "privileged"),
        ("HostConfig", {"PidMode": "host"}, "pid_mode"),
        ("HostConfig", {"Devices": [{"PathOnHost": "/dev/kmsg"}]}, "devices"),
        ("HostConfig", {"Mounts": [{"Source": "/", "Target": "/host"}]}, "mounts"),
        ("HostConfig", {"PortBindings": {"8000/tcp": [{}, {}]}}, "published_ports"),
        ("HostConfig", {"PortBindings": {"8000/tcp": [{}], "22/tcp": [{}]}}, "published_ports"),
        ("HostConfig", {"DeviceRequests": [{"DeviceIDs": ["0"]}, {"DeviceIDs": ["1"]}]}, "gpus"),
        ("Config", {"User": "1000"}, "user"),
        ("Config", {"Healthcheck": {"Test": ["NONE"]}}, "healthcheck"),
        ("Config", {"Labels": {"private_llm.fleet.name": "beta"}}, "labels"),
        ("NetworkSettings", {"Networks": {"bridge": {}, "other": {}}}, "networks"),
    ],
)
def test_what_was_changed_by_hand_is_seen(part: str, changed: dict[str, t.Any], option: str) -> None:
    container = copy.deepcopy(RECORDED)
    container[part].update(changed)
    assert option in [change.option for change in _spec.drift(container, "alpha", IMAGE)]


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"PidsLimit": 10}, "pids_limit"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "security"),
        ({"Init": None}, "init"),
    ],
)
def test_a_protection_that_was_taken_away_is_seen(changed: dict[str, t.Any], option: str) -> None:
    container = copy.deepcopy(RECORDED)
    container["HostConfig"].update(changed)
    assert [change.option for change in _spec.differences(_spec.spec_of(container), spec())] == [option]


def test_a_container_carries_a_hash_of_its_keys_and_not_the_keys() -> None:
    body = _spec.create_body(spec(), "salt:hash")
    assert body["Labels"][_labels.LABEL_KEYS] == "salt:hash"
    assert _labels.LABEL_KEYS not in _spec.create_body(spec())["Labels"]
