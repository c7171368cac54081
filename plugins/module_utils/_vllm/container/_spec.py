# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What container a server wants to be, what container it is, and the difference between the two in vLLM's terms.

``ServerSpec`` is the one normal form. ``desired_spec`` makes it from a declaration, ``create_body`` turns it into what
the Docker Engine takes, and ``spec_of`` reads it back from what the engine says, so that a container made from a
declaration always compares equal to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

from ..._engine._life import Change
from ..._secret_env import shown as shown_env
from ..options._argv import ENTRYPOINT, REPEATED, serve_arguments
from ..options._options import in_form_of
from ..options._release import Release
from . import _keys
from ._devices import device_request
from ._labels import (
    KIND,
    LABEL_CONFIG,
    LABEL_KEYS,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_MEMBER,
    LABEL_NAME,
    MANAGED_BY,
)
from ._timeouts import ready_timeout_env

# From here on `vllm serve` waits for running requests by itself when it is told to stop (--shutdown-timeout).
DRAINING = (0, 18)

CONTAINER_PORT = 8000
# The parts of one server speak to each other at ports that they choose, so they have no network of their own.
HOST_NETWORK = "host"
CACHE_MOUNT = "/var/cache/vllm"
# The host's RDMA devices, as a whole: NCCL opens a device for each adapter, and one for the connection manager.
RDMA_DEVICES = "/dev/infiniband"
_RDMA = {"PathOnHost": RDMA_DEVICES, "PathInContainer": RDMA_DEVICES, "CgroupPermissions": "rwm"}
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - what the engine means by no address
STOP_GRACE = 15  # seconds beyond vLLM's own shutdown timeout, for everything that is not draining

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE

# What every server's container is denied. Models and volumes may belong to other users than root, so root keeps the
# right to read and write them; vLLM needs none of the others.
SECURITY = ("no-new-privileges",)
CAP_DROP = ("ALL",)
CAP_ADD = ("DAC_OVERRIDE",)
PIDS_LIMIT = 32768  # threads count; eight GPUs on a host with 256 cores start about 6,000

# Kernels survive the container, in a folder of the server's own; weights are on the host and are never looked for
# elsewhere.
BASE_ENV = {
    "DO_NOT_TRACK": "1",
    "FLASHINFER_WORKSPACE_BASE": f"{CACHE_MOUNT}/flashinfer",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRITON_CACHE_DIR": f"{CACHE_MOUNT}/triton",
    "VLLM_CACHE_ROOT": f"{CACHE_MOUNT}/vllm",
    "VLLM_NO_USAGE_STATS": "1",
}

# Where NVIDIA's runtime is Docker's default, an image that asks for all GPUs would get them without being given any.
NO_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "void"}

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?\s*$", re.IGNORECASE)


class SpecError(ValueError):
    """A declaration that cannot become a container."""


@dataclasses.dataclass(frozen=True)
class ServerSpec:
    """A vLLM server as a container."""

    name: str
    image: str
    model: str
    served_model_names: tuple[str, ...]
    port: int
    bind: str
    engine: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    keys: str = _keys.NONE
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_driver: str = "nvidia"
    shm_size: int = 0
    ipc: str = "private"
    restart_policy: str = "unless-stopped"
    init: bool = True
    nofile: int = 0
    capabilities: tuple[str, ...] = ()
    stop_timeout: int = STOP_GRACE
    network: str = "bridge"
    security: tuple[str, ...] = SECURITY
    cap_drop: tuple[str, ...] = CAP_DROP
    pids_limit: int = PIDS_LIMIT
    member: str = ""
    rdma: bool = False

    @property
    def headless(self) -> bool:
        """Say whether this is a worker of a server over several hosts, which serves no API."""
        return bool(self.engine.get("headless"))

    @property
    def inner_port(self) -> int:
        """Return the port at which vLLM listens in its container."""
        return self.port if self.network == HOST_NETWORK else CONTAINER_PORT


# --- from a declaration -----------------------------------------------------------------------------------------------


def desired_spec(
    options: t.Mapping[str, t.Any],
    model: str,
    gpus: t.Sequence[str],
    keys: str,
    secrets_directory: str,
    cache_directory: str,
    gpu_driver: str = "nvidia",
    nofile: int = 0,
    image_env: t.Mapping[str, str] | None = None,
    release: Release | None = None,
    weight_bytes: int = 0,
    pids_limit: int = PIDS_LIMIT,
) -> ServerSpec:
    """Return the specification that ``options`` (an instance in its normal form) ask for.

    ``model`` is the resolved release, ``gpus`` are device names, ``keys`` is how keys are delivered and ``nofile`` the
    limit on open files, 0 for the engine's own. Variables that the image sets to the same value are left out.
    ``release`` is that of the image's vLLM, None where it is not known. ``pids_limit`` is 0 where the engine cannot
    limit processes.
    """
    engine = with_parallel_size(options["engine"], len(gpus))
    engine = with_drain(engine, release, int(options.get("drain_timeout") or 0))
    volumes = [f"{model}:{model}:ro", f"{cache_directory}:{CACHE_MOUNT}:rw"]
    if keys != _keys.NONE:
        volumes.append(f"{secrets_directory}:{_keys.MOUNT}:ro")
    volumes.extend(with_mode(volume) for volume in options["volumes"])
    env = {
        **BASE_ENV,
        **({} if gpus else NO_GPU_ENV),
        **ready_timeout_env(weight_bytes, release),
        **{str(name): as_env(value) for name, value in options["env"].items()},
    }
    member = options.get("member")
    headless = bool(engine.get("headless"))
    return ServerSpec(
        name=options["name"],
        image=options["image"],
        model=model,
        served_model_names=tuple(options["served_model_names"]),
        port=0 if headless else int(options["port"]),
        bind=NO_ADDRESS if headless else options["bind"],
        engine=options_in(serve_arguments(in_form_of(engine, release))),
        keys=keys,
        env=without(env, image_env or {}),
        volumes=tuple(sorted(volumes)),
        gpus=tuple(gpus),
        gpu_driver=gpu_driver,
        shm_size=0 if options["ipc"] == "host" else shared_memory(options["shm_size"], engine, len(gpus)),
        ipc=options["ipc"],
        restart_policy=options["restart_policy"],
        nofile=nofile,
        # vLLM binds memory and threads to NUMA nodes on CPU, and on GPU when asked to; Docker forbids that otherwise.
        # Pages that a network adapter reads by itself must stay where they are in memory.
        capabilities=(
            *CAP_ADD,
            *(["IPC_LOCK"] if member and member.get("rdma") else []),
            *(["SYS_NICE"] if not gpus or engine.get("numa_bind") else []),
        ),
        pids_limit=pids_limit,
        stop_timeout=shutdown_timeout(engine) + STOP_GRACE,
        network=HOST_NETWORK if member else "bridge",
        member=member_label(member) if member else "",
        rdma=bool(member and member.get("rdma")),
    )


def member_label(member: t.Mapping[str, t.Any]) -> str:
    return f"{member['rank']}:{','.join(member['nodes'])}"


def with_parallel_size(engine: t.Mapping[str, t.Any], gpus: int) -> dict[str, t.Any]:
    """Add tensor parallelism over all GPUs where there are several and the options do not say how to use them."""
    spread = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes", "device_ids")
    if gpus > 1 and not any(engine.get(name) is not None for name in spread):
        return {**engine, "tensor_parallel_size": gpus}
    return dict(engine)


def with_drain(engine: t.Mapping[str, t.Any], release: Release | None, seconds: int) -> dict[str, t.Any]:
    """Let vLLM finish its requests when it is told to stop, which it can from 0.18 on but does not by default."""
    if seconds and engine.get("shutdown_timeout") is None and release is not None and release[:2] >= DRAINING:
        return {**engine, "shutdown_timeout": seconds}
    return dict(engine)


def shared_memory(stated: str | int, engine: t.Mapping[str, t.Any], gpus: int) -> int:
    """Return the bytes of /dev/shm: what was stated, or what vLLM needs for this many workers with some to spare.

    Nothing at all cannot be had: the engine takes its own default for less than a byte, so that counts as not stated.
    """
    size = parse_size(stated) if stated not in ("", None) else 0
    if size:
        return size
    workers = max(1, gpus)
    offload = 0
    if engine.get("kv_offloading_size") is not None:
        try:
            offload = int(float(engine["kv_offloading_size"]) * GIBIBYTE)
        except (TypeError, ValueError) as error:
            raise SpecError(f"engine.kv_offloading_size must be a number of GiB: {error}") from error
    return (160 + 240 * workers) * MEBIBYTE + offload + GIBIBYTE


def shutdown_timeout(engine: t.Mapping[str, t.Any]) -> int:
    value = engine.get("shutdown_timeout")
    try:
        return int(value) if value is not None else 0
    except (TypeError, ValueError) as error:
        raise SpecError(f"engine.shutdown_timeout must be a number of seconds: {error}") from error


def parse_size(text: str | int) -> int:
    match = _SIZE.match(str(text))
    if not match:
        raise SpecError(f"{text!r} is not a size such as 16g")
    power = " kmgt".index((match.group(2) or " ").lower().replace("b", " "))
    return int(float(match.group(1)) * 1024**power)


def with_mode(volume: str) -> str:
    return volume if volume.count(":") == 2 else volume + ":rw"


def as_env(value: object) -> str:
    return str(value)


def without(env: t.Mapping[str, str], image_env: t.Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if image_env.get(name) != value}


# --- arguments and back -----------------------------------------------------------------------------------------------


def command(spec: ServerSpec) -> list[str]:
    """Return the arguments after the entrypoint.

    The configuration file holds keys alone. It is given as two tokens, because vLLM would ignore it as one.

    The configuration file holds keys alone. It is given as two tokens, because vLLM would ignore it as one.
    """
    arguments = [spec.model]
    if spec.keys == _keys.CONFIG:
        arguments += ["--config", f"{_keys.MOUNT}/{_keys.CONFIG_FILE}"]
    if spec.network != HOST_NETWORK:
        # This is inside the container; what is published on the host is spec.bind.
        arguments += ["--host", NO_ADDRESS, "--port", str(CONTAINER_PORT)]
    elif not spec.headless:
        arguments += ["--host", spec.bind, "--port", str(spec.port)]
    arguments += ["--served-model-name", *spec.served_model_names]
    for name, value in sorted(spec.engine.items()):
        arguments += arguments_of(name, value)
    return arguments


def entrypoint(spec: ServerSpec) -> list[str]:
    if spec.keys == _keys.ENVIRONMENT:
        return ["/bin/sh", "-c", _keys.EXPORT_SCRIPT, "vllm-serve"]
    return list(ENTRYPOINT)


def options_in(arguments: t.Sequence[str]) -> dict[str, t.Any]:
    """Return arguments of ``vllm serve`` by option: true, false, a text, or a list of texts.

    No text begins with a dash.
    """
    found: dict[str, t.Any] = {}
    values: list[str] | None = None
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument[2:].partition("=")
            negative = flag.startswith("no-")
            name = (flag[3:] if negative else flag).replace("-", "_")
            values = [value] if equals else []
            if name in found and isinstance(found[name], list):
                values = found[name] + values
            found[name] = False if negative else values
        elif values is not None:
            values.append(argument)
    return {name: _unlisted(value) for name, value in found.items()}


def _unlisted(value: t.Any) -> t.Any:
    if isinstance(value, bool):
        return value
    if not value:
        return True
    return value[0] if len(value) == 1 else value


def arguments_of(name: str, value: t.Any) -> list[str]:
    """Return the arguments that state one option: the inverse of `options_in`."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag[2:]]
    if name in REPEATED and isinstance(value, list):
        return [argument for item in value for argument in (flag, item)]
    if isinstance(value, list):
        return [flag, *value]
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


# --- what the engine takes --------------------------------------------------------------------------------------------


def create_body(spec: ServerSpec, keys: str = "") -> dict[str, t.Any]:
    """Return the body of the engine's "create a container"; ``keys`` is the fingerprint of the keys."""
    published = f"{CONTAINER_PORT}/tcp"
    host: dict[str, t.Any] = {
        "Binds": list(spec.volumes),
        "PortBindings": {published: [{"HostIp": spec.bind, "HostPort": str(spec.port)}]},
        "RestartPolicy": restart_policy_body(spec.restart_policy),
        "IpcMode": spec.ipc,
        "Init": spec.init,
        "NetworkMode": spec.network,
        "CapAdd": list(spec.capabilities),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": list(spec.security),
    }
    if spec.network == HOST_NETWORK:
        del host["PortBindings"]
    if spec.pids_limit:
        host["PidsLimit"] = spec.pids_limit
    if spec.shm_size:
        host["ShmSize"] = spec.shm_size
    limits = {**({"nofile": spec.nofile} if spec.nofile else {}), **({"memlock": -1} if spec.rdma else {})}
    if limits:
        host["Ulimits"] = [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in limits.items()]
    if spec.rdma:
        host["Devices"] = [dict(_RDMA)]
    if spec.gpus:
        host["DeviceRequests"] = [device_request(spec.gpus, spec.gpu_driver)]
    return {
        "Image": spec.image,
        "Entrypoint": entrypoint(spec),
        "Cmd": command(spec),
        "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
        "ExposedPorts": {} if spec.network == HOST_NETWORK else {published: {}},
        "Labels": {**labels(spec), **({LABEL_KEYS: keys} if keys else {})},
        "StopTimeout": spec.stop_timeout,
        "HostConfig": host,
    }


def restart_policy_body(policy: str) -> dict[str, t.Any]:
    return {"Name": policy, "MaximumRetryCount": 0}


def labels(spec: ServerSpec) -> dict[str, str]:
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_KIND: KIND,
        LABEL_NAME: spec.name,
        LABEL_CONFIG: config_hash(spec),
        **({LABEL_MEMBER: spec.member} if spec.member else {}),
    }


def config_hash(spec: ServerSpec) -> str:
    """Return a fingerprint of the declared configuration, which holds no secret."""
    declared = {**dataclasses.asdict(spec), "volumes": without_cache(spec.volumes)}
    # So that what most servers do not have changes no fingerprint of theirs.
    for name in ("member", "rdma"):
        if not declared[name]:
            del declared[name]
    text = json.dumps(declared, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


# --- what the engine says ---------------------------------------------------------------------------------------------


def env_of(config: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    """Return the environment in a container's or an image's configuration."""
    pairs = (entry.partition("=") for entry in (config or {}).get("Env") or [])
    return {name: value for name, _equals, value in pairs}


def spec_of(inspect: t.Mapping[str, t.Any], image_env: t.Mapping[str, str] | None = None) -> ServerSpec:
    """Return the specification of an existing container of ours."""
    config = inspect.get("Config") or {}
    host = inspect.get("HostConfig") or {}
    arguments = list(config.get("Cmd") or [])
    model = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
    options = options_in(arguments)
    in_config = options.pop("config", None) is not None
    address = options.pop("host", NO_ADDRESS)
    port = options.pop("port", 0)
    names = options.pop("served_model_name", [])
    published = (host.get("PortBindings") or {}).get(f"{CONTAINER_PORT}/tcp") or [{}]
    if _network(inspect) == HOST_NETWORK:
        published = [{"HostIp": address, "HostPort": port}]
    gpus, driver = _devices(host)
    ipc = host.get("IpcMode") or "private"
    limits = {limit["Name"]: int(limit["Hard"]) for limit in host.get("Ulimits") or []}
    if list(config.get("Entrypoint") or []) == list(ENTRYPOINT):
        keys = _keys.CONFIG if in_config else _keys.NONE
    else:
        keys = _keys.ENVIRONMENT
    return ServerSpec(
        name=str(inspect.get("Name") or "").lstrip("/"),
        image=str(config.get("Image") or ""),
        model=model,
        served_model_names=tuple([names] if isinstance(names, str) else names),
        port=int(published[0].get("HostPort") or 0),
        bind=published[0].get("HostIp") or NO_ADDRESS,
        engine=options,
        keys=keys,
        env=without(env_of(config), image_env or {}),
        volumes=tuple(sorted(with_mode(bind) for bind in host.get("Binds") or [])),
        gpus=gpus,
        gpu_driver=driver,
        shm_size=0 if ipc == "host" else int(host.get("ShmSize") or 0),
        ipc=ipc,
        restart_policy=(host.get("RestartPolicy") or {}).get("Name") or "no",
        init=bool(host.get("Init")),
        nofile=limits.get("nofile", 0),
        capabilities=_capabilities(host.get("CapAdd")),
        stop_timeout=int(config.get("StopTimeout") or 10),
        network=_network(inspect),
        security=_security(host),
        cap_drop=_capabilities(host.get("CapDrop")),
        pids_limit=max(0, int(host.get("PidsLimit") or 0)),
        member=str((config.get("Labels") or {}).get(LABEL_MEMBER) or ""),
        rdma=host.get("Devices") == [_RDMA] and limits.get("memlock") == -1,
    )


def _devices(host: t.Mapping[str, t.Any]) -> tuple[tuple[str, ...], str]:
    for request in host.get("DeviceRequests") or []:
        return tuple(request.get("DeviceIDs") or []), "cdi" if request.get("Driver") == "cdi" else "nvidia"
    return (), "nvidia"


def _capabilities(names: t.Iterable[str] | None) -> tuple[str, ...]:
    return tuple(sorted(str(name).upper().replace("CAP_", "", 1) for name in names or ()))


def _security(host: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the security options; the engine itself switches labels off for a container in the host's IPC."""
    options = {str(option).replace("=", ":") for option in host.get("SecurityOpt") or []}
    if host.get("IpcMode") == "host":
        options.discard("label:disable")
    return tuple(sorted(option.replace("no-new-privileges:true", "no-new-privileges") for option in options))


def _network(inspect: t.Mapping[str, t.Any]) -> str:
    """Return the network that the container was made with; empty when it is not connected any more."""
    mode = (inspect.get("HostConfig") or {}).get("NetworkMode") or "default"
    mode = "bridge" if mode == "default" else mode
    connected = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    return mode if mode in connected else ""


# --- the difference ---------------------------------------------------------------------------------------------------

# What the engine can change on a container that goes on running.
IN_PLACE = frozenset(("restart_policy",))

# Compared in a way of their own below; a name and a driver are only a way to the same end.
_DERIVED = frozenset(("name", "engine", "env", "gpus", "gpu_driver", "volumes"))


def without_cache(volumes: t.Sequence[str]) -> list[str]:
    """Return the mounts without the one of compiled kernels, whose place changes nothing that clients see."""
    return [volume for volume in volumes if volume.split(":")[1:2] != [CACHE_MOUNT]]


def differences(
    before: ServerSpec,
    after: ServerSpec,
    same_gpu: t.Callable[[str], str] = lambda device: device,
) -> list[Change]:
    """Return what would change, option by option. ``same_gpu`` maps a device name to the UUID of the GPU behind it."""
    changes = []
    for field in dataclasses.fields(ServerSpec):
        if field.name not in _DERIVED:
            old, new = getattr(before, field.name), getattr(after, field.name)
            if old != new:
                changes.append(Change(field.name, _shown(old), _shown(new)))
    old_volumes, new_volumes = without_cache(before.volumes), without_cache(after.volumes)
    if old_volumes != new_volumes:
        changes.append(Change("volumes", old_volumes, new_volumes))
    if [same_gpu(gpu) for gpu in before.gpus] != [same_gpu(gpu) for gpu in after.gpus]:
        changes.append(Change("gpus", list(before.gpus), list(after.gpus)))
    changes += [Change(name, *map(typed, pair)) for name, pair in _by_key(before.engine, after.engine)]
    changes += [
        Change(f"env.{name}", *(shown_env(name, value) for value in pair))
        for name, pair in _by_key(before.env, after.env)
    ]
    return changes


# What no server of ours has: how it is called here, and by the engine. Neither is anything but empty or zero.
_NEVER = (
    ("memory", "Memory"),
    ("memory_reservation", "MemoryReservation"),
    ("memory_swap", "MemorySwap"),
    ("cpus", "NanoCpus"),
    ("cpu_quota", "CpuQuota"),
    ("cpu_period", "CpuPeriod"),
    ("cpu_shares", "CpuShares"),
    ("cpuset_cpus", "CpusetCpus"),
    ("cpuset_mems", "CpusetMems"),
    ("blkio_weight", "BlkioWeight"),
    ("oom_kill_disable", "OomKillDisable"),
    ("oom_score_adj", "OomScoreAdj"),
    ("privileged", "Privileged"),
    ("pid_mode", "PidMode"),
    ("uts_mode", "UTSMode"),
    ("userns_mode", "UsernsMode"),
    ("devices", "Devices"),
    ("device_cgroup_rules", "DeviceCgroupRules"),
    ("mounts", "Mounts"),
    ("tmpfs", "Tmpfs"),
    ("volumes_from", "VolumesFrom"),
    ("read_only", "ReadonlyRootfs"),
    ("sysctls", "Sysctls"),
    ("group_add", "GroupAdd"),
    ("links", "Links"),
    ("dns", "Dns"),
    ("extra_hosts", "ExtraHosts"),
    ("publish_all_ports", "PublishAllPorts"),
    ("auto_remove", "AutoRemove"),
)
_NOTHING: tuple[t.Any, ...] = (None, False, 0, "", [], {})
# What a container has from its image unless somebody gave it another one.
_FROM_IMAGE = (("user", "User"), ("healthcheck", "Healthcheck"), ("working_dir", "WorkingDir"))


def drift(inspect: t.Mapping[str, t.Any], name: str, image: t.Mapping[str, t.Any] | None) -> list[Change]:
    """Return what a container has that no declaration can ask for, so that somebody changed or made it by hand.

    ``image`` is the one it was made from, None when that has gone.
    """
    config, host = inspect.get("Config") or {}, inspect.get("HostConfig") or {}
    # Podman writes out that a namespace is the container's own; Docker leaves that empty.
    nothing = (*_NOTHING, "private", [_RDMA])
    changes = [Change(option, host[key], None) for option, key in _NEVER if host.get(key) not in nothing]
    of_image = (image or {}).get("Config") or {}
    for option, key in _FROM_IMAGE:
        if image is not None and (config.get(key) or None) != (of_image.get(key) or None):
            changes.append(Change(option, config.get(key) or None, of_image.get(key) or None))
    policy = host.get("RestartPolicy") or {}
    if policy.get("MaximumRetryCount"):
        changes.append(Change("restart_policy", f"{policy.get('Name')}:{policy['MaximumRetryCount']}", "no limit"))
    more = sorted(set((inspect.get("NetworkSettings") or {}).get("Networks") or {}) - {_network(inspect)})
    if more and _network(inspect):
        changes.append(Change("networks", [_network(inspect), *more], [_network(inspect)]))
    bindings = {port: there for port, there in (host.get("PortBindings") or {}).items() if there}
    published = f"{CONTAINER_PORT}/tcp"
    if set(bindings) - {published} or len(bindings.get(published) or []) > 1:
        changes.append(Change("published_ports", sorted(bindings), [published]))
    label = (config.get("Labels") or {}).get(LABEL_NAME)
    if label != name:
        changes.append(Change("labels", {LABEL_NAME: label}, {LABEL_NAME: name}))
    requests = host.get("DeviceRequests") or []
    if len(requests) > 1:
        changes.append(Change("gpus", [request.get("DeviceIDs") for request in requests], "one request"))
    return changes


def as_options(spec: ServerSpec) -> dict[str, t.Any]:
    """Return the whole specification as the options that `differences` names, for a diff."""
    shown = {
        field.name: _shown(getattr(spec, field.name))
        for field in dataclasses.fields(ServerSpec)
        if field.name not in ("engine", "env")
    }
    shown["volumes"] = without_cache(spec.volumes)
    shown["engine"] = {name: typed(value) for name, value in sorted(spec.engine.items())}
    shown["env"] = {name: shown_env(name, value) for name, value in sorted(spec.env.items())}
    return shown


def declared(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options as they were given, for a diff on a host that cannot say yet what they will come to."""
    fields = {field.name for field in dataclasses.fields(ServerSpec)} | {"state"}
    shown = {key: value for key, value in options.items() if key in fields and value is not None}
    shown["env"] = {name: shown_env(name, value) for name, value in (options.get("env") or {}).items()}
    return shown


def _by_key(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, tuple[t.Any, t.Any]]]:
    for name in sorted(set(before) | set(after)):
        if before.get(name) != after.get(name):
            yield name, (before.get(name), after.get(name))


def typed(value: t.Any) -> t.Any:
    """Return an argument as the YAML value that it came from, as far as its text tells."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if not isinstance(value, str):
        return value
    if not re.match(r"^(?:-?\d|[\[{])", value):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _shown(value: t.Any) -> t.Any:
    return list(value) if isinstance(value, tuple) else value
