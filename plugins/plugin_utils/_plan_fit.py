# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Whether a declared server fits, from what is known of its model and its GPUs, and what would fit in its place."""

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import release_of, repository_of
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict

Mapping = t.Mapping[str, t.Any]
MIB = 2**20
FP8_KV_CACHE = 8.9


def device_of(server: Mapping) -> str:
    """Where the image computes; vLLM's image for CPUs does so whatever GPUs it is given."""
    return "cpu" if not server["gpus"] or "cpu" in repository_of(server["image"]).rpartition("/")[2] else "cuda"


def gpu_of(gpus: t.Sequence[Mapping]) -> _verdict.Gpu | None:
    """The smallest of a server's GPUs; None when it has none, or the driver does not tell."""
    sized = [(_memory_of(one), one) for one in gpus]
    if not sized or not all(memory for memory, _gpu in sized):
        return None
    memory, least = min(sized, key=lambda pair: pair[0])
    return _verdict.Gpu(memory * MIB, str(least["name"]), float(least.get("compute_capability") or 0))


def _memory_of(gpu: Mapping) -> int:
    """MiB that CUDA sees: the driver keeps a part of the total for itself, which is neither used nor free; 0 untold."""
    memory = gpu.get("memory") or {}
    used, free = memory.get("used"), memory.get("free")
    return int(used) + int(free) if used is not None and free else int(memory.get("total") or 0)


def request_of(server: Mapping, model: Mapping, gpus: t.Sequence[Mapping]) -> _verdict.Request | None:
    """The question; None when there is no configuration to ask about."""
    if not model.get("config"):
        return None
    device = device_of(server)
    space = str(server["env"].get("VLLM_CPU_KVCACHE_SPACE") or "")
    return _verdict.Request(
        config=model["config"],
        engine=server["engine"],
        release=release_of(server["image"]),
        device=device,
        gpu=gpu_of(gpus) if device == "cuda" else None,
        weight_bytes=model.get("weight_bytes"),
        kv_cache_memory_bytes=int(space) * 2**30 if device == "cpu" and space.isdigit() and space != "0" else None,
    )


def calibrated(
    request: _verdict.Request | None, server: Mapping, looked: Mapping, host: Mapping
) -> _verdict.Request | None:
    """The same question, with what the server's last start tells of the memory that is needed besides.

    It tells that only of the same image and model on as many GPUs.
    """
    measured = (host.get("measured") or {}).get(server["name"]) or {}
    container = looked.get("container") or {}
    before = container.get("engine")
    tokens = measured.get("kv_cache_tokens")
    if request is None or before is None or not tokens or measured.get("config_hash") != container.get("config_hash"):
        return request
    alike = all(
        before.get(name) == request.engine.get(name) for name in ("tensor_parallel_size", "pipeline_parallel_size")
    )
    if not alike or container.get("image") != server["image"]:
        return request
    earlier = request._replace(engine=before, max_model_len=measured.get("max_model_len"))
    return request._replace(overhead_bytes=_verdict.overhead_behind(earlier, int(tokens)))


def nearest(request: _verdict.Request, free_gpus: int) -> list[dict[str, t.Any]]:
    """The smallest changes of the options that make it fit, each by itself: what to set, and what that gives.

    ``free_gpus`` is how many GPUs of the host the server could have.
    """
    found: list[dict[str, t.Any]] = []
    length = _verdict.fit(request).max_model_len_that_fits or 0
    rounded = length // 1024 * 1024 if length >= 2048 else length // 128 * 128
    if rounded:
        found.append({"max_model_len": rounded})
    if request.device == "cuda" and request.gpu and request.gpu.compute_capability >= FP8_KV_CACHE:
        found.append({"kv_cache_dtype": "fp8"})
    if request.device == "cuda":
        size = int(request.engine.get("tensor_parallel_size") or 1)
        while 2 * size <= free_gpus:
            size *= 2
            found.append({"tensor_parallel_size": size})
    result: list[dict[str, t.Any]] = []
    for change in found:
        if any(set(change) == set(earlier["engine"]) for earlier in result):
            continue  # a smaller change of the same option does already
        answer = _verdict.fit(request._replace(engine={**request.engine, **change}))
        if answer.verdict == _verdict.FITS:
            result.append({"engine": change, "kv_tokens": answer.kv_tokens, "max_concurrency": answer.max_concurrency})
    return result


def fits_on(request: _verdict.Request, gpus: t.Sequence[Mapping]) -> int | None:
    """With how many GPUs of another host it would fit; None when with none of the numbers that may be."""
    gpu = gpu_of(gpus)
    if request.device != "cuda" or gpu is None:
        return None
    size = int(request.engine.get("tensor_parallel_size") or 1)
    while size <= len(gpus):
        engine = {**request.engine, "tensor_parallel_size": size}
        if _verdict.fit(request._replace(gpu=gpu, engine=engine)).verdict == _verdict.FITS:
            return size
        size *= 2
    return None


def said(changes: t.Sequence[Mapping], others: t.Sequence[str] = ()) -> str:
    """The end of a refusal: what would fit."""
    texts = [
        ", ".join(f"engine.{name}: {value}" for name, value in change["engine"].items())
        + (
            f" with {change['engine']['tensor_parallel_size']} GPUs"
            if "tensor_parallel_size" in change["engine"]
            else ""
        )
        for change in changes
    ]
    texts += others
    return (
        f"; what fits: {'; or '.join(texts)}" if texts else "; no smaller context, KV cache or number of GPUs here fits"
    )
