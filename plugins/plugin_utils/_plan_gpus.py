# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which GPUs of a host its servers get, and what speaks against it. Pure functions over what vllm_host_info told."""

from __future__ import annotations

import collections
import itertools
import typing as t

from ..module_utils._gpu._select import GpuSelectionError, select_gpus
from ..module_utils._vllm.declaration._instances import memory_share
from ..module_utils._vllm.options._release import release_of, tag_of
from ..module_utils._vllm.options._suggestions import whole_number
from ._plan_fit import capability_of
from ._problem import Problem

Mapping = t.Mapping[str, t.Any]
MIB = 2**20

# The least compute capability for a way of quantizing weights, as vLLM 0.32 checks it at every start.
LEAST_CAPABILITY = {
    "awq": 7.5,
    "awq_marlin": 7.5,
    "experts_int8": 8.0,
    "fbgemm_fp8": 8.0,
    "fp8": 7.5,
    "fp_quant": 10.0,
    "gpt_oss_mxfp4": 8.0,
    "gptq": 6.0,
    "gptq_marlin": 6.0,
    "modelopt": 8.0,
    "modelopt_fp4": 7.5,
    "mxfp4": 8.0,
    "torchao": 7.5,
}
BFLOAT16 = 8.0
FP8_KV_CACHE = 8.9

# CUDA 13 no longer has Volta and older, and wants a driver of at least this branch.
CUDA_13_SINCE = (0, 20, 0)
CUDA_13_DRIVER = 580
CUDA_13_CAPABILITY = 7.5
CUDA_12_DRIVER = 525


def devices(gpus: t.Sequence[Mapping]) -> dict[str, Mapping]:
    """Return what servers can be given, by UUID: whole GPUs, and MIG devices as GPUs with a memory of their own."""
    found: dict[str, Mapping] = {}
    for gpu in gpus:
        found[str(gpu["uuid"])] = {**gpu, "label": f"GPU {gpu['index']}"}
        for device in (gpu.get("mig") or {}).get("devices") or []:
            label = f"MIG device {device['uuid']}"
            found[str(device["uuid"])] = {**gpu, "memory": device.get("memory") or {}, "label": label}
    return found


def assign(
    servers: t.Sequence[Mapping], gpus: t.Sequence[Mapping]
) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Assign UUIDs to servers; return them by server, and pairs of server and reason for what cannot be given.

    Servers that name their GPUs come first; a count takes the first that are left.
    """
    given: dict[str, list[str]] = {}
    problems = []
    for server in sorted(servers, key=lambda one: isinstance(one["gpus"], int)):
        taken = {uuid for uuids in given.values() for uuid in uuids}
        try:
            given[server["name"]] = select_gpus(server["gpus"], gpus, taken)
        except GpuSelectionError as error:
            problems.append((str(server["name"]), str(error)))
    return given, problems


def shared(
    servers: t.Sequence[Mapping], given: t.Mapping[str, t.Sequence[str]], label: t.Callable[[str], str]
) -> list[Problem]:
    """Find GPUs of which several servers together want more than the whole, however each of them names the GPU."""
    users: dict[str, list[Mapping]] = collections.defaultdict(list)
    for server in servers:
        for uuid in given.get(server["name"], ()):
            users[uuid].append(server)
    problems = []
    for uuid, sharing in users.items():
        shares = [memory_share(server) for server in sharing]
        total = sum(share for share in shares if share is not None)
        if len(sharing) > 1 and total > 1.0:
            names = " and ".join(
                f"{server['name']} ({'not known' if share is None else f'{share:g}'})"
                for server, share in zip(sharing, shares, strict=True)
            )
            text = (
                f"{label(uuid)} is shared by {names}, together {total:g} of its memory; "
                "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
            )
            problems.append(Problem("", f"{sharing[-1]['where']}.gpus", "gpus", text))
    return problems


def strangers(
    server: Mapping,
    uuids: t.Sequence[str],
    gpu: Mapping,
    containers: t.Sequence[Mapping],
    label: t.Callable[[str], str],
) -> list[Problem]:
    """Find others' processes on the GPUs that a server wants, where they leave less than it is to take."""
    ours = {row["id"] for row in containers if row.get("server")}
    names = {row["id"]: row["name"] for row in containers}
    memory = {str(one["uuid"]): int((one.get("memory") or {}).get("total") or 0) for one in gpu["gpus"]}
    share = memory_share(server)
    problems = []
    for uuid in uuids:
        found = [
            process
            for process in gpu.get("processes") or []
            if process["gpu_uuid"] == uuid and process.get("container") not in ours
        ]
        used = sum(process.get("used_memory") or 0 for process in found)
        untold = any(process.get("used_memory") is None for process in found)
        left = 1 - used / memory[uuid] if memory.get(uuid) else 1.0
        if not found or not (untold or left < (share if share is not None else 1.0)):
            continue
        who = ", ".join(_process(process, names) for process in found)
        wanted = f"{share:.0%} of its memory" if share is not None else "a part of its memory"
        text = (
            f"{label(uuid)} is in use by {who}, and {server['name']} is to take {wanted}; "
            "end what runs there, give another GPU, or lower engine.gpu_memory_utilization"
        )
        problems.append(Problem("", f"{server['where']}.gpus", "gpus", text))
    return problems


def _process(process: Mapping, names: t.Mapping[str, str]) -> str:
    container = process.get("container")
    where = f" in container {names.get(container, str(container)[:12])}" if container else ""
    used = process.get("used_memory")
    return f"{process['name']} (pid {process['pid']}{where}, {f'{used} MiB' if used is not None else 'memory unknown'})"


def capability(server: Mapping, gpus: t.Sequence[Mapping], quantization: str, model_type: str) -> list[Problem]:
    """Find features that the GPUs of a server are too old for."""
    known = [(one, capability_of(one)) for one in gpus if capability_of(one)]
    if not known:
        return []
    oldest, value = min(known, key=lambda pair: pair[1])
    has = f"{oldest['name']} has compute capability {value}"
    engine = server["engine"]
    dtype = str(engine.get("dtype") or "auto")
    problems = []
    if dtype == "bfloat16" and value < BFLOAT16:
        text = f"bfloat16 needs compute capability 8.0, and {has}; leave it out, or use float16"
        problems.append(("engine.dtype", text))
    if model_type in ("gemma2", "gemma3_text", "glm4") and value < BFLOAT16 and dtype not in ("float32", "float"):
        text = f"{model_type} does not run in float16, and {has}, too little for bfloat16; use float32"
        problems.append(("engine.dtype", text))
    method = str(engine.get("quantization") or quantization or "")
    if value < LEAST_CAPABILITY.get(method, 0.0):
        text = f"quantization {method} needs compute capability {LEAST_CAPABILITY[method]}, and {has}"
        problems.append(("model", text))
    if cuda_of(server["image"]) == 13 and value < CUDA_13_CAPABILITY:
        text = (
            f"{server['image']} is built for CUDA 13, which needs compute capability {CUDA_13_CAPABILITY}, "
            f"and {has}; use a release before 0.20, or a tag that ends in -cu129"
        )
        problems.append(("image", text))
    return [Problem("", f"{server['where']}.{key}", "hardware", text) for key, text in problems]


def cuda_of(image: str) -> int | None:
    """Return the major version of CUDA in one of vLLM's own images, as far as the tag tells."""
    release = release_of(image)
    if release is None:
        return None
    return 13 if release >= CUDA_13_SINCE and "cu12" not in tag_of(image) else 12


def driver(server: Mapping, version: str | None) -> list[Problem]:
    """Find a driver that is too old for the image to start."""
    cuda = cuda_of(server["image"])
    major = whole_number(str(version or "").split(".", maxsplit=1)[0])
    if cuda is None or major is None or server["env"].get("VLLM_ENABLE_CUDA_COMPATIBILITY"):
        return []
    least = CUDA_13_DRIVER if cuda == 13 else CUDA_12_DRIVER
    if major >= least:
        return []
    instead = ", or use the tag that ends in -cu129" if cuda == 13 else ""
    problem = f"needs driver {least} or newer for CUDA {cuda}, and the host has {version}; install a newer one{instead}"
    return [Problem("", f"{server['where']}.image", "driver", f"{server['image']} {problem}")]


def links(server: Mapping, uuids: t.Sequence[str], gpu: Mapping) -> list[Problem]:
    """Find GPUs that are to work as one without NVLink between all of them, where others of the host have it."""
    size = whole_number(server["engine"].get("tensor_parallel_size")) or 1
    rows = {row["index"]: row["gpus"] for row in gpu.get("topology") or [] if isinstance(row["gpus"], t.Mapping)}
    indices = {str(one["uuid"]): int(one["index"]) for one in gpu["gpus"]}
    mine = [indices[uuid] for uuid in uuids if uuid in indices]
    if size < 2 or len(mine) != len(uuids) or _linked(mine, rows):
        return []
    better = _linked_group(len(mine), rows)
    if better is None:
        return []
    apart = next(pair for pair in itertools.combinations(mine, 2) if not _linked(pair, rows))
    slow = f"GPUs {apart[0]} and {apart[1]} are not linked by NVLink, which slows tensor_parallel_size {size} down"
    text = f"{slow}; GPUs {', '.join(map(str, better))} are"
    return [Problem("", f"{server['where']}.gpus", "links", text)]


def _linked_group(size: int, rows: t.Mapping[int, Mapping]) -> list[int] | None:
    """Find so many GPUs of which each is linked with each. Not all combinations are tried: 64 GPUs have many."""
    for first in sorted(rows):
        group = [first]
        for other in sorted(rows):
            if other not in group and len(group) < size and all(_linked((one, other), rows) for one in group):
                group.append(other)
        if len(group) == size:
            return sorted(group)
    return None


def _linked(indices: t.Iterable[int], rows: t.Mapping[int, Mapping]) -> bool:
    return all(
        str(rows.get(one, {}).get(str(other), "")).startswith("NV") for one, other in itertools.permutations(indices, 2)
    )
