# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a GPU's memory is needed for besides the KV cache.

Weights follow from the sizes of their files. The rest can only be measured, which vLLM does at every start; until then
these are estimates, each with the least it can be: contexts and libraries (CUDA, cuBLAS, NCCL) 0.4 to 1.5 GiB, the
activations of one step with as many tokens as are batched or the sampler's logits, whichever is more, and CUDA graphs.
"""

from __future__ import annotations

import typing as t

from ...module_utils._vllm.options._release import Release
from ._layers import (
    Attention,
    CannotPredict,
    Latent,
    Model,
    State,
)

_GIB = 2**30
_HALF_LOADED = frozenset(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "experts_int8", "mxfp8"))

Engine = t.Mapping[str, t.Any]


class Overhead(t.NamedTuple):
    """What is needed besides weights and KV cache: what is expected, and between which bounds it lies."""

    expected: int
    least: int
    most: int
    measured: bool = False


def utilization(engine: Engine, release: Release | None) -> float:
    """Return the share of a GPU's memory that a server takes: as asked for, else vLLM's default (0.9 before 0.20)."""
    stated = engine.get("gpu_memory_utilization", engine.get("device_memory_utilization"))
    if stated is not None:
        try:
            share = float(stated)
        except (TypeError, ValueError):
            raise CannotPredict("engine.gpu_memory_utilization is not a number") from None
        if not 0 < share <= 1:
            raise CannotPredict(f"engine.gpu_memory_utilization is {share}, which is not between 0 and 1")
        return share
    return 0.9 if release is not None and release < (0, 20, 0) else 0.92


def weights_of_a_gpu(model: Model, engine: Engine, weight_bytes: int) -> int:
    """Return the bytes of weights on each GPU, from the bytes of all weight files."""
    gpus = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        gpus *= whole(engine, name, 1)
    if whole(engine, "data_parallel_size", 1) > 1 and model.experts and engine.get("enable_expert_parallel"):
        raise CannotPredict("how experts are spread over data parallel ranks is not known")
    size = float(weight_bytes)
    if model.dtype == "float32" and not model.quantization and engine.get("dtype", "auto") not in ("float32", "float"):
        size /= 2
    wanted = engine.get("quantization")
    if wanted and not model.quantization:
        if wanted not in _HALF_LOADED:
            raise CannotPredict(f"what weights need that are quantized to {wanted} while they are loaded is not known")
        size *= 0.55  # embeddings and the head stay as they are
    return max(0, int(size / gpus) - int(_offloaded(engine) * _GIB))


def _offloaded(engine: Engine) -> float:
    try:
        size = float(engine.get("cpu_offload_gb", 0))
    except (TypeError, ValueError):
        raise CannotPredict("engine.cpu_offload_gb is not a number") from None
    if not 0 <= size < 2**20:
        raise CannotPredict(f"engine.cpu_offload_gb is {size}, which is not known")
    return size


def whole(engine: Engine, name: str, default: int) -> int:
    """Return an option that counts something, from 1 on."""
    value = engine.get(name, default)
    try:
        number = int(str(value))
    except ValueError:
        raise CannotPredict(f"engine.{name} is not a number") from None
    if not 0 < number <= 2**40 and number != default:
        raise CannotPredict(f"engine.{name} is {number}, which is not known")
    return number


def overhead(model: Model, engine: Engine, batched_tokens: int, sequences: int) -> Overhead:
    size = whole(engine, "tensor_parallel_size", 1)
    step = batched_tokens * (model.hidden_size + 3 * model.intermediate_size // size) * 2
    # Sampling for as many requests as there may be is tried out after the step, in float32.
    requests = 0 if model.pools else min(batched_tokens, sequences)
    logits = requests * model.vocab_size * 4
    # Up to 1,024 one such array was seen at a time (vLLM 0.23 on H100 and H200); with 8,192 three and a half.
    sorting = int(2.5 * max(0, requests - _ONE_ARRAY) * model.vocab_size * 4)
    contexts = int((0.9 if size > 1 else 0.6) * _GIB)
    graphs = 0 if engine.get("enforce_eager") is True else int(0.7 * _GIB)
    expected = max(step, logits + sorting) + contexts + graphs
    least = max(step // 4, logits // 2) + int(0.4 * _GIB)
    return Overhead(expected=expected, least=least, most=expected + _doubt(model, engine, size, batched_tokens))


_ONE_ARRAY = 1024  # requests

# How much more was measured than is expected, at most: of servers on H100 and H200 (vLLM 0.23), and of public logs.
_DOUBT = int(0.3 * _GIB)  # dense models
_DOUBT_QUANTIZED = int(0.7 * _GIB)  # dense models with quantized weights (Qwen3-32B in AWQ)
_DOUBT_STATES = int(1.0 * _GIB)  # states beside attention (Falcon H1 7B)
_DOUBT_WINDOWS = int(2.6 * _GIB)  # windows (Gemma 3 27B), and latent attention with its work space
# Models with an encoder: Qwen3.6-27B in fp8 on an H100 had 856 blocks where 923 are expected, each of 51 MiB.
_DOUBT_ENCODER = int(4.2 * _GIB)
_DOUBT_EXPERTS = int(2.1 * _GIB)  # mixtures of experts on one GPU (Granite 4 H Small)
_DOUBT_SPREAD = int(6.5 * _GIB)  # mixtures of experts on several: MiniMax-M2.5 on 4 took 8.1 GiB where 2.4 are expected
_LARGE_GRAPHS = int(2.8 * _GIB)  # CUDA graphs of 94 layers of experts took 3.45 GiB where 0.7 are expected


def _doubt(model: Model, engine: Engine, size: int, batched_tokens: int) -> int:
    """Return how much more than expected may be needed."""
    if model.experts and size > 1:
        graphs = 0 if engine.get("enforce_eager") is True else _LARGE_GRAPHS
        # A token is copied for each of its experts.
        copies = batched_tokens * max(1, model.active_experts) * model.hidden_size * 2
        return max(_DOUBT_SPREAD, graphs + copies)
    if model.encodes and engine.get("language_model_only") is not True:
        return _DOUBT_ENCODER
    if model.experts:
        return _DOUBT_EXPERTS
    parts = [part for layer in model.layers for part in layer]
    if any(isinstance(part, Latent) or (isinstance(part, Attention) and part.window) for part in parts):
        return _DOUBT_WINDOWS
    if any(isinstance(part, State) for part in parts):
        return _DOUBT_STATES
    return _DOUBT_QUANTIZED if model.quantization else _DOUBT


def measured(overhead_bytes: int | None) -> Overhead | None:
    """Return the overhead that a start measured, with a margin: another start may have a little less or more."""
    if overhead_bytes is None:
        return None
    return Overhead(overhead_bytes, overhead_bytes * 9 // 10, overhead_bytes * 11 // 10, measured=True)


def _large(memory: int, name: str) -> bool:
    return memory >= 70 * _GIB and "a100" not in name.lower()


def default_batched_tokens(memory: int, name: str) -> int:
    """Return the default max_num_batched_tokens of an API server on a GPU with this memory in bytes."""
    if memory >= 160 * _GIB:
        return 16384
    return 8192 if _large(memory, name) else 2048


def default_sequences(memory: int, name: str) -> int:
    """Return the default max_num_seqs of an API server on a GPU with this memory in bytes."""
    return 1024 if _large(memory, name) else 256
