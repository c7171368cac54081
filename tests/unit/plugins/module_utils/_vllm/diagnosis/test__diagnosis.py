# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import SIGNATURES, diagnose

FAILURES = pathlib.Path(__file__).parents[4] / "fixtures" / "vllm" / "failures"


@pytest.mark.parametrize(
    ("log", "found", "cause", "evidence", "fix"),
    [
        (
            "context_too_long",
            "context_exceeds_model",
            "engine.max_model_len is 1000000, and the model's config.json allows 2048 (max_position_embeddings)",
            "Value error, User-specified max_model_len (1000000) is greater than",
            "set engine.max_model_len to 2048 or less",
        ),
        (
            "kv_too_small",
            "context_exceeds_kv",
            "a context of 2048 tokens needs 0.0 GiB of KV cache and 0.0 GiB are available",
            "ValueError: To serve at least one request with the model's max seq len (2048)",
            "lower engine.max_model_len to 384 (or set it to auto)",
        ),
        (
            "lfs_pointer",
            "lfs_pointer",
            "a weights file is damaged, cut short, or a Git LFS pointer in place of the file",
            "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: header too large",
            "fetch the model again",
        ),
        (
            "missing_config",
            "model_not_readable",
            "/models/noconf is not a model that vLLM can read: it has no config.json",
            "Value error, Invalid repository ID or local directory specified: '/models/noconf'",
            "check that the download is complete",
        ),
        (
            "missing_weights",
            "no_weights",
            "/models/noweights holds no weights",
            "RuntimeError: Cannot find any model weights with `/models/noweights`",
            "fetch the model again",
        ),
        (
            "ssl_missing",
            "tls_file",
            "a file that options name is not in the container, most likely of ssl_certfile and ssl_keyfile",
            "FileNotFoundError: [Errno 2] No such file or directory",
            "mount the folder of the certificate and key",
        ),
        (
            "tool_parser_missing",
            "tool_parser_missing",
            "engine.enable_auto_tool_choice needs a parser",
            "TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser",
            "set engine.tool_call_parser",
        ),
        (
            "tp_not_dividing",
            "heads_not_divisible",
            "the model's 4 attention heads cannot be divided among 3 GPUs",
            "Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3)",
            "set engine.tensor_parallel_size to a divisor of 4",
        ),
        (
            "unknown_flag",
            "unknown_option",
            "this vLLM does not know --max-modle-len 1024",
            "vllm: error: unrecognized arguments: --max-modle-len 1024",
            "correct or remove engine.max_modle_len",
        ),
        (
            "unknown_model_type",
            "unknown_model_type",
            "this image does not know models of type nosuch",
            "Value error, The checkpoint you are trying to load has model type `nosuch`",
            "use a newer image",
        ),
    ],
)
def test_recorded_failures(log: str, found: str, cause: str, evidence: str, fix: str) -> None:
    diagnosis = diagnose((FAILURES / f"{log}.log").read_text().splitlines(), 1, name="alpha")
    assert diagnosis.id == found
    assert diagnosis.cause == cause
    assert diagnosis.evidence.startswith(evidence)
    assert diagnosis.fix.startswith(fix)


# Every log, what it is recognized as, and what to change to which value.
LOGS: dict[str, tuple[str, str, t.Any]] = {
    "autofit_nothing": ("autofit_nothing", "engine.gpu_memory_utilization", None),
    "bad_choice": ("bad_value", "engine.dtype", None),
    "bad_json": ("bad_value", "engine.compilation_config", None),
    "bad_value": ("bad_value", "engine.tensor_parallel_size", None),
    "batch_too_small": ("batch_too_small", "engine.max_num_batched_tokens", 128),
    "cdi_off": ("cdi_off", "", None),
    "cdi_unresolvable": ("cdi_unresolvable", "", None),
    "chat_template": ("chat_template", "engine.chat_template", None),
    "config_damaged": ("config_damaged", "model", None),
    "context_too_long": ("context_exceeds_model", "engine.max_model_len", 2048),
    "cpu_memory": ("cpu_memory", "engine.kv_cache_memory_bytes", None),
    "cpu_shared": ("cpu_shared", "engine.gpu_memory_utilization", 0.87),
    "data_parallel_dense": ("data_parallel_dense", "engine.data_parallel_size", None),
    "doubled_serve": ("doubled_command", "", None),
    "gated": ("gated", "model", None),
    "killed": ("killed", "engine.safetensors_load_strategy", "lazy"),
    "kv_too_small": ("context_exceeds_kv", "engine.max_model_len", 384),
    "lfs_pointer": ("lfs_pointer", "model", None),
    "log_outputs": ("log_outputs", "engine.enable_log_requests", True),
    "lora_missing": ("lora_missing", "engine.lora_modules", None),
    "lora_rank": ("lora_rank", "engine.max_lora_rank", 64),
    "missing_config": ("model_not_readable", "model", None),
    "missing_weights": ("no_weights", "model", None),
    "mount_denied": ("mount_denied", "volumes", None),
    "no_compiler": ("no_compiler", "engine.enforce_eager", True),
    "no_front_end": ("no_front_end", "engine.master_addr", None),
    "no_gpu_runtime": ("no_gpu_runtime", "", None),
    "no_ray": ("no_ray", "engine.distributed_executor_backend", None),
    "no_vllm": ("no_vllm", "image", None),
    "no_vllm_without_init": ("no_vllm", "image", None),
    "nodes_not_dividing": ("nodes_not_dividing", "engine.nnodes", None),
    "offline": ("offline", "model", None),
    "option_validation": ("option_validation", "engine.max_cpu_loras", None),
    "port_allocated": ("port_allocated", "port", None),
    "port_in_use": ("port_in_use", "env.VLLM_PORT", None),
    "port_taken": ("port_allocated", "port", None),
    "quantization_dtype": ("quantization_dtype", "engine.dtype", "half"),
    "quantization_mismatch": ("quantization_mismatch", "engine.quantization", None),
    "shared_memory": ("shared_memory", "shm_size", "2g"),
    "ssl_missing": ("tls_file", "engine.ssl_certfile", None),
    "tokenizer_damaged": ("json_damaged", "model", None),
    "tokenizer_missing": ("no_tokenizer", "model", None),
    "tool_parser_missing": ("tool_parser_missing", "engine.tool_call_parser", None),
    "tp_not_dividing": ("heads_not_divisible", "engine.tensor_parallel_size", 2),
    "trust_remote_code": ("trust_remote_code", "engine.trust_remote_code", True),
    "unknown_connector": ("unknown_connector", "engine.kv_transfer_config", None),
    "unknown_flag": ("unknown_option", "engine.max_modle_len", None),
    "unknown_model_type": ("unknown_model_type", "image", None),
    "unknown_reasoning_parser": ("unknown_reasoning_parser", "engine.reasoning_parser", None),
    "unknown_tool_parser": ("unknown_parser", "engine.tool_call_parser", None),
    "unsupported_architecture": ("unsupported_architecture", "image", None),
    "weights_not_readable": ("weights_not_readable", "model", None),
    "wrong_platform": ("wrong_platform", "image", None),
    "wrong_platform_without_init": ("wrong_platform", "image", None),
    "gpu/attention_backend": ("attention_backend", "engine.attention_backend", None),
    "gpu/batch_too_small": ("batch_too_small", "engine.max_num_batched_tokens", 40960),
    "gpu/context_exceeds_kv": ("context_exceeds_kv", "engine.max_model_len", 95088),
    "gpu/context_exceeds_model": ("context_exceeds_model", "engine.max_model_len", 131072),
    "gpu/disk_full": ("disk_full", "", None),
    "gpu/float16_unsupported": ("float16_unsupported", "engine.dtype", "bfloat16"),
    "gpu/gpu_does_not_exist": ("no_gpu_visible", "gpus", None),
    "gpu/gpu_shared": ("gpu_shared", "engine.gpu_memory_utilization", 0.46),
    "gpu/kv_bytes_too_many": ("kv_cache_refused", "engine.kv_cache_memory_bytes", None),
    "gpu/nccl_no_interface": ("nccl", "env.NCCL_DEBUG", "INFO"),
    "gpu/no_gpu_visible": ("no_gpu_visible", "gpus", None),
    "gpu/no_kv_memory": ("no_kv_memory", "engine.gpu_memory_utilization", None),
    "gpu/no_user": ("no_user", "image", None),
    "gpu/profiling_disturbed": ("profiling_disturbed", "", None),
    "gpu/quantization_mismatch": ("quantization_mismatch", "engine.quantization", None),
    "gpu/quantization_no_config": ("quantization_mismatch", "engine.quantization", None),
    "gpu/ready_timeout": ("engine_ready_timeout", "env.VLLM_ENGINE_READY_TIMEOUT_S", 3600),
    "gpu/too_few_gpus": ("too_few_gpus", "gpus", 2),
    "gpu/weights_out_of_memory": ("weights_do_not_fit", "gpus", None),
    "documented/bfloat16_unsupported": ("bfloat16_unsupported", "engine.dtype", "half"),
    "documented/cache_permission": ("cache_permission", "", None),
    "documented/chat_template_0.31": ("chat_template", "engine.chat_template", None),
    "documented/context_exceeds_kv_0.21": ("context_exceeds_kv", "engine.max_model_len", 13104),
    "documented/context_exceeds_kv_old": ("context_exceeds_kv_old", "engine.max_model_len", 9840),
    "documented/driver_mismatch": ("driver_mismatch", "", None),
    "documented/driver_too_old": ("driver_too_old", "image", None),
    "documented/driver_too_old_image": ("driver_too_old_image", "image", None),
    "documented/fabric_manager": ("fabric_manager", "", None),
    "documented/forward_compatibility": ("forward_compatibility", "env.VLLM_ENABLE_CUDA_COMPATIBILITY", None),
    "documented/gpu_architecture": ("gpu_architecture", "image", None),
    "documented/killed": ("killed", "engine.safetensors_load_strategy", "lazy"),
    "documented/nccl": ("nccl", "env.NCCL_DEBUG", "INFO"),
    "documented/no_gpu_visible": ("no_gpu_visible", "gpus", None),
    "documented/nvml_lost": ("nvml_lost", "", None),
    "documented/partition_not_divisible": ("partition_not_divisible", "engine.tensor_parallel_size", None),
    "documented/quantization_hardware": ("quantization_hardware", "model", None),
    "documented/sampler_out_of_memory": ("sampler_out_of_memory", "engine.max_num_seqs", 512),
    "documented/shared_memory_bus_error": ("shared_memory_bus_error", "shm_size", "16g"),
    "documented/vllm_port_uri": ("vllm_port_uri", "env.VLLM_PORT", None),
    "documented/weights_do_not_fit": ("weights_do_not_fit", "gpus", None),
}


@pytest.mark.parametrize("log", LOGS)
def test_each_log_is_recognized(log: str) -> None:
    diagnosis = diagnose((FAILURES / f"{log}.log").read_text(encoding="utf-8").splitlines(), 1, name="alpha")
    assert (diagnosis.id, diagnosis.variable, diagnosis.value) == LOGS[log]
    assert "{" not in diagnosis.cause.partition(":")[0] + diagnosis.fix
    # The generic wrappers are never what is shown as the reason.
    for wrapper in ("Engine core initialization failed", "WorkerProc initialization failed", "failed to start."):
        assert wrapper not in diagnosis.evidence


def test_every_log_is_tried() -> None:
    running = {"documented/worker_hangs"}
    assert {str(path.relative_to(FAILURES).with_suffix("")) for path in FAILURES.rglob("*.log")} == {*LOGS, *running}
    recorded = {found for log, (found, _variable, _value) in LOGS.items() if not log.startswith("documented/")}
    assert len(recorded) >= 45


@pytest.mark.parametrize(
    ("line", "found", "part"),
    [
        (
            (
                "ValueError: Free memory on device cuda:0 (10.21/79.10 GiB) on startup is less than desired GPU memory "
                "utilization (0.92, 72.77 GiB). Decrease GPU memory utilization or reduce GPU memory "
                "used by other processes."
            ),
            "gpu_shared",
            "10.21 of 79.10 GiB are free, and a share of 0.92 is 72.77 GiB",
        ),
        (
            (
                "ValueError: To serve at least one request with the models's max seq len (40960), (10.00 GiB KV cache "
                "is needed, which is larger than the available KV cache memory (3.20 GiB)."
            ),
            "context_exceeds_kv",
            "needs 10.00 GiB of KV cache and 3.20 GiB are available",
        ),
        (
            (
                "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
                "Your Tesla T4 GPU "
                "has compute capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag"
            ),
            "bfloat16_unsupported",
            "the Tesla T4 (compute capability 7.5) cannot compute in bfloat16",
        ),
        (
            'failed to create task for container: could not select device driver "nvidia" with capabilities: [[gpu]]',
            "no_gpu_runtime",
            "Docker cannot give a GPU",
        ),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update your driver",
            "driver_too_old_image",
            "needs a driver for CUDA 13.0",
        ),
        (
            (
                "driver failed programming external connectivity on endpoint alpha (0a1b): Bind for "
                "0.0.0.0:18005 failed: port "
                "is already allocated"
            ),
            "port_allocated",
            "listens on the port already",
        ),
        (
            "vllm: error: argument --kv-cache-dtype: invalid choice: 'fp4' (choose from 'auto', 'fp8')",
            "bad_value",
            "engine.kv_cache_dtype has a value that vLLM does not take: invalid choice: 'fp4'",
        ),
        (
            "RuntimeError: Insufficient space in /dev/shm for message queue: 160 MiB required, 64 MiB free. Increase",
            "shared_memory",
            "160 MiB of shared memory are needed and 64 MiB are free",
        ),
        (
            "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures:",
            "unsupported_architecture",
            "cannot serve the architecture",
        ),
        ("RuntimeError: Failed to infer device type, please set", "no_gpu_visible", "vLLM sees no GPU"),
        (
            (
                "pydantic_core.ValidationError: 1 validation error for X\n  Value error, strange thing. "
                "[type=value_error, x"
            ),
            "option_validation",
            "vLLM refuses the options: strange thing.",
        ),
    ],
)
def test_what_vllm_and_docker_say(line: str, found: str, part: str) -> None:
    diagnosis = diagnose(line.split("\n"), 1)
    assert diagnosis.id == found
    assert part in diagnosis.cause
    assert "{" not in diagnosis.cause + diagnosis.fix


def test_the_first_exact_cause_wins_over_what_follows_from_it() -> None:
    lines = [
        (
            "(Worker_TP1 pid=9) ERROR 11-23 10:31:46 [x.py:1] torch.OutOfMemoryError: CUDA out of "
            "memory. Tried to allocate"
        ),
        "(EngineCore pid=8) ERROR 11-23 10:31:47 [x.py:1] ValueError: No available memory for the cache blocks.",
        (
            "(APIServer pid=1) ERROR 11-23 10:31:48 [x.py:1] ValueError: Total number of attention heads (4) must be "
            "divisible by tensor parallel size (3)."
        ),
        (
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
            "{'EngineCore': 1}"
        ),
    ]
    assert diagnose(lines, 1).id == "no_kv_memory"
    assert diagnose(lines[:1] + lines[3:], 1).id == "cuda_out_of_memory"


def test_a_kill_for_want_of_memory_is_seen_without_a_word_in_the_log() -> None:
    diagnosis = diagnose(["Loading weights"], 137, out_of_memory=True)
    assert (diagnosis.id, diagnosis.evidence) == ("host_out_of_memory", "exit code 137, out of memory")
    # Docker 20.10 does not always say that memory ran out.
    assert diagnose(["Loading weights"], 137).cause.startswith("something killed vLLM, nearly always the kernel")
    assert diagnose(["ValueError: No available memory for the cache blocks"], 137).id == "no_kv_memory"


@pytest.mark.parametrize(
    ("lines", "evidence"),
    [
        (
            [
                "Traceback (most recent call last):",
                "KeyError: 'the_real_reason'",
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            ],
            "KeyError: 'the_real_reason'",
        ),
        (["something", "last words", ""], "last words"),
        ([], "the log is empty"),
    ],
)
def test_an_unknown_failure_quotes_what_is_no_wrapper(lines: list[str], evidence: str) -> None:
    diagnosis = diagnose(lines, 1, name="alpha")
    assert diagnosis.id == "unknown"
    assert diagnosis.evidence == evidence
    assert diagnosis.cause.startswith("vLLM ended with exit code 1 for a reason that is not known to this collection")
    assert diagnosis.fix.endswith("read its log: docker logs alpha")


def test_a_healthy_start_holds_no_exact_cause() -> None:
    lines = (FAILURES.parent / "start_0.32.0.log").read_text().splitlines()
    assert diagnose(lines).id == "unknown"


def test_signatures_are_told_apart() -> None:
    names = [signature.id for signature in SIGNATURES]
    assert len(set(names)) == len(names)


# Signatures that no log of the fixtures has: what is said, and what is to be changed to which value.
SAID: dict[str, tuple[str, str, t.Any]] = {
    "moe_backend": (
        "ValueError: FP8 MoE backend 'DEEPGEMM' does not support the deployment configuration since kernel does not "
        "support silu_no_mul activation",
        "engine.moe_backend",
        None,
    ),
    "file_system": ("OSError: [Errno 5] Input/output error: '/models/m/model-00001-of-00004.safetensors'", "", None),
    "gpu_memory_refused": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.19 GiB. GPU 0 has a total capacity of 24.00 "
        "GiB "
        "of which 14.71 GiB is free. Of the allocated memory 7.1 GiB is allocated by PyTorch",
        "",
        None,
    ),
    "lora_unsupported": ("ValueError: XForCausalLM does not support LoRA yet.", "engine.enable_lora", None),
    "quantization_scheme_hardware": (
        "RuntimeError: Quantization scheme is not supported for the current GPU. Min capability: 89. Current "
        "capability: 86.",
        "model",
        None,
    ),
    "fp8_kv_cache_unsupported": (
        "ValueError: FP8 KV cache is not supported by the Triton attention backend on A100",
        "engine.kv_cache_dtype",
        None,
    ),
    "nvidia_hook_no_driver": (
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object "
        "file: no such file or directory: unknown",
        "",
        None,
    ),
    "nvidia_cli_missing": (
        "stderr: Auto-detected mode as 'legacy' exec: \"nvidia-container-cli\": executable file not found in $PATH",
        "nvidia_toolkit_cdi",
        None,
    ),
    "nvidia_hook": ("nvidia-container-cli: ldcache error: process /sbin/ldconfig failed", "", None),
    "ptx_toolchain": (
        "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
        "image",
        None,
    ),
    "kernel_too_large": (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, Hardware limit: "
        "101376.",
        "image",
        None,
    ),
    "device_ordinal": ("RuntimeError: CUDA error: invalid device ordinal", "gpus", None),
    "cuda_library": (
        "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "engine.gpu_memory_utilization",
        None,
    ),
    "cuda_driver": ("RuntimeError: CUDA error: unknown error", "", None),
    "no_meeting": (
        "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
        "env.VLLM_HOST_IP",
        None,
    ),
    "model_refused": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, Expecting "
        "value: "
        "line 1 column 1 (char 0) [type=value_error, input_value=ArgsKwargs(())]",
        "image",
        None,
    ),
    "environment_value": (
        "ValueError: Invalid value 'FAST' for VLLM_ATTENTION_BACKEND. Valid options: ['FLASH_ATTN', 'TRITON_ATTN'].",
        "env.VLLM_ATTENTION_BACKEND",
        None,
    ),
    "option_field": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\ncache_dtype\n  Input should "
        "be "
        "'auto' or 'fp8' [type=literal_error, input_value='fp4', input_type=str]",
        "engine.cache_dtype",
        None,
    ),
    "engine_refused": (
        "the Docker Engine at /run/podman/podman.sock failed at /containers/create?name=alpha: container create: "
        'lookup init binary: exec: "catatonit": executable file not found in $PATH',
        "",
        None,
    ),
    "read_only": ("OSError: [Errno 30] Read-only file system: '/root/.cache/vllm'", "volumes", None),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_recognized(name: str) -> None:
    said, variable, value = SAID[name]
    diagnosis = diagnose(["Traceback (most recent call last):", *said.split("\n")], 1, name="alpha")
    assert (diagnosis.id, diagnosis.variable, diagnosis.value) == (name, variable, value)
    assert "{" not in diagnosis.cause + diagnosis.fix


def test_a_field_of_a_mapping_is_told_with_its_option() -> None:
    said = (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for SpeculativeConfig\nnum_tokens\n  "
        "Unexpected keyword argument [type=unexpected_keyword_argument, input_value=3, input_type=int]"
    )
    diagnosis = diagnose(["Traceback (most recent call last):", *said.split("\n")], 1)
    assert (diagnosis.id, diagnosis.variable) == ("option_field", "engine.speculative_config")
    assert diagnosis.cause.startswith("num_tokens in engine.speculative_config has a value")


def test_a_hanging_server_may_say_so_at_any_level() -> None:
    lines = (FAILURES / "documented/worker_hangs.log").read_text(encoding="utf-8").splitlines()
    assert diagnose(lines, running=True).id == "worker_hangs"
    # One that ended did so for another reason, for a slow compilation prints the same words.
    assert diagnose(lines, 1).id == "unknown"
    assert diagnose([*lines, "Traceback (most recent call last):", "ValueError: the true one"], 1).evidence.endswith(
        "one"
    )


def test_vllms_own_configuration_is_no_evidence() -> None:
    for log in LOGS:
        text = (FAILURES / f"{log}.log").read_text(encoding="utf-8")
        changed = text.replace("trust_remote_code=False", "trust_remote_code=True")
        assert diagnose(changed.splitlines(), 1).id == LOGS[log][0]


def test_advice_follows_the_release_and_the_options_of_the_container() -> None:
    line = "AssertionError: Sinks are only supported in FlashAttention 3"
    assert "engine.attention_backend: TRITON_ATTN" in diagnose([line], 1, release=(0, 20, 1)).fix
    assert "VLLM_ATTENTION_BACKEND" not in diagnose([line], 1, release=(0, 20, 1)).fix
    assert "VLLM_ATTENTION_BACKEND: TRITON_ATTN_VLLM_V1 in env" in diagnose([line], 1, release=(0, 10, 1)).fix
    line = "ValueError: The output_size of gate's weight = 192 is not divisible by weight quantization block_n = 128."
    assert diagnose([line], 1, command=["serve", "--tensor-parallel-size", "8"]).value == 4
    assert diagnose([line], 1).value is None


def test_the_driver_that_an_image_needs_is_the_one_that_the_message_names() -> None:
    said = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>={}, please update your driver"
    assert "-cu129" in diagnose([said.format("13.0")]).fix
    assert "CUDA 12.8 or newer" in diagnose([said.format("12.8")]).fix


def test_the_output_of_a_command_that_failed_is_the_evidence() -> None:
    lines = [
        "/tmp/x.c:3:10: fatal error: cuda.h: No such file or directory",
        "compilation terminated.",
        "Traceback (most recent call last):",
        '  File "/lib/triton/runtime/build.py", line 50, in _build',
        "subprocess.CalledProcessError: Command '['/usr/bin/gcc', '/tmp/x.c']' returned non-zero exit status 1.",
    ]
    diagnosis = diagnose(lines, 1)
    assert diagnosis.id == "unknown"
    assert diagnosis.evidence.startswith("/tmp/x.c:3:10: fatal error: cuda.h: No such file or directory")


def test_an_error_of_a_compiler_is_told_with_the_line_that_says_it() -> None:
    lines = ["Traceback (most recent call last):", "RuntimeError: Ninja build failed. Ninja output:"]
    lines += [f"[{number}/99] nvcc -c file_{number}.cu -o file_{number}.o" for number in range(1, 60)]
    lines += ["/root/a.cu:1:10: fatal error: flashinfer/page.cuh: No such file or directory", "ninja: build stopped"]
    diagnosis = diagnose(lines, 1)
    assert diagnosis.id == "compilation"
    assert "fatal error: flashinfer/page.cuh: No such file or directory" in diagnosis.evidence
    assert len(diagnosis.evidence) <= 500


def test_an_exception_without_words_is_told_with_the_line_that_raised_it() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/lib/vllm/x.py", line 3, in run',
        "    assert a == b",
        "AssertionError",
    ]
    assert diagnose(lines, 1).evidence == "AssertionError at: assert a == b"


USAGE = [
    "(EngineCore pid=9) Exception in thread Thread-2 (_report_usage_worker):",
    "(EngineCore pid=9) Traceback (most recent call last):",
    "(EngineCore pid=9) PermissionError: [Errno 13] Permission denied: '/.config'",
]


def test_what_a_thread_said_is_no_cause_of_a_death_or_of_a_slow_start() -> None:
    assert diagnose(USAGE, 137).id == "host_out_of_memory"
    assert diagnose(USAGE, running=True).id == "unknown"
    # Where nothing else says a word, it is better than none.
    assert diagnose(USAGE, 1).id == "no_home"


def test_an_error_after_which_vllm_goes_on_is_no_cause() -> None:
    retried = (
        "(APIServer pid=1) ERROR 11-28 10:00:00 [config.py:130] Error retrieving file list: Repo id must be in the "
        "form "
        "'repo_name': '/models/m', retrying 1 of 2"
    )
    assert diagnose([retried, "Traceback (most recent call last):", "ValueError: the true one"], 1).evidence.endswith(
        "one"
    )
    assert diagnose([retried], 1).id == "unknown"


def test_what_the_engine_repeats_of_a_worker_is_better_than_nothing() -> None:
    lines = [
        "Traceback (most recent call last):",
        "RuntimeError: Worker failed with error 'No CUDA GPUs are available', please check the stack trace above for "
        "the "
        "root cause",
        "Traceback (most recent call last):",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]
    assert diagnose(lines, 1).id == "no_cuda_gpus"


def test_an_exception_that_is_printed_again_is_told_by_its_full_traceback() -> None:
    raised = [
        '  File "/x/transformers/models/auto/auto_factory.py", line 7, in __getitem__',
        "KeyError: <class 'x.Config'>",
    ]
    lines = ["ERROR 04-26 12:03:35 [engine.py:448] Traceback (most recent call last):"]
    lines += [f"ERROR 04-26 12:03:35 [engine.py:448] {line}" for line in raised]
    lines += [
        "Process SpawnProcess-1:",
        "Traceback (most recent call last):",
        '  File "/python/process.py", line 3, in run',
    ]
    lines += [raised[1], "RuntimeError: Engine process failed to start. See stack trace for the root cause."]
    assert diagnose(lines, 1).cause.endswith("it is about the model's files")


@pytest.mark.parametrize("line", ["ValueError: " + "x" * 200_000, "x" * 200_000, "(a" * 100_000, "a: " * 70_000])
def test_a_line_without_an_end_does_not_hold_the_diagnosis_up(line: str) -> None:
    started = time.monotonic()
    diagnose(["Traceback (most recent call last):", line, line], exit_code=1)
    assert time.monotonic() - started < 20


def test_the_reason_at_the_end_of_a_long_line_counts() -> None:
    found = diagnose(
        [f"RuntimeError: {'x ' * 50_000} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"],
        exit_code=1,
    )
    assert found.id == "cuda_out_of_memory"
