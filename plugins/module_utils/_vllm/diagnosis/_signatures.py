# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The failures that this collection knows: the words by which each is recognized, its cause, and what to change.

A pattern is held against the whole text of an exception, against lines of a log that belong to none, and against what
the engine says of a container. Lines of INFO and DEBUG never get here.
"""

from __future__ import annotations

import math
import re
import typing as t

from ..options._argv import normal_name
from ..options._option_table import OPTIONS

ROOT = 0  # says exactly what is wrong
LIKELY = 1  # points at it; something with rank 0 may say more
SYMPTOM = 2  # what is seen when something else has failed; an exception that is not known says more

Groups = t.Mapping[str, str]


class Context(t.NamedTuple):
    """What the rest of the log tells: the release, the tensor parallel size, and the functions that failed."""

    release: tuple[int, ...] = ()
    tensor_parallel_size: int = 0
    functions: frozenset[str] = frozenset()


def _always(groups: Groups, context: Context) -> bool:
    return True


def _nothing(groups: Groups, context: Context) -> dict[str, str]:
    return {}


class Signature(t.NamedTuple):
    """A known failure. ``cause``, ``fix`` and ``variable`` may name the pattern's groups in braces.

    A failure that ``explains`` others may stand in a warning before them, and is then the cause.
    """

    id: str
    pattern: re.Pattern[str]
    cause: str
    fix: str
    rank: int
    variable: str
    value: t.Callable[[Groups, Context], t.Any]
    applies: t.Callable[[Groups, Context], bool]
    derive: t.Callable[[Groups, Context], t.Mapping[str, str]]
    explains: tuple[str, ...]


def _signature(
    name: str,
    pattern: str,
    cause: str,
    fix: str,
    rank: int = ROOT,
    variable: str = "",
    value: t.Any = None,
    applies: t.Callable[[Groups, Context], bool] = _always,
    derive: t.Callable[[Groups, Context], t.Mapping[str, str]] = _nothing,
    explains: tuple[str, ...] = (),
) -> Signature:
    """Make a signature; ``value`` is the value itself, or computes it from the pattern's groups and the context."""
    compute = value if callable(value) else lambda groups, context: value
    return Signature(
        name, re.compile(pattern, re.MULTILINE), cause, fix, rank, variable, compute, applies, derive, explains
    )


# --- values that follow from what was said ----------------------------------------------------------------------------


def _number(group: str) -> t.Callable[[Groups, Context], int | None]:
    """Return a function that reads the number in a group; it gives None where the log did not say the number."""
    return lambda groups, context: int(groups[group]) if str(groups.get(group) or "").isdigit() else None


def _share_that_fits(groups: Groups, context: Context) -> float:
    """Return the part of the GPU that is free, rounded down, less 2 % for what comes and goes."""
    return max(0.01, round(math.floor(100 * float(groups["free"]) / float(groups["total"])) / 100 - 0.02, 2))


def _share_beside(groups: Groups, context: Context) -> float:
    """Return the part of the GPU that another process leaves, rounded down, less 2 % for what comes and goes."""
    total = _bytes(groups["total"], "GiB")
    free = max(0.0, total - _bytes(groups["taken"], groups["taken_unit"]))
    return max(0.01, round(math.floor(100 * free / total) / 100 - 0.02, 2))


def _largest_divisor(groups: Groups, context: Context) -> int:
    """Return the largest tensor parallel size, up to the one asked for, that divides the heads."""
    heads, size = int(groups["heads"]), int(groups["size"])
    return max(number for number in range(1, size + 1) if heads % number == 0)


def _next_lora_rank(groups: Groups, context: Context) -> int:
    return next((rank for rank in (8, 16, 32, 64, 128, 256, 320, 512) if rank >= int(groups["rank"])), 512)


def _shared_memory(groups: Groups, context: Context) -> str:
    """Return a size of shared memory that is enough: the need in whole GiB, and one more."""
    return f"{math.ceil(int(groups['need']) / 1024) + 1}g"


def _tensor_parallel_that_divides(groups: Groups, context: Context) -> int | None:
    """Return the largest smaller size whose parts of the weights are whole blocks; None where that is not known."""
    part, block, size = int(groups["size"]), int(groups["block"]), context.tensor_parallel_size
    fitting = [one for one in range(1, size) if size % one == 0 and part * (size // one) % block == 0]
    return max(fitting, default=None)


def _dtype_that_is_supported(groups: Groups, context: Context) -> str:
    """Return a type among those that the message lists; half where it lists none, as older releases do not."""
    supported = re.findall(r"torch\.(\w+)", groups.get("supported") or "")
    if not supported:
        return "bfloat16" if groups["dtype"] == "float16" else "half"
    wanted = next((name for name in ("float16", "bfloat16", "float32") if name in supported), supported[0])
    return "half" if wanted == "float16" else wanted


def _bytes(number: str, unit: str) -> float:
    return float(number) * {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(unit, 1)


def _allocates_kv_cache(groups: Groups, context: Context) -> bool:
    """Tell whether it was the KV cache itself that found no room, and not what a step needs besides."""
    return any("allocate_kv_cache" in function for function in context.functions)


def _had_enough(groups: Groups, context: Context) -> bool:
    """Tell whether the GPU had more free memory than was asked for, so that it was not the GPU's that ran out."""
    return _bytes(groups["free"], groups["free_unit"]) > _bytes(groups["want"], groups["want_unit"])


def _much_is_taken(groups: Groups, context: Context) -> bool:
    """Tell whether the other process has so much of the GPU that it matters: a tenth."""
    return _bytes(groups["taken"], groups["taken_unit"]) * 10 >= _bytes(groups["total"], "GiB")


def options_in(text: str, loosely: bool = False) -> list[str]:
    """Return vLLM's options that a sentence names, in its order; loosely, also those that it writes as plain words."""
    named = []
    for word in re.findall(
        # The dtype of a tensor, which stands before it, is none.
        r"--[a-z][\w-]+|[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?: dtype\b)?|(?<=[`'\"])[a-z]+(?=[`'\"= ])|\bdtype\b",
        text,
    ):
        name = normal_name(word.partition(" ")[0])
        if name in OPTIONS and name not in named:
            named.append(name)
    if loosely and not named:
        # In the singular as well: a message is about one of several.
        plain = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
        named = [name for name in OPTIONS if "_" in name and f" {name.replace('_', ' ').rstrip('s')}" in f" {plain}"]
    return named


def _names_options(groups: Groups, context: Context) -> bool:
    return bool(options_in(groups["reason"])) or groups.get("kind") != "ModelConfig"


def _first_option(groups: Groups, context: Context) -> dict[str, str]:
    """Return the option that a refusal names first, and how to speak of those it names."""
    named = [f"engine.{name}" for name in options_in(groups["reason"])]
    return {"option": named[0] if named else "", "options": " or ".join(named) or "the option that this names"}


def _field_of_option(groups: Groups, context: Context) -> dict[str, str]:
    """Return the option that a refused field belongs to: a mapping, as with SpeculativeConfig, or itself."""
    option = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", groups["kind"]).lower()
    if option not in OPTIONS or groups["field"] in OPTIONS:
        return {"option": groups["field"], "where": f"engine.{groups['field']}"}
    return {"option": option, "where": f"{groups['field']} in engine.{option}"}


def _parser_option(groups: Groups, context: Context) -> dict[str, str]:
    """Return the option that names a parser, by what the parser looks for."""
    thinks = re.search(r"reason|think", f"{groups['parser']} {groups['what']}", re.IGNORECASE)
    return {"option": "engine.reasoning_parser" if thinks else "engine.tool_call_parser"}


def _attention(groups: Groups, context: Context) -> dict[str, str]:
    """Return how another attention kernel is chosen in this release."""
    new, old = "engine.attention_backend: TRITON_ATTN", "VLLM_ATTENTION_BACKEND: TRITON_ATTN_VLLM_V1 in env"
    if not context.release:
        return {"attention": f"{new} (before 0.13: {old})"}
    return {"attention": new if context.release >= (0, 13) else old}


def _in_load_weights(groups: Groups, context: Context) -> bool:
    """Tell whether weights were being put into the model."""
    return any("load" in name and "weight" in name for name in context.functions)


def _image_variant(groups: Groups, context: Context) -> dict[str, str]:
    """Return what an image for an older CUDA is, where there is one."""
    cuda = tuple(int(part) for part in groups["cuda"].split(".") if part)
    if cuda >= (13,):
        return {"variant": ", which needs 580 or newer for CUDA 13, or use the image tag with -cu129"}
    return {"variant": f" to one for CUDA {groups['cuda']} or newer, or use an older image"}


SIGNATURES = (
    # --- memory ---
    _signature(
        "no_kv_memory",
        r"No available memory for the cache blocks",
        "the model's weights and working memory leave nothing of its share of the GPU for the KV cache",
        "raise engine.gpu_memory_utilization, spread over more GPUs (gpus), use a quantized model, or lower "
        "engine.max_num_batched_tokens and engine.max_num_seqs",
        variable="engine.gpu_memory_utilization",
    ),
    _signature(
        "context_exceeds_kv",
        r"max seq len \((?P<length>\d+)\), \((?P<need>[\d.]+) GiB KV cache is needed, which is larger than the "
        r"available KV cache memory \((?P<have>[\d.]+) GiB\)(?:.*estimated maximum model length is (?P<fits>\d+))?",
        "a context of {length} tokens needs {need} GiB of KV cache and {have} GiB are available",
        "lower engine.max_model_len to {fits} (or set it to auto), give it more memory "
        "(engine.gpu_memory_utilization, engine.kv_cache_memory_bytes, more GPUs), or set engine.kv_cache_dtype: fp8",
        variable="engine.max_model_len",
        value=_number("fits"),
    ),
    _signature(
        "context_exceeds_kv_old",
        r"max seq len \((?P<length>\d+)\) is larger than the maximum number of tokens that can be stored in KV cache "
        r"\((?P<fits>\d+)\)",
        "a context of {length} tokens does not fit in a KV cache of {fits} tokens",
        "set engine.max_model_len to {fits} or less, or raise engine.gpu_memory_utilization",
        variable="engine.max_model_len",
        value=_number("fits"),
    ),
    _signature(
        "gpu_shared",
        r"Free memory on device (?:\S+ )?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired "
        r"GPU memory utilization \((?P<share>[\d.]+), (?P<want>[\d.]+) GiB\)",
        "something else uses the GPU: {free} of {total} GiB are free, and a share of {share} is {want} GiB",
        "free the GPU (nvidia-smi shows who holds it), choose another in gpus, or lower engine.gpu_memory_utilization "
        "below {free}/{total}",
        variable="engine.gpu_memory_utilization",
        value=_share_that_fits,
    ),
    _signature(
        "profiling_disturbed",
        r"Error in memory profiling\. Initial free memory",
        "another process freed GPU memory while vLLM was measuring it",
        "start servers that share a GPU one after the other",
    ),
    _signature(
        "weights_do_not_fit",
        r"Failed to load model - not enough GPU memory",
        "the weights do not fit into the GPU's memory",
        "spread over more GPUs (gpus), or use a smaller or quantized model",
        variable="gpus",
    ),
    _signature(
        "sampler_out_of_memory",
        r"out of memory occurred when warming up sampler with (?P<count>\d+) dummy requests",
        "no memory was left to sample {count} requests at once",
        "lower engine.max_num_seqs or engine.gpu_memory_utilization",
        variable="engine.max_num_seqs",
        value=lambda groups, context: max(1, int(groups["count"]) // 2),
    ),
    _signature(
        "autofit_nothing",
        r"Cannot auto-fit max_model_len: not enough GPU memory",
        "not even one token of context fits beside the weights",
        "raise engine.gpu_memory_utilization, spread over more GPUs (gpus), or use a quantized model",
        variable="engine.gpu_memory_utilization",
    ),
    _signature(
        "state_blocks",
        r"max_num_seqs \((?P<seqs>\d+)\) exceeds available Mamba cache\s+blocks \((?P<blocks>\d+)\)",
        "the KV cache holds the states of {blocks} requests, and {seqs} may run at once",
        "set engine.max_num_seqs to {blocks} or less, or raise engine.gpu_memory_utilization",
        variable="engine.max_num_seqs",
        value=_number("blocks"),
    ),
    _signature(
        "multimodal_item",
        r"max_tokens_per_mm_item \((?P<need>\d+)\) is larger than max_num_batched_tokens\s+\((?P<batch>\d+)\)",
        "one picture, video or sound is up to {need} tokens, and a batch holds {batch}",
        "set engine.max_num_batched_tokens to {need} or more",
        variable="engine.max_num_batched_tokens",
        value=_number("need"),
    ),
    _signature(
        "cpu_memory",
        r"Available memory on node (?P<node>\S+) \(.*\) on kv cache allocation is less than requested memory for kv|"
        r"The worker already uses (?P<used>[\d.]+) GiB",
        "the host's memory does not hold the KV cache that was asked for",
        "lower VLLM_CPU_KVCACHE_SPACE in env, or engine.kv_cache_memory_bytes, or free memory on the host",
        variable="engine.kv_cache_memory_bytes",
    ),
    _signature(
        "cpu_shared",
        r"Available memory on node \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired CPU "
        r"memory utilization \((?P<share>[\d.]+), (?P<want>[\d.]+) GiB\)",
        "{free} of the host's {total} GiB are free, and a share of {share} is {want} GiB",
        "set engine.kv_cache_memory_bytes to what the KV cache may take, or lower engine.gpu_memory_utilization, which "
        "is a share of the host's memory here",
        variable="engine.gpu_memory_utilization",
        value=_share_that_fits,
    ),
    _signature(
        "gpu_memory_refused",
        r"Tried to allocate (?P<want>[\d.]+) (?P<want_unit>[KMG]iB|bytes)\. GPU \d+ has a total capacity of "
        r"(?P<total>[\d.]+) "
        r"GiB of which (?P<free>[\d.]+) (?P<free_unit>[KMG]iB|bytes) is free",
        "the GPU refused {want} {want_unit} though {free} {free_unit} of it are free, so another limit was reached",
        "look for a limit of memory outside of the GPU: the host's own memory, that of WSL or of a virtual machine, or "
        "a "
        "limit on locked memory",
        applies=_had_enough,
    ),
    _signature(
        "gpu_memory_shared",
        r"OutOfMemoryError: (?:CUDA|HIP) out of memory.*GPU (?P<gpu>\d+) has a total capacity "
        r"of (?P<total>[\d.]+) GiB .*\bProcess (?P<pid>\d+) has "
        r"(?P<taken>[\d.]+) (?P<taken_unit>[KMG]iB|bytes) memory in use",
        "GPU {gpu} ran out of memory, and process {pid} of the host has {taken} {taken_unit} of its {total} GiB",
        "end process {pid} if it is not wanted, or lower engine.gpu_memory_utilization to what it leaves",
        LIKELY,
        variable="engine.gpu_memory_utilization",
        value=_share_beside,
        applies=_much_is_taken,
    ),
    _signature(
        "kv_cache_refused",
        r"OutOfMemoryError: (?:CUDA|HIP) out of memory",
        "the GPU has less free memory than the KV cache was to take",
        "lower engine.kv_cache_memory_bytes, or leave it out, for vLLM does not hold it against what is free; where it "
        "is not set, another process took memory during the start: look with nvidia-smi",
        LIKELY,
        variable="engine.kv_cache_memory_bytes",
        applies=_allocates_kv_cache,
    ),
    _signature(
        "cuda_out_of_memory",
        r"(?:torch\.(?:cuda\.)?)?OutOfMemoryError: (?:CUDA|HIP) out of memory",
        "the GPU ran out of memory",
        "lower engine.gpu_memory_utilization, engine.max_num_seqs or engine.max_cudagraph_capture_size, or spread over "
        "more GPUs (gpus)",
        LIKELY,
        variable="engine.gpu_memory_utilization",
    ),
    # --- shapes and parallelism ---
    _signature(
        "heads_not_divisible",
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<size>\d+)\)",
        "the model's {heads} attention heads cannot be divided among {size} GPUs",
        "set engine.tensor_parallel_size to a divisor of {heads}; engine.pipeline_parallel_size can use the other GPUs",
        variable="engine.tensor_parallel_size",
        value=_largest_divisor,
    ),
    _signature(
        "not_divisible",
        r"^AssertionError: (?P<heads>\d+) is not divisible by (?P<size>\d+)$",
        "a part of the model of size {heads} cannot be divided among {size} GPUs",
        "set engine.tensor_parallel_size to a divisor of {heads}; engine.pipeline_parallel_size can use the other GPUs",
        variable="engine.tensor_parallel_size",
        value=_largest_divisor,
    ),
    _signature(
        "too_few_gpus",
        r"World size \((?P<want>\d+)\) is larger than the number of available GPUs \((?P<have>\d+)\)",
        "the options spread the model over {want} GPUs and the container sees {have}",
        "list {want} GPUs in gpus, or lower engine.tensor_parallel_size and engine.pipeline_parallel_size",
        variable="gpus",
        value=_number("want"),
    ),
    _signature(
        "block_not_divisible",
        r"= (?P<size>\d+) is not divisible by weight quantization block_(?P<axis>[nk]) = (?P<block>\d+)",
        "the weights are quantized in blocks of {block}, and a GPU's part of {size} is not a whole number of them",
        "lower engine.tensor_parallel_size, or set engine.enable_expert_parallel: true for a mixture-of-experts model",
        variable="engine.tensor_parallel_size",
        value=_tensor_parallel_that_divides,
    ),
    _signature(
        "partition_not_divisible",
        r"Weight (?:in|out)put_size_per_partition = \S+ is not divisible by|not aligned with the quantized weight "
        r"shape",
        "the quantized weights cannot be divided among that many GPUs",
        "lower engine.tensor_parallel_size, or set engine.enable_expert_parallel: true for a mixture-of-experts model",
        variable="engine.tensor_parallel_size",
    ),
    _signature(
        "context_exceeds_model",
        r"User-specified max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len "
        r"\((?P<key>\w+)=(?P<limit>\d+)",
        "engine.max_model_len is {length}, and the model's config.json allows {limit} ({key})",
        "set engine.max_model_len to {limit} or less; for a model made to be stretched, set engine.hf_overrides as its "
        "card says",
        variable="engine.max_model_len",
        value=_number("limit"),
    ),
    _signature(
        "batch_too_small",
        r"max_num_batched_tokens \((?P<batch>\d+)\) (?:is smaller than max_model_len \((?P<length>\d+)\)|must be "
        r"greater than or equal to max_num_seqs \((?P<seqs>\d+)\))",
        "engine.max_num_batched_tokens ({batch}) is too small for the other options",
        "raise engine.max_num_batched_tokens, or lower engine.max_model_len and engine.max_num_seqs",
        variable="engine.max_num_batched_tokens",
        value=lambda groups, context: _number("length")(groups, context) or _number("seqs")(groups, context),
    ),
    _signature(
        "data_parallel_dense",
        r"Non-MoE models do not support external data parallel mode",
        "data parallelism across servers is for mixture-of-experts models only",
        "leave the data_parallel options out and declare one instance for each replica",
        variable="engine.data_parallel_size",
    ),
    _signature(
        "lora_rank",
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<limit>\d+)",
        "an adapter has rank {rank} and engine.max_lora_rank is {limit}",
        "set engine.max_lora_rank to {rank} or more",
        variable="engine.max_lora_rank",
        value=_next_lora_rank,
    ),
    _signature(
        "lora_missing",
        r"Loading lora adapter failed: No adapter found for (?P<path>\S+)",
        "the LoRA adapter {path} is not in the container",
        "mount its folder under volumes, and name it in engine.lora_modules by its path in the container",
        variable="engine.lora_modules",
    ),
    _signature(
        "lora_kind",
        r"(?P<what>\S+ is unsupported LoRA weight|only supports modules_to_save being[^.\n]*|unsupported "
        r"modules_to_save|"
        r"does not (?:yet )?support (?:DoRA|LoRA bias|modules_to_save)|expected target modules in [^\n]*|"
        r"unexpected modules[^\n]*)",
        "the adapter was made in a way that vLLM cannot use: {what}",
        "use another adapter in engine.lora_modules: one that holds LoRA weights only, for modules of this model",
        variable="engine.lora_modules",
    ),
    _signature(
        "lora_unsupported",
        r"(?P<model>\w+) does not support LoRA(?: yet)?\b|LoRA is not (?:yet )?supported",
        "vLLM has no LoRA for this model or these options",
        "leave engine.enable_lora and engine.lora_modules out, or use a newer image",
        variable="engine.enable_lora",
    ),
    _signature(
        "nodes_not_dividing",
        r"`--nnodes (?P<nodes>\d+)` must evenly divide the total world size",
        "the GPUs of all nodes together cannot be divided among {nodes} nodes",
        "make engine.tensor_parallel_size times engine.pipeline_parallel_size a multiple of engine.nnodes",
        variable="engine.nnodes",
    ),
    _signature(
        "no_front_end",
        r"Did not receive response from front-end process within (?P<minutes>\d+) minutes",
        "this node waited {minutes} minutes for the one with the API server",
        "start the first node as well, and let the nodes reach each other on all TCP ports (engine.master_addr)",
        variable="engine.master_addr",
    ),
    # --- hardware, driver, container runtime ---
    _signature(
        "bfloat16_unsupported",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\. Your (?P<gpu>.+?) GPU has "
        r"compute capability (?P<capability>\d+(?:\.\d+)?)",
        "the {gpu} (compute capability {capability}) cannot compute in bfloat16",
        "leave engine.dtype out, or set it to half",
        variable="engine.dtype",
        value="half",
    ),
    _signature(
        "float16_unsupported",
        r"The model type '(?P<kind>\S+)' does not support float16",
        "a model of type {kind} cannot run in float16",
        "leave engine.dtype out on a GPU with bfloat16, or set it to float32",
        variable="engine.dtype",
        value="bfloat16",
    ),
    _signature(
        "quantization_hardware",
        r"The quantization method (?P<method>\S+) is not supported for the current GPU\. Minimum capability: "
        r"(?P<need>\d+)\. Current capability: (?P<have>\d+)",
        "{method} weights need a GPU of compute capability {need}, this one has {have}",
        "use a newer image, a model quantized in another way, or another GPU",
        variable="model",
    ),
    _signature(
        "quantization_scheme_hardware",
        r"Quantization scheme is not supported for the current GPU\. (?:Min|Required) capability: (?P<need>\d+)\. "
        r"Current capability: (?P<have>\d+)",
        "the weights need a GPU of compute capability {need}, this one has {have}",
        "use a newer image, weights quantized in another way, or another GPU",
        variable="model",
    ),
    _signature(
        "fp8_kv_cache_unsupported",
        r"FP8 KV cache (?:is not supported|requires|on CPU requires)[^\n]*",
        "this GPU or kernel cannot hold the KV cache in FP8",
        "leave engine.kv_cache_dtype out",
        variable="engine.kv_cache_dtype",
    ),
    _signature(
        "fp8_unsupported",
        r"type fp8e4(?:nv|b8|m3\w*) not supported in this architecture|fp8e4nv data type is not supported on CUDA arch|"
        r"FP8 .{0,60}(?:requires|only supported on).{0,40}(?:8\.9|89|9\.0|Hopper|Ada)",
        "this GPU cannot compute FP8 in the way that the image does it; that needs compute capability 8.9 or newer",
        "use weights quantized in another way (AWQ, GPTQ), leave engine.kv_cache_dtype out, use a newer image, or "
        "another "
        "GPU",
        variable="model",
    ),
    _signature(
        "kernel_for_gpu",
        r"kernel does not support (?:the )?current device ?(?P<device>[^\n]*?)\.?$|"
        r"No (?P<weights>\w+) MoE backend supports the deployment configuration",
        "the image has no kernel that computes such weights {weights} on this GPU {device}",
        "leave engine.moe_backend out, use a newer image, weights quantized in another way, or another GPU",
        variable="image",
    ),
    _signature(
        "moe_backend",
        r"MoE backend '?(?P<backend>[\w.]+)'? does not support the\s+deployment configuration since (?P<reason>[^\n]*)",
        "the kernel {backend} for the experts does not do what the options ask for: {reason}",
        "leave engine.moe_backend out, or the option that this names",
        variable="engine.moe_backend",
    ),
    _signature(
        "quantization_dtype",
        r"torch\.(?P<dtype>\w+) is not supported for quantization method (?P<method>\S+?)\.?"
        r"(?: Supported dtypes: \[(?P<supported>[^\]]*)\]|\s|$)",
        "{method} weights cannot be computed in {dtype}",
        "leave engine.dtype out, or set it to {wanted}",
        variable="engine.dtype",
        value=_dtype_that_is_supported,
        derive=lambda groups, context: {"wanted": _dtype_that_is_supported(groups, context)},
    ),
    _signature(
        "quantization_unknown",
        r"Unknown quantization method:? (?P<method>[^.\s]+)|Found unknown quantization",
        "this image does not know how the model's weights are quantized ({method})",
        "use a newer image; if engine.quantization, engine.config_format or engine.load_format is set, leave it out",
        variable="image",
    ),
    _signature(
        "quantization_mismatch",
        r"Quantization method specified in the model config .* does not match|Cannot find the config file for \w+",
        "engine.quantization does not fit the model's files",
        "leave engine.quantization out; vLLM reads it from the model",
        variable="engine.quantization",
    ),
    _signature(
        "driver_too_old_image",
        r"unsatisfied condition: cuda\s*>=\s*(?P<cuda>[\d.]+)",
        "the image needs a driver for CUDA {cuda}, and the host's is older",
        "update the NVIDIA driver{variant}",
        variable="image",
        derive=_image_variant,
    ),
    _signature(
        "nvidia_hook_no_driver",
        r"nvidia-container-cli: initialization error: (?P<reason>(?:load library failed: libnvidia-ml|"
        r"nvml error: (?:driver not loaded|insufficient permissions)|driver)[^\n]*)",
        "the host has no working NVIDIA driver: {reason}",
        "install the driver, or load its modules (nvidia-smi on the host must list the GPUs), and run again",
    ),
    _signature(
        "unknown_device",
        r"nvidia-container-cli: device error: (?P<device>.*?): unknown device|"
        r"error gathering device information while adding custom device \"(?P<path>/dev/nvidia[^\"]*)\"",
        "the host has no GPU {device}{path}",
        "correct gpus; nvidia-smi --list-gpus on the host names those there are",
        variable="gpus",
    ),
    _signature(
        "nvidia_hook",
        r"nvidia-container-cli: (?P<reason>[^\n]*)",
        "NVIDIA's container toolkit refused: {reason}",
        "apply the role private_llm.fleet.nvidia_toolkit, and see that nvidia-smi works on the host",
        LIKELY,
    ),
    _signature(
        "nvidia_cli_missing",
        r"couldn't find binary nvidia-container-cli in PATH|"
        r"exec: \"nvidia-container-cli\": executable file not found",
        "a part of NVIDIA's container toolkit is missing on this host: its program nvidia-container-cli",
        "install the package libnvidia-container-tools, which the role private_llm.fleet.nvidia_toolkit does, or set "
        "nvidia_toolkit_cdi to true, which does without that program",
        variable="nvidia_toolkit_cdi",
    ),
    _signature(
        "no_gpu_runtime",
        r"could not select device driver \"[^\"]*\" with capabilities: \[\[gpu\]\]|"
        r"unknown or invalid runtime name: nvidia|failed to discover GPU vendor from CDI",
        "Docker cannot give a GPU to a container on this host",
        "apply the role private_llm.fleet.nvidia_toolkit; after installing the toolkit Docker must be restarted",
    ),
    _signature(
        "cdi_off",
        r"could not select device driver \"cdi\"",
        "the container asks for its GPUs by CDI, and Docker does not inject them",
        "apply the role private_llm.fleet.nvidia_toolkit, which switches CDI on in Docker 25 and newer; right after a "
        "start of the engine, run again",
    ),
    _signature(
        "cdi_unresolvable",
        r"unresolvable CDI devices (?P<devices>\S+)",
        "no CDI specification on the host names {devices}",
        "restart nvidia-cdi-refresh.service (or run nvidia-ctk cdi generate) after a change of driver or MIG layout",
    ),
    _signature(
        "driver_mismatch",
        r"Driver/library version mismatch|Error 803: system has unsupported display driver",
        "the loaded NVIDIA kernel module and the driver's libraries are of different versions",
        "restart the host, or unload and load the nvidia modules",
        explains=("no_gpu_visible", "no_cuda_gpus"),
    ),
    _signature(
        "forward_compatibility",
        r"Error 804: forward compatibility was attempted on non supported HW",
        "the image's CUDA compatibility libraries do not work on this GPU",
        "update the NVIDIA driver, and leave VLLM_ENABLE_CUDA_COMPATIBILITY out of env",
        variable="env.VLLM_ENABLE_CUDA_COMPATIBILITY",
    ),
    _signature(
        "driver_too_old",
        r"The NVIDIA driver on your system is too old",
        "the host's NVIDIA driver is too old for this image",
        "update the driver (CUDA 13 needs 580 or newer), or use the image tag with -cu129",
        variable="image",
        explains=("no_gpu_visible", "no_cuda_gpus"),
    ),
    _signature(
        "gpu_architecture",
        r"no kernel image is available for execution on the device|device kernel image is invalid",
        "the image holds no code for this GPU's architecture",
        "use a newer image for a new GPU, or an older image for a GPU that vLLM no longer builds for",
        variable="image",
    ),
    _signature(
        "ptxas_too_old",
        r"Value '(?P<arch>sm_\w+)' is not defined for option 'gpu-name'",
        "the image's compiler does not know this GPU ({arch})",
        "use a newer image, or set TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in env",
        variable="image",
    ),
    _signature(
        "ptx_toolchain",
        r"the provided PTX was compiled with an unsupported toolchain",
        "the image's code was compiled for a newer CUDA than the host's driver knows",
        "update the NVIDIA driver, or use an older image or its tag with -cu129",
        variable="image",
    ),
    _signature(
        "peer_access",
        r"peer access is not supported between these two devices|peer mapping resources exhausted",
        "the GPUs cannot reach each other's memory",
        "set engine.disable_custom_all_reduce: true, and NCCL_P2P_DISABLE: 1 in env",
        variable="engine.disable_custom_all_reduce",
        value=True,
    ),
    _signature(
        "custom_all_reduce",
        r"custom_all_reduce\.cuh:\d+ '(?P<what>[^'\n]*)'",
        "vLLM's own kernel by which the GPUs add up their results failed ({what})",
        "set engine.disable_custom_all_reduce: true",
        variable="engine.disable_custom_all_reduce",
        value=True,
    ),
    _signature(
        "kernel_too_large",
        r"out of resource: (?P<what>[\w ]+), Required: (?P<need>\d+), Hardware limit: (?P<have>\d+)",
        "a kernel needs {need} of {what}, and this GPU has {have}",
        "use a newer image, or another kernel ({attention})",
        variable="image",
        derive=_attention,
    ),
    _signature(
        "attention_sinks",
        r"Sinks are only supported in FlashAttention 3|[Aa]ttention sinks? (?:is|are) not supported",
        "the attention kernel of this release runs this model (attention sinks) on Hopper only",
        "use a newer image, or {attention}",
        variable="image",
        derive=_attention,
    ),
    _signature(
        "fabric_manager",
        r"system not yet initialized|CUDA error: .*\b802\b",
        "the GPUs' NVSwitch fabric is not up",
        "start nvidia-fabricmanager, in exactly the version of the driver",
    ),
    _signature(
        "nvml_lost",
        r"Failed to initialize NVML: Unknown Error",
        "the container has lost its GPUs, which happens when systemd reloads its units",
        "run again to recreate the container, and let Docker inject GPUs by CDI",
    ),
    _signature(
        "libcuda_missing",
        r"libcuda\.so(?:\.1)?: (?:cannot open shared object file|file too short|invalid ELF)|Could not find libcuda",
        "the driver's library libcuda is not in the container, so it was started without the NVIDIA runtime",
        "name GPUs in gpus, and apply the role private_llm.fleet.nvidia_toolkit; on a host without GPUs use the image "
        "vllm/vllm-openai-cpu",
        variable="gpus",
        explains=("no_gpu_visible", "no_cuda_gpus"),
    ),
    _signature(
        "linker_libcuda",
        r"cannot find -lcuda\b",
        "the compiler in the container does not find the driver's library libcuda.so",
        "apply the role private_llm.fleet.nvidia_toolkit, which puts the driver where the image looks; as a way round "
        "set "
        "engine.enforce_eager: true",
        variable="engine.enforce_eager",
        value=True,
    ),
    _signature(
        "no_nvcc",
        r"nvcc: (?:command )?not found|[Cc]ould not find nvcc|CUDA_HOME environment variable is not set|"
        r"No such file or directory: '[^']*nvcc'",
        "a kernel had to be compiled, and the image holds no CUDA compiler (nvcc)",
        "use the image published by vLLM, or another kernel: VLLM_USE_FLASHINFER_SAMPLER: 0 in env, or {attention}",
        variable="image",
        derive=_attention,
    ),
    _signature(
        "visible_devices",
        r"invalid literal for int\(\) with base 10: '(?P<device>(?:MIG|GPU)-[^']*)'",
        "CUDA_VISIBLE_DEVICES holds {device}, which this release cannot read",
        "leave CUDA_VISIBLE_DEVICES out of env, and name the device in gpus",
        variable="env.CUDA_VISIBLE_DEVICES",
    ),
    _signature(
        "device_ordinal",
        r"CUDA error: invalid device ordinal",
        "vLLM wants more GPUs than the container has",
        "list as many GPUs in gpus as engine.tensor_parallel_size and engine.pipeline_parallel_size multiply to",
        variable="gpus",
    ),
    _signature(
        "no_cuda_gpus",
        r"No CUDA GPUs are available|0 active drivers|no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE",
        "CUDA finds no GPU in the container",
        "name GPUs in gpus, leave CUDA_VISIBLE_DEVICES out of env, and see that driver and image fit each other",
        variable="gpus",
    ),
    _signature(
        "no_gpu_visible",
        r"Failed to infer device type|DP adjusted local rank \d+ is out of bounds|NVMLError_InvalidArgument",
        "vLLM sees no GPU in the container",
        "name GPUs in gpus; on a host without GPUs use the image vllm/vllm-openai-cpu",
        variable="gpus",
    ),
    _signature(
        "attention_backend",
        r"Selected backend (?P<backend>\S+) is not valid for|No valid attention backend found",
        "no attention backend fits these options on this hardware",
        "leave engine.attention_backend and engine.kv_cache_dtype out",
        variable="engine.attention_backend",
    ),
    _signature(
        "cuda_memory_access",
        r"CUDA error: (?P<what>an illegal memory access was encountered|device-side assert triggered|misaligned "
        r"address|"
        r"unspecified launch failure|an illegal instruction was encountered)",
        "a kernel failed on the GPU ({what})",
        "use a newer image; engine.enforce_eager: true or another kernel ({attention}) may avoid it, and "
        "CUDA_LAUNCH_BLOCKING: 1 in env shows which kernel it is",
        LIKELY,
        variable="image",
        derive=_attention,
    ),
    _signature(
        "cuda_library",
        r"CUBLAS_STATUS_(?P<status>\w+)|CUDNN_STATUS_(?P<dnn>\w+)",
        "a CUDA library failed ({status}{dnn}), most often for want of GPU memory",
        "lower engine.gpu_memory_utilization; if it stays, use an image that fits the driver",
        LIKELY,
        variable="engine.gpu_memory_utilization",
    ),
    _signature(
        "cuda_driver",
        r"CUDA (?:driver )?error: (?P<what>unknown error|initialization error|unspecified|operation not permitted|"
        r"[\w ]*(?:ECC|uncorrectable)[\w ]*|the launch timed out[\w ]*)|Unexpected error from cudaGetDeviceCount",
        "the GPU or its driver failed ({what})",
        "see nvidia-smi and journalctl -k (Xid) on the host; restarting the host helps where the driver is stuck",
        LIKELY,
    ),
    # --- shared memory and communication ---
    _signature(
        "shared_memory",
        r"Insufficient space in /dev/shm for .*: (?P<need>\d+) MiB required, (?P<have>\d+) MiB free",
        "{need} MiB of shared memory are needed and {have} MiB are free",
        "set shm_size to more, or ipc: host",
        variable="shm_size",
        value=_shared_memory,
    ),
    _signature(
        "shared_memory_bus_error",
        r"Bus error|ended by SIGBUS|Error while creating shared memory segment /dev/shm/nccl",
        "shared memory ran out",
        "set shm_size to more, or ipc: host",
        LIKELY,
        variable="shm_size",
        value="16g",
    ),
    _signature(
        "meeting_port",
        r"The server socket has failed to listen on any local network address\.(?: port: (?P<port>\d+))?|EADDRINUSE|"
        r"ZMQError: Address already in use",
        "the port {port} by which vLLM's processes meet is taken",
        "run again; with the host's network set another VLLM_PORT in env for each server, or engine.master_port",
        variable="env.VLLM_PORT",
    ),
    _signature(
        "no_meeting",
        r"DistStoreError|The client socket has (?:timed out|failed to connect)|Timed out after \d+ seconds waiting for "
        r"clients|Gloo connectFullMesh failed|Unable to find address for: (?P<interface>\S+)",
        "vLLM's processes did not reach each other over the network",
        "let the nodes reach each other on all TCP ports (engine.master_addr), and set VLLM_HOST_IP, "
        "NCCL_SOCKET_IFNAME "
        "and GLOO_SOCKET_IFNAME in env where a host has several addresses",
        LIKELY,
        variable="env.VLLM_HOST_IP",
    ),
    _signature(
        "ray_no_gpu",
        r"Current node has no GPU available|number of required (?:GPU|TPU)s exceeds the total number|"
        r"Cannot provide a placement group",
        "Ray has not as many GPUs to give as the options want",
        "leave engine.distributed_executor_backend out (or set it to mp) for one host; with Ray, set VLLM_HOST_IP in "
        "env "
        "to the address by which Ray knows the node",
        variable="engine.distributed_executor_backend",
    ),
    _signature(
        "nccl",
        r"NCCL error.*|ncclSystemError: .*|ncclUnhandledCudaError.*",
        "the GPUs could not talk to each other (NCCL)",
        "set NCCL_DEBUG: INFO in env for the reason; often more shm_size, NCCL_P2P_DISABLE: 1 in env, or "
        "engine.disable_custom_all_reduce: true helps",
        LIKELY,
        variable="env.NCCL_DEBUG",
        value="INFO",
    ),
    _signature(
        "collective_timeout",
        r"Watchdog caught collective operation timeout: [^\n]*?OpType=(?P<operation>\w+)[^\n]*? ran for "
        r"(?P<milliseconds>\d+) milliseconds",
        "a GPU waited {milliseconds} milliseconds for another ({operation})",
        "look in the log for a worker that failed before, and in journalctl -k for Xid; where the links between GPUs "
        "fail, NCCL_P2P_DISABLE: 1 in env helps",
        LIKELY,
        variable="env.NCCL_P2P_DISABLE",
        value=1,
    ),
    _signature(
        "worker_hangs",
        r"No available shared memory broadcast block found in (?P<seconds>\d+) seconds",
        "a worker has not answered for {seconds} seconds",
        "try NCCL_P2P_DISABLE: 1 in env, or engine.disable_custom_all_reduce: true",
        SYMPTOM,
        variable="env.NCCL_P2P_DISABLE",
        value=1,
    ),
    _signature(
        "engine_ready_timeout",
        r"Timed out waiting for (?:new )?engine core processes to start|Timed out waiting for engines to send initial "
        r"message",
        "the engine took longer to start than vLLM waits",
        "set VLLM_ENGINE_READY_TIMEOUT_S in env to more seconds; a model on a slow disk needs it",
        LIKELY,
        variable="env.VLLM_ENGINE_READY_TIMEOUT_S",
        value=3600,
    ),
    _signature(
        "worker_timeout",
        r"RPC call to (?P<what>\w+) timed out|Timed out waiting for (?:model|worker) execution",
        "a worker did not answer in time",
        "read its log for the first error of a worker; where the GPUs wait for each other, NCCL_P2P_DISABLE: 1 in env "
        "or "
        "engine.disable_custom_all_reduce: true helps",
        LIKELY,
        variable="env.NCCL_P2P_DISABLE",
    ),
    _signature(
        "threads_refused",
        r"can't start new thread|pthread_create[^\n]*(?:Operation not permitted|Resource temporarily unavailable)|"
        r"libgomp: Thread creation failed",
        "the container may not start threads",
        "update the Docker Engine (before 20.10.10 it forbids what newer images do), or raise its limit of processes",
    ),
    _signature(
        "open_files",
        r"Too many open files",
        "the container may not open more files",
        "raise the limit of open files (nofile) of the Docker Engine",
    ),
    _signature(
        "no_ray",
        r"Failed to import Ray|Please install Ray with|No module named 'ray'",
        "the image holds no Ray",
        "leave engine.distributed_executor_backend out",
        variable="engine.distributed_executor_backend",
    ),
    # --- model files ---
    _signature(
        "model_not_readable",
        r"Invalid repository ID or local directory specified: '(?P<path>[^']*)'",
        "{path} is not a model that vLLM can read: it has no config.json",
        "check that the download is complete and that the path is the folder that holds config.json",
        variable="model",
    ),
    _signature(
        "config_damaged",
        r"the config file at '(?P<path>[^']*)' is not a valid JSON file",
        "{path} is damaged or was cut short",
        "fetch the model again",
        variable="model",
    ),
    _signature(
        "no_weights",
        r"Cannot find any model weights with [`'](?P<path>[^`']*)",
        "{path} holds no weights",
        "fetch the model again; check engine.load_format and what the download excluded",
        variable="model",
    ),
    _signature(
        "no_tokenizer",
        r"Couldn't instantiate the backend tokenizer from one of",
        "the model's folder holds no tokenizer that the image can read",
        "fetch the whole model; check what the download excluded",
        variable="model",
    ),
    _signature(
        "json_damaged",
        r"^json\.decoder\.JSONDecodeError: ",
        "a JSON file of the model, most likely its tokenizer, is damaged or was cut short",
        "fetch the model again",
        LIKELY,
        variable="model",
    ),
    _signature(
        "weights_not_readable",
        r"FileNotFoundError: No such file or directory: (?P<path>\S+\.safetensors)",
        "{path} is not there, or may not be read by the user that vLLM runs as",
        "let everyone read the model's folder and files, or fetch the model again",
        variable="model",
    ),
    _signature(
        "lfs_pointer",
        r"Error while deserializing header|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer",
        "a weights file is damaged, cut short, or a Git LFS pointer in place of the file",
        "fetch the model again; after git clone run git lfs pull",
        variable="model",
    ),
    _signature(
        "unknown_weights",
        r"There is no module or parameter named '(?P<name>[^']+)' in (?P<model>\w+)",
        "the model's files hold weights ({name}) that {model} of this image does not know",
        "use a newer image; for a model in Mistral's own format set engine.config_format, engine.load_format and "
        "engine.tokenizer_mode: mistral",
        variable="image",
    ),
    _signature(
        "weights_differ",
        r"^(?:KeyError: '(?P<name>[\w.]*\.[\w.]+)'|AssertionError(?::? ?$|: .*(?:shape|size))|[^\n]*(?:size mismatch|"
        r"shape "
        r"mismatch|"
        r"Attempted to load weight))|Following weights were not initialized from checkpoint",
        "the model's weights are not laid out as this image expects them ({name})",
        "use a newer image; check that the files are complete, and that their quantization is one that vLLM loads",
        LIKELY,
        variable="image",
        applies=_in_load_weights,
    ),
    _signature(
        "model_not_in_container",
        r"Repo id must (?:be in the form|use alphanumeric)|is not a local folder and is not a valid model identifier",
        "what the options name as a model is not a folder in the container",
        "name models by their path in the container, and mount their folders under volumes",
        variable="model",
    ),
    _signature(
        "file_missing",
        r"(?P<path>\S+) does not appear to have a file named (?P<file>\S+?)\.?(?:\s|$)|"
        r"Can't load (?P<what>the configuration|(?:the )?\w+(?: \w+)?) (?:of|for) '(?P<of>[^']*)'",
        "the model's folder lacks a file that vLLM needs ({file}{what})",
        "fetch the whole model; check what the download excluded",
        variable="model",
    ),
    _signature(
        "harmony_vocabulary",
        r"HarmonyError: error downloading or loading vocab file",
        "gpt-oss needs a vocabulary (o200k_base.tiktoken) that neither the model's folder nor the image holds, and "
        "that is "
        "not to be downloaded at a start",
        "put o200k_base.tiktoken and cl100k_base.tiktoken into a folder of the host, mount it under volumes, and set "
        "TIKTOKEN_ENCODINGS_BASE in env to its path in the container",
        variable="env.TIKTOKEN_ENCODINGS_BASE",
    ),
    _signature(
        "unknown_model_type",
        r"load has model type [`'](?P<kind>[^`']+)[`'] but Transformers does not recognize this architecture",
        "this image does not know models of type {kind}",
        "use a newer image",
        variable="image",
    ),
    _signature(
        "unsupported_architecture",
        r"Model architectures (?P<kinds>\[[^\]]*\]) are not supported|"
        r"was supported in vLLM until (?P<until>v\S+)|is not supported in-tree anymore",
        "this image cannot serve the architecture of the model",
        "use an image whose vLLM supports it: a newer one for a new model, an older one for a retired model",
        variable="image",
    ),
    _signature(
        "trust_remote_code",
        r"(?:set|pass|with|option|argument) [^\n]{0,40}`?trust_remote_code=True|requires you to execute the "
        r"configuration "
        r"file in that repo|contains custom code which must be executed",
        "the model brings its own code",
        "read that code, then set engine.trust_remote_code: true; or use a newer image that knows the model",
        variable="engine.trust_remote_code",
        value=True,
    ),
    _signature(
        "model_refused",
        r"validation errors? for (?P<kind>ModelConfig)\n\s+Value error, (?P<reason>[^\n]*?)(?: \[type=|\n|$)",
        "this image cannot read the model's configuration: {reason}",
        "use a newer image, whose vLLM and Transformers know the model; if the model's own files were changed, fetch "
        "it "
        "again",
        LIKELY,
        variable="image",
        applies=lambda groups, context: not options_in(groups["reason"]),
    ),
    _signature(
        "transformers_differ",
        r"(?P<what>\w*(?:Tokenizer(?:Fast)?|Config|Processor)'?(?: object)? has no attribute '?\w+|cannot import name "
        r"'\w+' "
        r"from '(?:transformers|huggingface_hub|tokenizers)[^']*'|[Mm]odule '?transformers[\w.]*'? has no attribute "
        r"\S+|"
        r"(?:requires|[Uu]pgrade|[Uu]pdate) (?:your )?[Tt]ransformers[^\n.]*|rope_scaling should have a 'rope_type' "
        r"key)",
        "vLLM and Transformers of this image do not fit each other, or not this model: {what}",
        "use the image published by vLLM, and a newer one for a new model",
        variable="image",
    ),
    _signature(
        "package_missing",
        r"No module named '(?P<package>[^']+)'|[Pp]lease (?:pip )?install "
        r"(?P<named>[\w.\[\]-]*[\w\]](?:[<>=!]=?[\w.]*\w)?)|"
        r"(?:packages that were not found in your environment|requires the following packages): (?P<list>[\w ,.-]+)|"
        r"(?P<plain>\w+)[`'\"]? is not\s+installed|requires the (?P<library>\w+) (?:package|library)",
        "the image lacks a Python package: {package}{named}{list}{plain}{library}",
        "use an image that holds it (vllm/vllm-openai holds most), or a model or option that does not need it",
        variable="image",
    ),
    _signature(
        "image_inconsistent",
        r"undefined symbol: (?P<symbol>\S+)|version `(?P<version>GLIBC\S*)' not found|in static TLS block|"
        r"(?P<file>\S+\.so[\w.]*): cannot open shared object file",
        "libraries in the image do not fit each other ({symbol}{version}{file})",
        "use the image published by vLLM, and mount nothing over its libraries",
        variable="image",
    ),
    _signature(
        "offline",
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|We couldn't connect to 'https?://",
        "vLLM looked for a file that is not on the host",
        "fetch the whole model; other models that options name must be paths under volumes",
        LIKELY,
        variable="model",
    ),
    _signature(
        "gated",
        r"GatedRepoError|401 Client Error|Access to model .* is restricted",
        "the hub refused to give a file",
        "download the model to the host first, with a token that has accepted its license",
        variable="model",
    ),
    _signature(
        "disk_full",
        r"No space left on device",
        "a disk is full",
        "free space under /var/cache/private_llm and in Docker's data directory",
        LIKELY,
    ),
    _signature(
        "no_network",
        r"Name or service not known|Temporary failure in name resolution|Network is unreachable|Max retries exceeded "
        r"with "
        r"url|Could not resolve host",
        "vLLM wanted to fetch something from the network, and cannot",
        "fetch it to the host first: servers of this collection get their models and files from folders",
        LIKELY,
    ),
    # --- options ---
    _signature(
        "doubled_command",
        r"error: unrecognized arguments: serve\b",
        "the image's own command begins with vllm serve, and it was given once more",
        "leave vllm serve out of what is passed on",
    ),
    _signature(
        "unknown_option",
        r"error: unrecognized arguments: (?P<arguments>.*)",
        "this vLLM does not know {arguments}",
        "correct or remove {option}",
        variable="{option}",
    ),
    _signature(
        "bad_value",
        r"error: argument (?P<flag>--[\w-]+)[^:]*: (?P<reason>.*)",
        "engine.{flag_name} has a value that vLLM does not take: {reason}",
        "correct engine.{flag_name}",
        variable="engine.{flag_name}",
    ),
    _signature(
        "tool_parser_missing",
        r"--enable-auto-tool-choice requires --tool-call-parser",
        "engine.enable_auto_tool_choice needs a parser",
        "set engine.tool_call_parser to the one named on the model's card",
        variable="engine.tool_call_parser",
    ),
    _signature(
        "unknown_parser",
        r"invalid tool call parser: (?P<name>\S+)",
        "this vLLM has no tool call parser called {name}",
        "correct engine.tool_call_parser (the log lists those there are), or use a newer image",
        variable="engine.tool_call_parser",
    ),
    _signature(
        "unknown_reasoning_parser",
        r"Reasoning parser '(?P<name>[^']*)' not found|invalid reasoning parser: (?P<old_name>\S+)",
        "this vLLM has no reasoning parser called {name}{old_name}",
        "correct engine.reasoning_parser (the log lists those there are), or use a newer image",
        variable="engine.reasoning_parser",
    ),
    _signature(
        "parser_of_another_model",
        r"(?P<parser>[^\n:]+?) could not locate (?:the )?(?P<what>[^\n]*?\btokens?\b[^\n]*?) in\s+the\s+tokenizer",
        "the model's tokenizer has no {what}, so {parser} belongs to another model",
        "set {option} to the parser that the model's card names, or leave it out",
        variable="{option}",
        derive=_parser_option,
    ),
    _signature(
        "log_outputs",
        r"--enable-log-outputs requires --enable-log-requests",
        "engine.enable_log_outputs needs engine.enable_log_requests",
        "set engine.enable_log_requests: true",
        variable="engine.enable_log_requests",
        value=True,
    ),
    _signature(
        "chat_template",
        r"The supplied chat template(?: string)? \(?(?P<path>[^\s()]+)\)?.* "
        r"(?:looks like a file path, but it failed to be opened|appears path-like, but doesn't exist)",
        "the chat template {path} is not in the container",
        "mount its folder under volumes, and name it by its path in the container",
        variable="engine.chat_template",
    ),
    _signature(
        "chat_template_damaged",
        r"jinja2\.exceptions\.\w+: (?P<reason>[^\n]*)",
        "the chat template cannot be read: {reason}",
        "use the model's own template (leave engine.chat_template out), or one that this vLLM's Jinja reads",
        LIKELY,
        variable="engine.chat_template",
    ),
    _signature(
        "environment_value",
        r"Invalid value '(?P<value>[^']*)' for (?P<env>VLLM_\w+)\. Valid options: (?P<options>[^\n]*)",
        "{env} in env is {value}, and this vLLM takes {options}",
        "correct {env} in env",
        variable="env.{env}",
    ),
    _signature(
        "option_field",
        r"validation errors? for (?P<kind>\w+)\n(?P<field>[a-z]\w*)[\w.\[\]-]*\n"
        r"\s+(?P<reason>[^\n]*?) \[type=(?!value_error)",
        "{where} has a value that vLLM does not take: {reason}",
        "correct {where}",
        variable="engine.{option}",
        derive=_field_of_option,
    ),
    _signature(
        "option_validation",
        r"(?:validation errors? for (?P<kind>\w+)\n\s+)?Value error, (?P<reason>[^\n]*?)(?: \[type=|\n|$)",
        "vLLM refuses the options: {reason}",
        "correct {options}",
        LIKELY,
        variable="{option}",
        applies=_names_options,
        derive=_first_option,
    ),
    _signature(
        "unknown_connector",
        r"Unsupported connector type: (?P<name>\S+)",
        "this vLLM has no KV connector called {name}",
        "correct kv_connector in engine.kv_transfer_config, or use an image that has it",
        variable="engine.kv_transfer_config",
    ),
    _signature(
        "environment_refused",
        r"^(?:ValueError|RuntimeError|NotImplementedError|AssertionError|KeyError): "
        r"(?P<reason>[^\n]*?(?<![.\w])(?P<env>VLLM_[A-Z0-9_]+)\b[^\n]*)",
        "vLLM refuses what env says: {reason}",
        "correct {env} in env, or leave it out",
        LIKELY,
        variable="env.{env}",
        applies=lambda groups, context: not options_in(groups["reason"]),
    ),
    _signature(
        "option_refused",
        r"^(?:ValueError|RuntimeError|NotImplementedError|AssertionError|TypeError|VLLMValidationError): "
        r"(?P<reason>[^\n]*(?:\n[^\n]*)?)",
        "vLLM refuses the options: {reason}",
        "correct {options}",
        LIKELY,
        variable="{option}",
        applies=lambda groups, context: bool(options_in(groups["reason"])) and not _in_load_weights(groups, context),
        derive=_first_option,
    ),
    # --- ports, files, permissions ---
    _signature(
        "port_allocated",
        r"Bind for (?P<address>\S+) failed: port is already allocated|listen tcp[46]? (?P<listen>\S+?):? bind: address "
        r"already in use",
        "something on the host listens on the port already",
        "change port, or stop what listens there",
        variable="port",
    ),
    _signature(
        "port_in_use",
        r"\[Errno 98\].*[Aa]ddress already in use",
        "the port is taken inside the container's network",
        "leave VLLM_PORT out of env",
        variable="env.VLLM_PORT",
    ),
    _signature(
        "vllm_port_uri",
        r"VLLM_PORT '(?P<value>[^']*)' appears to be a URI",
        "the variable VLLM_PORT is {value}, which is not a number",
        "remove VLLM_PORT from env",
        variable="env.VLLM_PORT",
    ),
    _signature(
        "no_user",
        r"getpwuid\(\): uid not found: (?P<uid>\d+)",
        "the image runs as user {uid}, which it does not have",
        "use an image that runs as root or as its user 2000",
        variable="image",
    ),
    _signature(
        "no_home",
        r"Permission denied: '(?P<path>/\.[^']*)'",
        "vLLM runs as a user without a home, and may not write {path}",
        "set HOME in env to a folder that the user may write, such as /tmp, or use an image that runs as root or as "
        "its "
        "user 2000",
        variable="env.HOME",
        value="/tmp",  # noqa: S108 - the container's own
    ),
    _signature(
        "no_mmap",
        r"No such device \(os error 19\)|\[Errno 19\] No such device",
        "the file system that holds the model cannot map files into memory",
        "put the model on a local disk (model_download_root), or set engine.safetensors_load_strategy: eager, which "
        "reads the files without mapping them",
        variable="engine.safetensors_load_strategy",
        value="eager",
    ),
    _signature(
        "file_system",
        r"(?P<what>Input/output error|Stale file handle|Remote I/O error)",
        "the file system that holds the files failed ({what})",
        "see journalctl -k on the host for the disk or the network file system, and fetch the model again once it "
        "works",
        LIKELY,
    ),
    _signature(
        "read_only",
        r"Read-only file system: '(?P<path>[^']*)'",
        "vLLM has to write {path}, which is mounted read-only",
        "mount it writable under volumes, or set HOME or VLLM_CACHE_ROOT in env to another folder",
        LIKELY,
        variable="volumes",
    ),
    _signature(
        "cache_permission",
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']*)'",
        "vLLM may not write or read {path}",
        "check the owner and mode of what is mounted there",
        LIKELY,
    ),
    _signature(
        "no_compiler",
        r"No such file or directory: '(?:gcc|cc|clang|g\+\+|c\+\+)'|InvalidCxxCompiler|No working C\+\+ compiler found|"
        r"Failed to find C compiler",
        "the image holds no compiler, and compiling the model needs one",
        "use the image published by vLLM, or set engine.enforce_eager: true",
        variable="engine.enforce_eager",
        value=True,
    ),
    _signature(
        "tls_file",
        r"FileNotFoundError: \[Errno 2\] No such file or directory$",
        "a file that options name is not in the container, most likely of ssl_certfile and ssl_keyfile",
        "mount the folder of the certificate and key under volumes, and name them by their paths in the container",
        LIKELY,
        variable="engine.ssl_certfile",
        applies=lambda groups, context: bool(context.functions & {"create_ssl_context", "load_cert_chain"}),
    ),
    _signature(
        "no_vllm",
        r"exec: \\?\"vllm\\?\": executable file not found|exec vllm failed: No such file|exec: vllm: not found",
        "the image holds no vllm",
        "correct image; vLLM's own are vllm/vllm-openai and vllm/vllm-openai-cpu",
        variable="image",
    ),
    _signature(
        "wrong_platform",
        r"[Ee]xec format error",
        "the image was made for another kind of processor",
        "use the image for this host's architecture (tags with -x86_64 or -aarch64)",
        variable="image",
    ),
    _signature(
        "mount_denied",
        r"error while creating mount source path '(?P<path>[^']*)'|"
        r"invalid mount config for type \"bind\": bind source path does not exist: (?P<missing>\S+)",
        "a path to be mounted cannot be used",
        "create it on the host, or correct volumes",
        variable="volumes",
    ),
    _signature(
        "compilation",
        r"^torch\._(?:inductor|dynamo)\.exc\.\w+: |BackendCompilerFailed|Ninja build failed|CompilationError: |PTXAS "
        r"error",
        "compiling the model for this GPU failed",
        "use a newer image; engine.enforce_eager: true does without compiling",
        LIKELY,
        variable="engine.enforce_eager",
        value=True,
    ),
    # --- a process that dies without a word ---
    _signature(
        "killed",
        r"(?P<process>[^\n]+?) was ended by SIGKILL|^a worker was ended by an unknown signal",
        "the kernel killed a process of vLLM, nearly always for want of host memory",
        "free memory on the host, lower engine.kv_offloading_size and engine.mm_processor_cache_gb, or set "
        "engine.safetensors_load_strategy: lazy; journalctl -k on the host shows what the kernel killed",
        LIKELY,
        variable="engine.safetensors_load_strategy",
        value="lazy",
    ),
    _signature(
        "amx_refused",
        r"(?P<process>[^\n]+?) was ended by (?:SIGILL|an unknown signal)[^\n]*amx_tile, no GPU",
        "{process} died of an instruction that it was not allowed: the processor has AMX, and Linux kills who uses it "
        "without asking first",
        "set engine.dtype: float32, which calculates without AMX; or use a newer image",
        LIKELY,
        variable="engine.dtype",
        value="float32",
    ),
    _signature(
        "illegal_instruction",
        r"(?P<process>[^\n]+?) was ended by SIGILL[^\n]*processor: (?P<processor>[^\n]*)",
        "{process} died of an instruction that the host's processor does not know (it has: {processor})",
        "use an image made for this processor: vLLM's CPU images want AVX-512 or AVX2; a virtual machine may hide what "
        "its "
        "host has (processor type host)",
        LIKELY,
        variable="image",
    ),
    _signature(
        "crashed",
        r"(?P<process>[^\n]+?) was ended by (?P<signal>SIG(?:SEGV|ABRT|FPE|TRAP|SYS))",
        "{process} crashed in the image's machine code ({signal})",
        "use another image; engine.enforce_eager: true or leaving out engine.speculative_config and other new options "
        "may "
        "avoid it, and PYTHONFAULTHANDLER: 1 in env shows where it was",
        LIKELY,
        variable="image",
    ),
    _signature(
        "ended_from_outside",
        r"(?P<process>[^\n]+?) was ended by SIG(?:TERM|INT|HUP|QUIT)",
        "somebody outside of vLLM asked {process} to stop",
        "find out who stopped it: docker stop, a restart of the host or of the engine, or a health check; then run "
        "again",
        LIKELY,
    ),
    _signature(
        "died_silently",
        r"(?P<process>[^\n]+?) was ended by an unknown signal",
        "{process} died without a word, so something ended it from outside of its own code",
        "see journalctl -k on the host around that time: the kernel says whom it killed for want of memory (then free "
        "memory), which program crashed (then use another image), and which GPU failed (Xid)",
        LIKELY,
    ),
    # --- whatever else an engine says, which is not vLLM's fault ---
    _signature(
        "engine_refused",
        r"the Docker Engine at \S+ failed at /containers/[^\s:]*: (?P<reason>.+)",
        "the container engine did not start the container: {reason}",
        "mend on the host what the engine names, or change the option that asks for it; the engine's own log "
        "(journalctl --unit docker) has more",
        LIKELY,
    ),
)
