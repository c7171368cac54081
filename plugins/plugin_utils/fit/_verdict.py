# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a model, as it is to be served, fits into the memory of its GPUs, before anything is started.

What the KV cache holds is exact for the releases whose arithmetic is known; what else needs memory on a GPU can only be
estimated (see `_memory`). A configuration is refused only when it cannot fit even with the least of it.
"""

from __future__ import annotations

import re
import typing as t

from ...module_utils import _units
from ...module_utils._vllm.options._argv import normal_name
from ...module_utils._vllm.options._release import Release, as_text
from . import _kv_cache, _memory
from ._layers import (
    CannotPredict,
    Config,
    Latent,
    Layer,
    Model,
    Paged,
    State,
    predicting_layers,
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
    unified: bool = False  # the host's memory is the GPU's


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
    draft_config: Config | None = None  # the config.json of the model that engine.speculative_config names
    draft_weight_bytes: int | None = None


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
    overhead_bytes_least: int | None = None  # between these two the overhead lies
    overhead_bytes_most: int | None = None
    kv_tokens_least: int | None = None  # with the most overhead
    kv_tokens_most: int | None = None  # with the least
    max_num_seqs_that_fits: int | None = None  # where states limit it
    max_num_batched_tokens_that_fits: int | None = None  # where a batch must be larger

    def as_result(self) -> dict[str, t.Any]:
        result = self._asdict()
        result["reasons"] = list(self.reasons)
        if self.max_concurrency is not None:
            result["max_concurrency"] = round(self.max_concurrency, 2)
        return result


def fit(request: Request) -> Fit:
    """Return the verdict; what cannot be read is told, whatever a config.json or an option holds."""
    try:
        return _fit(_normal(request))
    except CannotPredict as error:
        return Fit(CANNOT_PREDICT, (str(error),))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        return Fit(CANNOT_PREDICT, (f"config.json or an option holds what cannot be read: {type(error).__name__}",))


def _normal(request: Request) -> Request:
    engine = {normal_name(str(name)): value for name, value in request.engine.items() if value is not None}
    return request._replace(engine=engine)


def _read(request: Request) -> Model:
    """Return the model with the layers of its draft."""
    config = _overridden(request.config, request.engine)
    size = _whole(request.engine, "tensor_parallel_size", 1)
    model = read_model(config, size, request.release)
    model = model._replace(pools=model.pools or request.engine.get("runner") == "pooling")
    return _with_draft(model, config, request, size)


def _fit(request: Request) -> Fit:
    engine = request.engine
    _refuse_unknown(engine)
    size = _whole(engine, "tensor_parallel_size", 1)
    model = _read(request)
    _refuse_packing(model, engine)
    request = _raised(request, model)
    engine = request.engine
    reasons = list(_heads_problems(model, size))
    if reasons:
        return Fit(DOES_NOT_FIT, tuple(reasons))
    asked = request.max_model_len or _length(engine.get("max_model_len"))
    length = asked or model.max_model_len
    if length <= 0:
        raise CannotPredict(f"max_model_len is {length}")
    remarks = (*_release_remarks(request.release), *_gpu_remarks(request.gpu, model))
    terms = terms_of(model, engine, request.device, length, request.gpu, request.release)
    known = Fit(
        CANNOT_PREDICT,
        remarks,
        kv_bytes_per_token=_kv_cache.bytes_per_token(all_layers(model), terms),
        max_model_len=length,
    )
    limit = _batch_problem(request, model, length)
    if limit:
        reason, batch = limit
        return known._replace(verdict=DOES_NOT_FIT, reasons=(*remarks, reason), max_num_batched_tokens_that_fits=batch)
    memory = _memory_for(request, model, terms)
    if not any(model.layers):
        return _without_cache(known, memory)
    if memory is None:
        return known._replace(reasons=(*remarks, _MISSING[request.device]))
    found = _judge(known, model, terms, memory, automatic=asked is None and "max_model_len" in engine, engine=engine)
    return _with_states(found, request, model, terms, memory)


def all_layers(model: Model) -> tuple[tuple[Layer, ...], ...]:
    return model.layers + model.draft


_MISSING = {
    "cuda": "the memory of the GPU and the size of the weights, or kv_cache_memory_bytes, must be known",
    "cpu": "on a CPU kv_cache_memory_bytes must be known",
}


_KEEPS_NOTHING = "the model keeps no KV cache: each text goes through it in one step"


def _without_cache(known: Fit, space: _Space | None) -> Fit:
    """Return the verdict on a model that keeps nothing: whether its weights and a step fit into its share of a GPU."""
    reasons = (*known.reasons, _KEEPS_NOTHING)
    if space is None or space.weights is None or space.overhead is None:
        return known._replace(reasons=(*reasons, "the memory of the GPU and the size of the weights must be known"))
    known = known._replace(
        weight_bytes=space.weights,
        overhead_bytes=space.overhead.expected,
        overhead_bytes_least=space.overhead.least,
        overhead_bytes_most=space.overhead.most,
    )
    overhead = space.overhead
    if space.most <= 0:
        needs = f"weights {_units.memory(space.weights)} and at least {_units.memory(overhead.least)} besides"
        return known._replace(verdict=DOES_NOT_FIT, reasons=(*reasons, f"{needs} are more than its share of the GPU"))
    if space.least > 0:
        return known._replace(verdict=FITS, reasons=reasons)
    bounds = f"between {_units.memory(overhead.least)} and {_units.memory(overhead.most)} (estimated)"
    return known._replace(verdict=FITS, reasons=(*reasons, f"may not fit: beside its weights it needs {bounds}"))


class _Space(t.NamedTuple):
    """Bytes for the KV cache of one GPU: what is expected, and the most and the least there can be."""

    expected: int
    most: int
    least: int
    stated: bool
    weights: int | None = None
    overhead: _memory.Overhead | None = None


def _memory_for(request: Request, model: Model, terms: _kv_cache.Terms) -> _Space | None:
    engine = request.engine
    stated = request.kv_cache_memory_bytes or _length(engine.get("kv_cache_memory_bytes"))
    if request.gpu is None or request.weight_bytes is None:
        return None if stated is None else _Space(stated, stated, stated, True)
    weights = _weights(request, model)
    overhead = _memory.measured(request.overhead_bytes) or _memory.overhead(
        model,
        engine,
        batched_tokens(engine, request.device, terms.max_model_len, request.gpu),
        sequences(engine, request.device, request.gpu),
    )
    if stated is not None:
        left = request.gpu.memory - weights - overhead.least
        return _Space(stated, min(stated, left), stated, True, weights, overhead)
    left = int(request.gpu.memory * _memory.utilization(engine, request.release)) - weights
    return _Space(left - overhead.expected, left - overhead.least, left - overhead.most, False, weights, overhead)


def _weights(request: Request, model: Model) -> int:
    """Return the bytes of weights on one GPU, with a draft model's. Layers for prediction are in the model's files."""
    weights = _memory.weights_of_a_gpu(model, request.engine, request.weight_bytes or 0)
    if not _speculative(request.engine).get("model"):
        return weights
    if request.draft_weight_bytes is None:
        raise CannotPredict("the size of the draft model's weights is not known (draft_weight_bytes)")
    return weights + request.draft_weight_bytes // _whole(request.engine, "tensor_parallel_size", 1)


def overhead_behind(request: Request, kv_tokens: int, max_concurrency: float | None = None) -> int | None:
    """Return the overhead with which such a start reported so much; None where it cannot be told.

    All releases print alike how many requests of the greatest length fit. Up to 0.19 the tokens of models with states
    are counted in another way, so they are used only where the other number is missing, or is rounded more coarsely.
    """
    request = _normal(request)
    engine, gpu = request.engine, request.gpu
    if gpu is None or request.weight_bytes is None or "kv_cache_memory_bytes" in engine:
        return None
    try:
        model = _read(request)
        request = _raised(request, model)
        engine = request.engine
        length = request.max_model_len or model.max_model_len
        terms = terms_of(model, engine, request.device, length, gpu, request.release)
        cache = _kv_cache.plan(all_layers(model), terms)
        weights = _weights(request, model)
        budget = int(gpu.memory * _memory.utilization(engine, request.release))
        if cache is None:
            return None
        requests = kv_tokens / length
        if max_concurrency and abs(requests - max_concurrency) > 0.01 + 0.02 * max_concurrency:
            requests = max_concurrency
    except (CannotPredict, TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError):
        return None
    left = budget - weights - round(requests * cache.blocks_per_request) * cache.bytes_per_block
    return left if 0 < left < gpu.memory // 2 else None


def _judge(known: Fit, model: Model, terms: _kv_cache.Terms, space: _Space, automatic: bool, engine: Engine) -> Fit:
    layers = all_layers(model)
    longest = max(model.max_model_len, terms.max_model_len)
    possible = _longest(layers, terms, space.expected, longest)
    if automatic and possible:
        terms = terms._replace(max_model_len=min(possible, model.max_model_len))
    cache = t.cast(_kv_cache.KvCache, _kv_cache.plan(layers, terms))
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
        overhead_bytes_least=space.overhead.least if space.overhead else None,
        overhead_bytes_most=space.overhead.most if space.overhead else None,
        kv_tokens_least=cache.tokens(max(space.least, 0), terms.max_model_len, blocks)[0],
        kv_tokens_most=cache.tokens(max(space.most, space.expected, 0), terms.max_model_len, blocks)[0],
    )
    if space.most < space.expected or space.most <= 0:
        return found._replace(verdict=DOES_NOT_FIT, reasons=(*found.reasons, _no_room(space)))
    if cache.least > space.most:
        return found._replace(verdict=DOES_NOT_FIT, reasons=(*found.reasons, _too_long(terms, cache, space)))
    if cache.least > space.least:
        safe = _longest(layers, terms, space.least, longest)
        return found._replace(verdict=FITS, reasons=(*found.reasons, _may_fit(space, cache, safe)))
    return found._replace(verdict=FITS)


def _may_fit(space: _Space, cache: _kv_cache.KvCache, safe: int) -> str:
    """Return the sentence for a model that fits with less overhead, and does not with more."""
    overhead = t.cast(_memory.Overhead, space.overhead)
    bounds = f"between {_units.memory(overhead.least)} and {_units.memory(overhead.most)}"
    kind = "as measured before" if overhead.measured else "estimated"
    if cache.least > space.expected:
        text = f"fits only if less memory than usual is needed beside weights and KV cache ({bounds}, {kind})"
    else:
        text = f"may not fit: what is needed beside weights and KV cache lies {bounds} ({kind})"
    return f"{text}; max_model_len {safe} fits in any case" if safe else text


# --- limits that are no memory ----------------------------------------------------------------------------------------

# The first release that refuses more requests at once than there are blocks for their states.
# source: resolve_cudagraph_mode_and_sizes in vllm/config/compilation.py of 0.23 and 0.32.
_STATE_LIMIT = (0, 19, 0)
_FULL_GRAPHS_OFF = ("NONE", "PIECEWISE", 0, 1)


def _with_states(found: Fit, request: Request, model: Model, terms: _kv_cache.Terms, space: _Space) -> Fit:
    """Count a block for the states of each request that may run at once, where CUDA graphs are made of whole steps."""
    early = request.release is not None and request.release < _STATE_LIMIT
    layers = all_layers(model)
    if request.device != "cuda" or early or not _kv_cache.keeps_states(layers) or not _full_graphs(request.engine):
        return found
    cache = t.cast(_kv_cache.KvCache, _kv_cache.plan(layers, terms))
    override = _whole(request.engine, "num_gpu_blocks_override", 0)
    most, least = (override or max(one, 0) // cache.bytes_per_block for one in (space.most, space.least))
    wanted = sequences(request.engine, request.device, request.gpu)
    if wanted <= least or found.verdict != FITS:
        return found
    remedy = f"set engine.max_num_seqs: {least}" if least else "lower engine.max_num_seqs"
    told = f"max_num_seqs {wanted} needs as many blocks for states, and there are"
    found = found._replace(max_num_seqs_that_fits=least or None)
    if wanted > most:
        blocks = f"{most}" if most == least else f"{most} at most"
        return found._replace(verdict=DOES_NOT_FIT, reasons=(*found.reasons, f"{told} {blocks}; {remedy}"))
    reason = f"vLLM may refuse to start: {told} between {least} and {most}; {remedy}"
    return found._replace(reasons=(*found.reasons, reason))


def _full_graphs(engine: Engine) -> bool:
    if engine.get("enforce_eager") is True or engine.get("optimization_level") in (0, "0"):
        return False
    compilation = engine.get("compilation_config")
    mode = compilation.get("cudagraph_mode") if isinstance(compilation, t.Mapping) else None
    return (mode.upper() if isinstance(mode, str) else mode) not in _FULL_GRAPHS_OFF or mode is None


def _batch_problem(request: Request, model: Model, length: int) -> tuple[str, int] | None:
    """Return why vLLM refuses this size of a batch, and the least that it takes."""
    engine = request.engine
    batch = batched_tokens(engine, request.device, length, request.gpu)
    if request.gpu is None and "max_num_batched_tokens" not in engine and request.device == "cuda":
        return None  # vLLM's default depends on the GPU
    option = "set engine.max_num_batched_tokens:"
    count = sequences(engine, request.device, request.gpu)
    if batch < count:
        reason = f"max_num_batched_tokens {batch} is smaller than max_num_seqs {count}, which vLLM refuses"
        return f"{reason}; {option} {count}, or engine.max_num_seqs: {batch}", count
    if engine.get("enable_chunked_prefill") is False and batch < length:
        reason = f"max_num_batched_tokens {batch} is smaller than max_model_len {length}"
        return f"{reason}, which vLLM refuses without enable_chunked_prefill; {option} {length}", length
    tokens = _item_tokens(engine, model)
    if request.device == "cuda" and tokens > batch:
        reason = f"one image or video of this model has up to {tokens} tokens, which vLLM takes in one step only"
        return f"{reason}, and max_num_batched_tokens is {batch}; {option} {tokens}", tokens
    sizes = _capture_sizes(engine)
    if sizes and min(sizes) > batch and _full_graphs(engine):
        reason = f"each of compilation_config.cudagraph_capture_sizes is larger than max_num_batched_tokens {batch}"
        return f"{reason}; name one that is not, or {option} {min(sizes)}", min(sizes)
    return None


# The first release that makes its own default of a batch as large as the largest image or video.
# source: _get_min_mm_batched_tokens in vllm/engine/arg_utils.py: in 0.23, not in 0.19.
_RAISES = (0, 23)


def _raised(request: Request, model: Model) -> Request:
    """Return the request with what vLLM sets by itself for such a model: how long a batch is, and whether it is cut."""
    engine = request.engine
    if not any(model.layers):
        # A text whose tokens see what comes after them cannot be cut into steps.
        return request._replace(engine={"enable_chunked_prefill": False, **engine})
    early = request.release is not None and request.release[:2] < _RAISES
    if early or request.device != "cuda" or request.gpu is None or "max_num_batched_tokens" in engine:
        return request
    tokens = 0 if engine.get("language_model_only") is True else model.item_tokens  # whatever is let in
    length = request.max_model_len or _length(engine.get("max_model_len")) or model.max_model_len
    if tokens <= batched_tokens(engine, request.device, length, request.gpu):
        return request
    return request._replace(engine={**engine, "max_num_batched_tokens": tokens})


def _capture_sizes(engine: Engine) -> list[int]:
    compilation = engine.get("compilation_config")
    sizes = compilation.get("cudagraph_capture_sizes") if isinstance(compilation, t.Mapping) else None
    sizes = engine.get("cudagraph_capture_sizes") if sizes is None else sizes
    return [size for size in sizes if isinstance(size, int)] if isinstance(sizes, (list, tuple)) else []


def _item_tokens(engine: Engine, model: Model) -> int:
    """Return the tokens of the largest image or video that is let in; a limit of 0 keeps them out."""
    if engine.get("language_model_only") is True:
        return 0
    limits = engine.get("limit_mm_per_prompt")
    video = limits.get("video") if isinstance(limits, t.Mapping) else None
    if isinstance(video, t.Mapping):
        frames = video.get("num_frames")
        if video.get("count") == 0:
            return 0
        if isinstance(frames, int) and 0 < frames < 32:
            return model.item_tokens * frames // 32
    return 0 if video == 0 else model.item_tokens


# --- drafts -----------------------------------------------------------------------------------------------------------

_GUESSERS = ("ngram", "suffix", "ngram_gpu")  # which keep nothing
_DRAFT_METHODS = ("eagle", "eagle3", "draft_model")
_MOST_GUESSED = 1024


def _speculative(engine: Engine) -> t.Mapping[str, t.Any]:
    """Return engine.speculative_config where it means a model; empty where nothing is guessed, or without a model."""
    stated = engine.get("speculative_config")
    if not stated:
        return {}
    if not isinstance(stated, t.Mapping):
        raise CannotPredict("engine.speculative_config is not a mapping")
    return {} if stated.get("method") in _GUESSERS else stated


def _guessed(stated: t.Mapping[str, t.Any], default: int = 0) -> int:
    count = stated.get("num_speculative_tokens") or default
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _MOST_GUESSED:
        raise CannotPredict("engine.speculative_config has no num_speculative_tokens")
    return count


def _with_draft(model: Model, config: Config, request: Request, size: int) -> Model:
    """Return the model with what its draft keeps: layers of its own, or those of a second model."""
    engine = request.engine
    stated = _speculative(engine)
    if not stated:
        return model
    if _whole(engine, "pipeline_parallel_size", 1) > 1:
        raise CannotPredict("what a draft model needs with pipeline_parallel_size is not known")
    if stated.get("draft_tensor_parallel_size") not in (None, size):
        raise CannotPredict("what engine.speculative_config.draft_tensor_parallel_size changes is not known")
    method = str(stated.get("method") or "")
    if method == "mtp" or method.endswith("_mtp"):
        if stated.get("model") is not None:
            return _with_assistant(model, request, stated)
        layers, default = predicting_layers(config, size)
        return model._replace(draft=layers, guessed=_guessed(stated, default))
    if method not in _DRAFT_METHODS and not (method == "" and stated.get("model")):
        raise CannotPredict(f"what the method {method or '(none)'} of engine.speculative_config needs is not known")
    if request.draft_config is None:
        raise CannotPredict(
            f"the config.json of the draft model {str(stated.get('model'))[:80]} of engine.speculative_config is not "
            "known (draft_config)"
        )
    # The architecture of a draft is that of drafts, and does not generate by itself.
    plain = {key: value for key, value in request.draft_config.items() if key != "architectures"}
    draft = read_model(plain, size, request.release)
    return model._replace(draft=draft.layers, drafted=True, guessed=_guessed(stated))


def _with_assistant(model: Model, request: Request, stated: t.Mapping[str, t.Any]) -> Model:
    """Return the model with Gemma 4's assistant, which reads what the model keeps, and keeps nothing.

    source: Gemma4MTPModel in vllm/model_executor/models/gemma4_mtp.py of 0.32.
    """
    if model.model_type != "gemma4_text":
        raise CannotPredict(
            "what a model for prediction of its own (engine.speculative_config.model) keeps is not known"
        )
    return model._replace(guessed=_guessed(stated, 1))


def _longest(layers: _kv_cache.Layers, terms: _kv_cache.Terms, memory: int, longest: int) -> int:
    """Return the greatest length of which one request fits; 0 when none does."""

    def fits(length: int) -> bool:
        cache = t.cast(_kv_cache.KvCache, _kv_cache.plan(layers, terms._replace(max_model_len=length)))
        return cache.least <= memory

    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _no_room(space: _Space) -> str:
    least = space.overhead.least if space.overhead else 0
    parts = f"weights {_units.memory(space.weights or 0)} and at least {_units.memory(least)} besides"
    if space.stated:
        return f"kv_cache_memory_bytes {_units.memory(space.expected)} does not fit beside {parts}"
    return f"{parts} leave no memory for the KV cache"


def _too_long(terms: _kv_cache.Terms, cache: _kv_cache.KvCache, space: _Space) -> str:
    return (
        f"one request of max_model_len {terms.max_model_len} needs {_units.memory(cache.least)} of KV cache, "
        f"and there are {_units.memory(space.most)} at most"
    )


def _gpu_remarks(gpu: Gpu | None, model: Model) -> t.Iterator[str]:
    if gpu is not None and gpu.unified:
        yield "the memory of this GPU is the host's, and what else runs there takes of it"
    if _is_sparse(model) and (gpu is None or not gpu.compute_capability):
        yield "what sparse attention keeps is that on Hopper, because the GPU's compute capability is not known"


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
    """Return a number as vLLM reads it: 32768, 32k (32000), 32K (32768); None for what it is to find by itself."""
    if value in (None, "auto", -1, "-1"):
        return None
    match = _HUMAN.match(str(value))
    if not match:
        raise CannotPredict(f"{value!r} is not a number")
    return int(float(match.group(1)) * _FACTORS[match.group(2)])


_whole = _memory.whole

# The last release that counts the tokens of one step in flight in a window; since then it is one for each step.
# source: max_memory_usage_bytes of SlidingWindowSpec in vllm/v1/kv_cache_interface.py, 0.25 and 0.26.
_ONE_STEP = (0, 25)
# The first release that keeps one more state of Mamba 2 while it caches prefixes.
# source: num_prefill_checkpoint_blocks in vllm/v1/kv_cache_interface.py, 0.28 and 0.29.
_CHECKPOINTS = (0, 29)
# The last release that caches no prefixes of models with states unless it is told to.
# source: is_prefix_caching_supported in vllm/config/model.py, 0.25 and 0.26.
_NO_PREFIXES_OF_STATES = (0, 25)
# The last release that keeps a state of Mamba for each block of tokens while it caches prefixes.
# source: verify_and_update_config of MambaModelConfig in vllm/model_executor/models/config.py, 0.27 and 0.28.
_STATE_OF_EACH_BLOCK = (0, 27)


def _steps(engine: Engine, cpu: bool, stages: int, release: Release | None) -> int:
    """Return the number of steps whose tokens a window still keeps."""
    if release is not None and release[:2] <= _ONE_STEP:
        return 1
    return stages if cpu or engine.get("async_scheduling") is False else stages + 1


def _caches_prefixes(model: Model, engine: Engine, release: Release | None) -> bool:
    """Say whether prefixes are cached: as asked for, else vLLM's default, which was another one for states."""
    parts = [part for layer in all_layers(model) for part in layer]
    asked = engine.get("enable_prefix_caching")
    if release is None or not any(isinstance(part, State) for part in parts):
        return asked is not False
    caches = release[:2] > _NO_PREFIXES_OF_STATES if asked is None else asked is not False
    mamba = sum(isinstance(part, State) and part.mamba for part in parts)
    if (
        caches
        and release[:2] <= _STATE_OF_EACH_BLOCK
        and 0 < mamba < len(parts)
        and engine.get("mamba_cache_mode") != "align"
    ):
        raise CannotPredict(
            "how many states vLLM up to 0.27 keeps of Mamba while it caches prefixes is not known; set "
            "engine.enable_prefix_caching: false, or engine.mamba_cache_mode: align"
        )
    return caches


def terms_of(
    model: Model, engine: Engine, device: str, length: int, gpu: Gpu | None, release: Release | None = None
) -> _kv_cache.Terms:
    dtype_bytes = _DTYPE_BYTES.get(str(engine.get("dtype", "auto")), 2)
    cpu = device == "cpu"
    stages = _whole(engine, "pipeline_parallel_size", 1)
    block_size = _whole(engine, "block_size", 128 if cpu else 16)
    state = str(engine.get("mamba_ssm_cache_dtype", "auto"))
    batch = batched_tokens(engine, device, length, gpu)
    return _kv_cache.Terms(
        max_model_len=length,
        element_bytes=_element_bytes(model, engine, dtype_bytes),
        dtype_bytes=dtype_bytes,
        block_size=block_size,
        latent_block_size=16 if cpu else _whole(engine, "block_size", 64),
        kernel_block_size=32 if cpu else 16,
        in_flight=_steps(engine, cpu, stages, release) * batch,
        prefix_caching=_caches_prefixes(model, engine, release),
        state_bytes={"auto": 0, "float32": 4, "bfloat16": 2, "float16": 2}.get(state, 0) or (4 if cpu else 0),
        pipeline_parallel_size=stages,
        unwindowed=engine.get("disable_hybrid_kv_cache_manager") is True,
        speculated=model.guessed,
        retained=model.guessed - 1 if len(model.draft) > 1 and not model.drafted else 0,
        encoder_tokens=batch,
        sparse_token=_sparse_token(model, engine, gpu),
        checkpoints=release is None or release[:2] >= _CHECKPOINTS,
    )


# DeepSeek's packing of a token in fp8: 512 elements, 4 scales, and 64 elements in bfloat16.
# source: state_content_bytes in vllm/model_executor/layers/attention/mla_attention.py of 0.32.
_PACKED = 656
_SPARSE_WIDTH = 576


def _refuse_packing(model: Model, engine: Engine) -> None:
    """Refuse options by which DeepSeek V4 packs tokens in another way than the one that is known."""
    if not any(isinstance(part, Paged) for parts in model.layers for part in parts):
        return
    wanted = str(engine.get("kv_cache_dtype", "auto"))
    attention = engine.get("attention_config")
    if not (wanted == "auto" or wanted.startswith("fp8")) or engine.get("attention_backend") or attention:
        raise CannotPredict("what DeepSeek V4 keeps with another kv_cache_dtype or attention backend is not known")


def _is_sparse(model: Model) -> bool:
    return any(isinstance(part, Latent) and part.sparse for parts in model.layers for part in parts)


def _sparse_token(model: Model, engine: Engine, gpu: Gpu | None) -> int:
    """Return the bytes of a token in sparse latent attention on this GPU; 0 for one element after the other."""
    if not _is_sparse(model):
        return 0
    capability = gpu.compute_capability if gpu else 0.0
    wanted = str(engine.get("kv_cache_dtype", "auto"))
    wanted = model.kv_cache_dtype if wanted == "auto" else wanted
    if capability and not 9 <= capability < 10 and not (wanted == "bfloat16" and 10 <= capability < 11):
        raise CannotPredict(f"what sparse attention keeps on a GPU of compute capability {capability} is not known")
    if not wanted.startswith("fp8"):
        return 0
    widths = {part.width for parts in model.layers for part in parts if isinstance(part, Latent)}
    if widths != {_SPARSE_WIDTH}:
        raise CannotPredict("what sparse attention packs of another width than 576 is not known")
    return _PACKED


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
    """Return max_num_batched_tokens: as asked for, else what vLLM chooses for an API server on this device."""
    stated = _length(engine.get("max_num_batched_tokens"))
    if stated is not None:
        return stated
    tokens = (
        2048 * _world(engine)
        if device == "cpu"
        else _memory.default_batched_tokens(gpu.memory if gpu else 0, gpu.name if gpu else "")
    )
    if engine.get("performance_mode") == "throughput":
        tokens *= 2
    if engine.get("enable_chunked_prefill") is False:
        tokens = max(tokens, length)
    return min(tokens, length * sequences(engine, device, gpu))  # no more than all requests have


def sequences(engine: Engine, device: str, gpu: Gpu | None) -> int:
    """Return max_num_seqs: as asked for, else what vLLM chooses for an API server on this device."""
    if "max_num_seqs" in engine:
        return _whole(engine, "max_num_seqs", 1)
    count = (
        128 * _world(engine)
        if device == "cpu"
        else _memory.default_sequences(gpu.memory if gpu else 0, gpu.name if gpu else "")
    )
    count = 2 * count if engine.get("performance_mode") == "throughput" else count
    stated = _length(engine.get("max_num_batched_tokens"))
    return count if stated is None else min(count, stated)


def _world(engine: Engine) -> int:
    return _whole(engine, "tensor_parallel_size", 1) * _whole(engine, "pipeline_parallel_size", 1)


def _heads_problems(model: Model, size: int) -> t.Iterator[str]:
    if model.attention_heads and model.attention_heads % size:
        yield f"{model.attention_heads} attention heads cannot be divided by tensor_parallel_size {size}"


def _release_remarks(release: Release | None) -> t.Iterator[str]:
    if release is None:
        yield "the image's release is not known; the arithmetic is that of vLLM 0.32"
    elif not KNOWN[0] <= release[:2] <= KNOWN[1]:
        yield f"the arithmetic is that of vLLM 0.32, and the image holds {as_text(release)}"
