# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Whether a model, as it is to be served, fits into the memory of its GPUs, before anything is started.

What the KV cache holds is exact for the releases whose arithmetic is known; what else needs memory on a GPU can only be
estimated (see `_memory`). A configuration is refused only when it cannot fit even with the least of it.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._argv import normal_name
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import Release, as_text
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _kv_cache, _memory
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit._layers import (
    CannotPredict,
    Config,
    Model,
    read_model,
)

FITS = "fits"
DOES_NOT_FIT = "does_not_fit"
CANNOT_PREDICT = "cannot_predict"

# The releases whose arithmetic was held against what they report.
KNOWN = ((0, 32), (0, 32))

Engine = t.Mapping[str, t.Any]


class Gpu(t.NamedTuple):
    """One of the GPUs of a server; they are taken to be alike."""

    memory: int  # bytes, all that CUDA sees
    name: str = ""
    compute_capability: float = 0.0


class Request(t.NamedTuple):
    """What is to be served, and on what."""

    config: Config
    engine: Engine
    release: Release | None = None
    device: str = "cuda"
    gpu: Gpu | None = None
    weight_bytes: int | None = None
    kv_cache_memory_bytes: int | None = None
    max_model_len: int | None = None
    overhead_bytes: int | None = None  # as an earlier start of the same model on the same GPU measured it


class Fit(t.NamedTuple):
    """The answer. Bytes are those of one GPU; what is not known is None."""

    verdict: str
    reasons: tuple[str, ...] = ()
    kv_bytes_per_token: int | None = None
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    max_model_len: int | None = None
    max_model_len_that_fits: int | None = None
    kv_cache_bytes: int | None = None
    weight_bytes: int | None = None
    overhead_bytes: int | None = None

    def as_result(self) -> dict[str, t.Any]:
        result = self._asdict()
        result["reasons"] = list(self.reasons)
        if self.max_concurrency is not None:
            result["max_concurrency"] = round(self.max_concurrency, 2)
        return result


def fit(request: Request) -> Fit:
    engine = {normal_name(str(name)): value for name, value in request.engine.items() if value is not None}
    try:
        return _fit(request._replace(engine=engine))
    except CannotPredict as error:
        return Fit(CANNOT_PREDICT, (str(error),))


def _fit(request: Request) -> Fit:
    engine = request.engine
    _refuse_unknown(engine)
    config = _overridden(request.config, engine)
    size = _whole(engine, "tensor_parallel_size", 1)
    model = read_model(config, size)
    reasons = list(_heads_problems(model, size))
    if reasons:
        return Fit(DOES_NOT_FIT, tuple(reasons))
    remarks = list(_release_remarks(request.release))
    asked = request.max_model_len or _length(engine.get("max_model_len"))
    length = asked or model.max_model_len
    terms = terms_of(model, engine, request.device, length, request.gpu)
    cache = _kv_cache.plan(model.layers, terms)
    if cache is None:
        raise CannotPredict("the model keeps nothing between tokens")
    known = Fit(
        CANNOT_PREDICT,
        tuple(remarks),
        kv_bytes_per_token=_kv_cache.bytes_per_token(model.layers, terms),
        max_model_len=length,
    )
    memory = _memory_for(request, model, terms)
    if memory is None:
        return known._replace(reasons=(*remarks, _MISSING[request.device]))
    return _judge(known, model, terms, memory, automatic=asked is None and "max_model_len" in engine, engine=engine)


_MISSING = {
    "cuda": "the memory of the GPU and the size of the weights, or kv_cache_memory_bytes, must be known",
    "cpu": "on a CPU kv_cache_memory_bytes must be known",
}


class _Space(t.NamedTuple):
    """Bytes for the KV cache of one GPU: what is expected, and the most there can be."""

    expected: int
    most: int
    stated: bool
    weights: int | None = None
    overhead: _memory.Overhead | None = None


def _memory_for(request: Request, model: Model, terms: _kv_cache.Terms) -> _Space | None:
    engine = request.engine
    stated = request.kv_cache_memory_bytes or _length(engine.get("kv_cache_memory_bytes"))
    if request.gpu is None or request.weight_bytes is None:
        return None if stated is None else _Space(stated, stated, True)
    weights = _memory.weights_of_a_gpu(model, engine, request.weight_bytes)
    overhead = _memory.measured(request.overhead_bytes) or _memory.overhead(
        model,
        engine,
        batched_tokens(engine, request.device, terms.max_model_len, request.gpu),
        sequences(engine, request.device, request.gpu),
    )
    if stated is not None:
        left = request.gpu.memory - weights - overhead.least
        return _Space(stated, min(stated, left), True, weights, overhead)
    budget = int(request.gpu.memory * _memory.utilization(engine, request.release))
    return _Space(budget - weights - overhead.expected, budget - weights - overhead.least, False, weights, overhead)


def overhead_behind(request: Request, kv_tokens: int) -> int | None:
    """The overhead with which a start that was asked for this reported so many tokens; None where it cannot be told."""
    engine = {normal_name(str(name)): value for name, value in request.engine.items() if value is not None}
    if request.gpu is None or request.weight_bytes is None or "kv_cache_memory_bytes" in engine:
        return None
    try:
        model = read_model(_overridden(request.config, engine), _whole(engine, "tensor_parallel_size", 1))
        length = request.max_model_len or model.max_model_len
        cache = _kv_cache.plan(model.layers, terms_of(model, engine, request.device, length, request.gpu))
        weights = _memory.weights_of_a_gpu(model, engine, request.weight_bytes)
        budget = int(request.gpu.memory * _memory.utilization(engine, request.release))
    except CannotPredict:
        return None
    if cache is None:
        return None
    blocks = round(kv_tokens / length * cache.blocks_per_request)
    left = budget - weights - blocks * cache.bytes_per_block
    return left if 0 < left < request.gpu.memory // 2 else None


def _judge(known: Fit, model: Model, terms: _kv_cache.Terms, space: _Space, automatic: bool, engine: Engine) -> Fit:
    longest = max(model.max_model_len, terms.max_model_len)
    possible = _longest(model, terms, space.expected, longest)
    if automatic and possible:
        terms = terms._replace(max_model_len=min(possible, model.max_model_len))
    cache = t.cast(_kv_cache.KvCache, _kv_cache.plan(model.layers, terms))
    blocks = _whole(engine, "num_gpu_blocks_override", 0) or None
    memory = max(space.expected, 0)
    tokens, concurrency = cache.tokens(memory, terms.max_model_len, blocks)
    found = known._replace(
        kv_tokens=tokens,
        max_concurrency=concurrency,
        max_model_len=terms.max_model_len,
        max_model_len_that_fits=possible,
        kv_cache_bytes=memory,
        weight_bytes=space.weights,
        overhead_bytes=space.overhead.expected if space.overhead else None,
    )
    if space.most < space.expected or space.most <= 0:
        return found._replace(verdict=DOES_NOT_FIT, reasons=(*found.reasons, _no_room(space)))
    if cache.least > space.most:
        return found._replace(verdict=DOES_NOT_FIT, reasons=(*found.reasons, _too_long(terms, cache, space)))
    if cache.least > space.expected:
        return found._replace(
            verdict=FITS,
            reasons=(*found.reasons, "fits only if less memory than usual is needed beside weights and KV cache"),
        )
    return found._replace(verdict=FITS)


def _longest(model: Model, terms: _kv_cache.Terms, memory: int, longest: int) -> int:
    """The greatest length of which one request fits; 0 when none does."""

    def fits(length: int) -> bool:
        cache = t.cast(_kv_cache.KvCache, _kv_cache.plan(model.layers, terms._replace(max_model_len=length)))
        return cache.least <= memory

    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.2f} MiB"


def _no_room(space: _Space) -> str:
    least = space.overhead.least if space.overhead else 0
    parts = f"weights {gib(space.weights or 0)} and at least {gib(least)} besides"
    if space.stated:
        return f"kv_cache_memory_bytes {gib(space.expected)} does not fit beside {parts}"
    return f"{parts} leave no memory for the KV cache"


def _too_long(terms: _kv_cache.Terms, cache: _kv_cache.KvCache, space: _Space) -> str:
    return (
        f"one request of max_model_len {terms.max_model_len} needs {gib(cache.least)} of KV cache, "
        f"and there are {gib(space.most)} at most"
    )


# --- engine options ---------------------------------------------------------------------------------------------------

# Options that change what a cache holds in a way that is not known here, unless they have one of these values.
_UNKNOWN: dict[str, tuple[t.Any, ...]] = {
    "decode_context_parallel_size": (1,),
    "prefill_context_parallel_size": (1,),
    "kv_cache_dtype_skip_layers": ([],),
    "mamba_block_size": (),
    "mamba_cache_mode": ("none", "align"),
    "spec_model": (),
    "spec_method": ("ngram", "suffix"),
    "disable_sliding_window": (False,),
    "hf_config_path": (),
    "kv_transfer_config": (),
}
_DTYPE_BYTES = {"float32": 4, "float": 4}
_KV_BYTES = {"float16": 2, "bfloat16": 2, "half": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1}


def _refuse_unknown(engine: Engine) -> None:
    for name, harmless in _UNKNOWN.items():
        if name in engine and engine[name] not in harmless:
            raise CannotPredict(f"what engine.{name} needs is not known")
    speculative = engine.get("speculative_config")
    if speculative and not (isinstance(speculative, t.Mapping) and speculative.get("method") in ("ngram", "suffix")):
        raise CannotPredict("what the draft model of engine.speculative_config needs is not known")


def _overridden(config: Config, engine: Engine) -> Config:
    overrides = engine.get("hf_overrides")
    if not overrides:
        return config
    if not isinstance(overrides, t.Mapping):
        raise CannotPredict("what engine.hf_overrides changes is not known")
    merged = dict(config)
    for key, value in overrides.items():
        both = isinstance(value, t.Mapping) and isinstance(merged.get(key), t.Mapping)
        merged[key] = {**merged[key], **value} if both else value
    return merged


_HUMAN = re.compile(r"^(\d+(?:\.\d+)?)([kKmMgGtT]?)$")
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _length(value: t.Any) -> int | None:
    """A number as vLLM reads it: 32768, 32k (32000), 32K (32768); None for what it is to find by itself."""
    if value in (None, "auto", -1, "-1"):
        return None
    match = _HUMAN.match(str(value))
    if not match:
        raise CannotPredict(f"{value!r} is no number")
    return int(float(match.group(1)) * _FACTORS[match.group(2)])


def _whole(engine: Engine, name: str, default: int) -> int:
    try:
        return int(engine.get(name, default))
    except (TypeError, ValueError):
        raise CannotPredict(f"engine.{name} is no number") from None


def terms_of(model: Model, engine: Engine, device: str, length: int, gpu: Gpu | None) -> _kv_cache.Terms:
    dtype_bytes = _DTYPE_BYTES.get(str(engine.get("dtype", "auto")), 2)
    cpu = device == "cpu"
    stages = _whole(engine, "pipeline_parallel_size", 1)
    in_steps = stages if cpu or engine.get("async_scheduling") is False else stages + 1
    block_size = _whole(engine, "block_size", 128 if cpu else 16)
    state = str(engine.get("mamba_ssm_cache_dtype", "auto"))
    return _kv_cache.Terms(
        max_model_len=length,
        element_bytes=_element_bytes(model, engine, dtype_bytes),
        dtype_bytes=dtype_bytes,
        block_size=block_size,
        latent_block_size=16 if cpu else _whole(engine, "block_size", 64),
        kernel_block_size=32 if cpu else 16,
        in_flight=in_steps * batched_tokens(engine, device, length, gpu),
        prefix_caching=engine.get("enable_prefix_caching", True) is not False,
        state_bytes={"auto": 0, "float32": 4, "bfloat16": 2, "float16": 2}.get(state, 0) or (4 if cpu else 0),
        pipeline_parallel_size=stages,
        unwindowed=engine.get("disable_hybrid_kv_cache_manager") is True,
    )


def _element_bytes(model: Model, engine: Engine, dtype_bytes: int) -> int:
    wanted = str(engine.get("kv_cache_dtype", "auto"))
    if wanted == "auto":
        wanted = model.kv_cache_dtype
    if wanted == "auto":
        return dtype_bytes
    if wanted not in _KV_BYTES:
        raise CannotPredict(f"what a KV cache of type {wanted} needs is not known")
    return _KV_BYTES[wanted]


def batched_tokens(engine: Engine, device: str, length: int, gpu: Gpu | None) -> int:
    """max_num_batched_tokens: as asked for, else what vLLM chooses for an API server on this device."""
    stated = _length(engine.get("max_num_batched_tokens"))
    if stated is not None:
        return stated
    world = _whole(engine, "tensor_parallel_size", 1) * _whole(engine, "pipeline_parallel_size", 1)
    tokens = (
        2048 * world
        if device == "cpu"
        else _memory.default_batched_tokens(gpu.memory if gpu else 0, gpu.name if gpu else "")
    )
    if engine.get("performance_mode") == "throughput":
        tokens *= 2
    return min(tokens, length * sequences(engine, device, gpu))


def sequences(engine: Engine, device: str, gpu: Gpu | None) -> int:
    """max_num_seqs, likewise."""
    stated = _whole(engine, "max_num_seqs", 0)
    if stated:
        return stated
    world = _whole(engine, "tensor_parallel_size", 1) * _whole(engine, "pipeline_parallel_size", 1)
    count = (
        128 * world if device == "cpu" else _memory.default_sequences(gpu.memory if gpu else 0, gpu.name if gpu else "")
    )
    return 2 * count if engine.get("performance_mode") == "throughput" else count


def _heads_problems(model: Model, size: int) -> t.Iterator[str]:
    if model.attention_heads and model.attention_heads % size:
        yield f"{model.attention_heads} attention heads cannot be divided by tensor_parallel_size {size}"


def _release_remarks(release: Release | None) -> t.Iterator[str]:
    if release is None:
        yield "the image's release is not known; the arithmetic is that of vLLM 0.32"
    elif not KNOWN[0] <= release[:2] <= KNOWN[1]:
        yield f"the arithmetic is that of vLLM 0.32, and the image holds {as_text(release)}"
