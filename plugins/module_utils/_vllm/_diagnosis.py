# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Why a vLLM server did not start: the cause, the line that shows it, and what to change.

Each signature is one known failure. A log often holds several: the failure itself, what follows from it in other
processes, and wrappers that only say that something failed. Signatures therefore have a rank; the lowest rank wins, and
within a rank the line that came first. Where none matches, the last exception that is no wrapper is quoted.
"""

from __future__ import annotations

import math
import re
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._argv import normal_name
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._log import parse_line

ROOT = 0  # says exactly what is wrong
LIKELY = 1  # points at it; something with rank 0 may say more
SYMPTOM = 2  # what other processes report when one has failed
KILLED = 137  # the exit code of a process that was killed: 128 and the signal's number


class Diagnosis(t.NamedTuple):
    """What a person needs to know about a failed start.

    ``variable`` is the option to change first, empty when no option is wrong, and ``value`` what to change it to; None
    where that is to leave it out, or for the person to choose.
    """

    cause: str
    evidence: str
    fix: str
    id: str
    variable: str = ""
    value: t.Any = None


Groups = t.Mapping[str, str]


class Signature(t.NamedTuple):
    """A known failure. ``cause``, ``fix`` and ``variable`` may name the pattern's groups in braces."""

    id: str
    pattern: re.Pattern[str]
    cause: str
    fix: str
    rank: int
    variable: str
    value: t.Callable[[Groups], t.Any]


def _signature(
    name: str,
    pattern: str,
    cause: str,
    fix: str,
    rank: int = ROOT,
    variable: str = "",
    value: t.Any = None,
) -> Signature:
    """``value`` is the value itself, or what computes it from the pattern's groups."""
    compute = value if callable(value) else lambda groups: value
    return Signature(name, re.compile(pattern), cause, fix, rank, variable, compute)


# --- values that follow from what was said ----------------------------------------------------------------------------


def _number(group: str) -> t.Callable[[Groups], int | None]:
    """The number in a group, where it was said."""
    return lambda groups: int(groups[group]) if str(groups.get(group) or "").isdigit() else None


def _share_that_fits(groups: Groups) -> float:
    """The part of the GPU that is free, rounded down, with 2 % to spare for what comes and goes."""
    return max(0.01, round(math.floor(100 * float(groups["free"]) / float(groups["total"])) / 100 - 0.02, 2))


def _largest_divisor(groups: Groups) -> int:
    """The largest tensor parallel size up to the one asked for that divides the heads."""
    heads, size = int(groups["heads"]), int(groups["size"])
    return max(number for number in range(1, size + 1) if heads % number == 0)


def _next_lora_rank(groups: Groups) -> int:
    return next((rank for rank in (8, 16, 32, 64, 128, 256, 320, 512) if rank >= int(groups["rank"])), 512)


def _shared_memory(groups: Groups) -> str:
    """What was missing beside what there was, in whole GiB with one to spare."""
    return f"{math.ceil(int(groups['need']) / 1024) + 1}g"


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
        value=lambda groups: max(1, int(groups["count"]) // 2),
    ),
    _signature(
        "autofit_nothing",
        r"Cannot auto-fit max_model_len: not enough GPU memory",
        "not even one token of context fits beside the weights",
        "raise engine.gpu_memory_utilization, spread over more GPUs (gpus), or use a quantized model",
        variable="engine.gpu_memory_utilization",
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
        "cuda_out_of_memory",
        r"(?:torch\.(?:cuda\.)?)?OutOfMemoryError: (?:CUDA|HIP) out of memory",
        "the GPU ran out of memory",
        "lower engine.gpu_memory_utilization, engine.max_num_seqs or engine.max_cudagraph_capture_size, or spread over "
        "more GPUs (gpus)",
        LIKELY,
        variable="engine.gpu_memory_utilization",
    ),
    _signature(
        "killed",
        r"died unexpectedly \(exit code: -9\)",
        "the kernel killed a process of vLLM, nearly always for want of host memory",
        "free memory on the host, lower engine.kv_offloading_size and engine.mm_processor_cache_gb, or set "
        "engine.safetensors_load_strategy: lazy",
        LIKELY,
        variable="engine.safetensors_load_strategy",
        value="lazy",
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
        "too_few_gpus",
        r"World size \((?P<want>\d+)\) is larger than the number of available GPUs \((?P<have>\d+)\)",
        "the options spread the model over {want} GPUs and the container sees {have}",
        "list {want} GPUs in gpus, or lower engine.tensor_parallel_size and engine.pipeline_parallel_size",
        variable="gpus",
        value=_number("want"),
    ),
    _signature(
        "partition_not_divisible",
        r"Weight (?:in|out)put_size_per_partition = \S+ is not divisible by",
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
        value=lambda groups: _number("length")(groups) or _number("seqs")(groups),
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
        "use a model quantized in another way, or another GPU",
        variable="model",
    ),
    _signature(
        "quantization_dtype",
        r"torch\.(?P<dtype>\w+) is not supported for quantization method (?P<method>\S+?)\.?(?:\s|$)",
        "{method} weights cannot be computed in {dtype}",
        "leave engine.dtype out, or set it to half",
        variable="engine.dtype",
        value="half",
    ),
    _signature(
        "quantization_mismatch",
        r"Unknown quantization method|Quantization method specified in the model config .* does not match|"
        r"Cannot find the config file for \w+",
        "engine.quantization does not fit the model's files",
        "leave engine.quantization out; vLLM reads it from the model",
        variable="engine.quantization",
    ),
    _signature(
        "driver_too_old_image",
        r"unsatisfied condition: cuda\s*>=\s*(?P<cuda>[\d.]+)",
        "the image needs a driver for CUDA {cuda}, and the host's is older",
        "update the NVIDIA driver (CUDA 13 needs 580 or newer), or use the image tag with -cu129",
        variable="image",
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
    ),
    _signature(
        "gpu_architecture",
        r"no kernel image is available for execution on the device",
        "the image holds no code for this GPU's architecture",
        "use a newer image for a new GPU, or an older image for a GPU that vLLM no longer builds for",
        variable="image",
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
        r"Bus error|Error while creating shared memory segment /dev/shm/nccl",
        "shared memory ran out",
        "set shm_size to more, or ipc: host",
        LIKELY,
        variable="shm_size",
        value="16g",
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
        r"Timed out waiting for engine core processes to start|Timed out waiting for engines to send initial message",
        "the engine took longer to start than vLLM waits",
        "set VLLM_ENGINE_READY_TIMEOUT_S in env to more seconds; a model on a slow disk needs it",
        LIKELY,
        variable="env.VLLM_ENGINE_READY_TIMEOUT_S",
        value=3600,
    ),
    _signature(
        "no_ray",
        r"Failed to import Ray|Please install Ray with",
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
        "unknown_model_type",
        r"load has model type [`'](?P<kind>[^`']+)[`'] but Transformers does not recognize this architecture",
        "this image does not know models of type {kind}",
        "use a newer image",
        variable="image",
    ),
    _signature(
        "unsupported_architecture",
        r"Model architectures (?P<kinds>\[[^\]]*\]) (?:are not supported|failed to be inspected)|"
        r"was supported in vLLM until (?P<until>v\S+)|is not supported in-tree anymore",
        "this image cannot serve the architecture of the model",
        "use an image whose vLLM supports it: a newer one for a new model, an older one for a retired model",
        variable="image",
    ),
    _signature(
        "trust_remote_code",
        r"trust_remote_code=True|requires you to execute the configuration file in that repo",
        "the model brings its own code",
        "read that code, then set engine.trust_remote_code: true; or use a newer image that knows the model",
        variable="engine.trust_remote_code",
        value=True,
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
        "option_validation",
        r"Value error, (?P<reason>.*?)(?: \[type=|$)",
        "vLLM refuses the options: {reason}",
        "correct the option that this names",
        LIKELY,
    ),
    _signature(
        "unknown_connector",
        r"Unsupported connector type: (?P<name>\S+)",
        "this vLLM has no KV connector called {name}",
        "correct kv_connector in engine.kv_transfer_config, or use an image that has it",
        variable="engine.kv_transfer_config",
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
        "the variable VLLM_PORT is {value}, which is no number",
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
        "cache_permission",
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']*)'",
        "vLLM may not write or read {path}",
        "check the owner and mode of what is mounted there",
        LIKELY,
    ),
    _signature(
        "no_compiler",
        r"InvalidCxxCompiler|No working C\+\+ compiler found|Failed to find C compiler",
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
        SYMPTOM,
        variable="engine.ssl_certfile",
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
)

_WEIGHTS_DO_NOT_FIT = next(signature for signature in SIGNATURES if signature.id == "weights_do_not_fit")
_KILLED = next(signature for signature in SIGNATURES if signature.id == "killed")

# What only says that something else went wrong; never the reason, even when nothing better is found.
_WRAPPER = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|EngineCore failed to start|EngineDeadError|"
    r"EngineCore encountered an issue|died unexpectedly \(exit code: (?!-9\))|See root cause above|See stack trace"
)
_SOURCE = re.compile(r"^\s{4,}")
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit|Failure)\b(?:: .*|$)")


def diagnose(
    lines: t.Sequence[str],
    exit_code: int | None = None,
    out_of_memory: bool = False,
    name: str = "",
) -> Diagnosis:
    """Why the server whose log this is did not start. ``lines`` may also be an error of the Docker Engine."""
    best: tuple[int, Signature, re.Match[str], str] | None = None
    texts = [parse_line(line).text for line in lines]
    # In a traceback the source of a "raise" often shows the message before the exception itself does.
    for text in [text for text in texts if not _SOURCE.match(text)]:
        for signature in SIGNATURES:
            if best is not None and signature.rank >= best[0]:
                continue
            match = signature.pattern.search(text)
            if match:
                best = (signature.rank, signature, match, text)
        if best is not None and best[0] == ROOT:
            break
    if out_of_memory and (best is None or best[0] != ROOT):
        return Diagnosis(
            "the kernel killed vLLM for want of host memory",
            f"exit code {exit_code}, out of memory" if exit_code is not None else "out of memory",
            "free memory on the host, or use a smaller model or KV cache",
            "host_out_of_memory",
        )
    if best is None and exit_code == KILLED:
        return Diagnosis(
            "something killed vLLM, nearly always the kernel for want of host memory",
            f"exit code {exit_code}",
            "free memory on the host, or use a smaller model or KV cache; journalctl -k shows what the kernel killed",
            "host_out_of_memory",
        )
    if best is not None:
        signature = _WEIGHTS_DO_NOT_FIT if best[1].id == "cuda_out_of_memory" and _loads_weights(texts) else best[1]
        return _filled(signature, best[2], best[3])
    return _unknown(texts, exit_code, name)


def _loads_weights(texts: t.Sequence[str]) -> bool:
    """Whether the failure came out of loading the model; the newer of the two model runners does not say so itself."""
    return any(text.endswith(", in load_model") for text in texts)


# How to speak of a part that the message may leave out.
_UNSAID = {"fits": "a smaller value", "gpu": "GPU", "name": "", "old_name": "", "used": "", "node": ""}


def _filled(signature: Signature, match: re.Match[str], text: str) -> Diagnosis:
    groups = {key: value or _UNSAID.get(key, "?") for key, value in match.groupdict().items()}
    if signature.id == "unknown_option":
        flags = [word.partition("=")[0] for word in groups["arguments"].split() if word.startswith("--")]
        groups["option"] = " and ".join(f"engine.{normal_name(flag)}" for flag in flags) or "that argument"
    if "flag" in groups:
        groups["flag_name"] = normal_name(groups["flag"])
    return Diagnosis(
        signature.cause.format(**groups),
        _shortened(text.strip().rstrip(".")),
        signature.fix.format(**groups),
        signature.id,
        signature.variable.format(**groups),
        signature.value(match.groupdict()),
    )


def _unknown(texts: t.Sequence[str], exit_code: int | None, name: str) -> Diagnosis:
    evidence = ""
    for text in reversed(texts):
        if _EXCEPTION.match(text.strip()) and not _WRAPPER.search(text):
            evidence = text.strip()
            break
    if not evidence and any("WorkerProc initialization failed" in text for text in texts):
        # A worker that fails says why; one that is killed says nothing.
        silence = "a worker ended, and no process of vLLM says why"
        return Diagnosis(_KILLED.cause, silence, _KILLED.fix, _KILLED.id, _KILLED.variable, _KILLED.value({}))
    if not evidence:
        evidence = next((text.strip() for text in reversed(texts) if text.strip()), "the log is empty")
    ended = f"vLLM ended with exit code {exit_code}" if exit_code is not None else "vLLM did not start"
    return Diagnosis(
        f"{ended} for a reason that is not known to this collection",
        _shortened(evidence),
        f"read its log: docker logs {name}".rstrip(),
        "unknown",
    )


def _shortened(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
