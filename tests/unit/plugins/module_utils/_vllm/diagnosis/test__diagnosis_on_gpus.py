# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of vLLM 0.23.0 that were recorded on two and on four H200, outside of containers and with made-up weights.

The logs were made after the diagnosis was written. Long ones keep their first 12 and their last 110 lines.
"""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import Diagnosis, diagnose

FAILURES = pathlib.Path(__file__).parents[4] / "fixtures/vllm/gpu_failures"

# Log: a part of the cause, of the line that proves it, and of what to do.
EXPECTED = {
    "backend_without_package": ("attention backend", "AttentionBackendEnum.FLASHINFER", "engine.attention_backend"),
    "draft_missing": (
        "/srv/models/draft is not a model",
        "Invalid repository ID or local directory specified: '/srv/models/draft'",
        "config.json",
    ),
    "dtype_float16_gemma3": ("gemma3_text cannot run in float16", "does not support float16", "engine.dtype"),
    "dtype_mxfp4_float16": (
        "gpt_oss_mxfp4 weights cannot be computed in float16",
        "torch.float16 is not supported",
        "bfloat16",
    ),
    "engine_core_killed": ("engine process died", "engine process was ended", "journalctl -k"),
    "engine_core_segfault": ("SIGSEGV", "SIGSEGV", "another image"),
    "foreign_process": ("78.77 of 139.8 GiB are free", "Free memory on device cuda:0", "nvidia-smi"),
    "gpu_hidden": ("sees no GPU", "DP adjusted local rank 0 is out of bounds", "gpus"),
    "gpu_index_absent": ("sees no GPU", "NVMLError_InvalidArgument", "gpus"),
    "gpu_uuid_unknown": ("CUDA_VISIBLE_DEVICES", "invalid literal for int()", "CUDA_VISIBLE_DEVICES"),
    "kv_bytes_too_many": (
        "less free memory than the KV cache was to take",
        "Tried to allocate 3.88 GiB",
        "lower engine.kv_cache_memory_bytes",
    ),
    "libcuda_empty": ("library libcuda is not in the container", "libcuda.so.1: file too short", "nvidia_toolkit"),
    "no_room_for_the_cache": ("nothing of its share", "No available memory for the cache", "gpu_memory_utilization"),
    "nvidia_cli_missing": (
        "program nvidia-container-cli",
        "couldn't find binary nvidia-container-cli",
        "nvidia_toolkit_cdi",
    ),
    "oom_at_run_time": (
        "process 12218 of the host has 55.19 GiB of its 139.80 GiB",
        "Tried to allocate 384.00 MiB",
        "engine.gpu_memory_utilization",
    ),
    "oom_run_time_taken": (
        "process 876 of the host has 82.46 GiB of its 139.80 GiB",
        "Tried to allocate 192.00 MiB",
        "end process 876",
    ),
    "oom_sampler_warmup": ("4096 requests at once", "warming up sampler", "engine.max_num_seqs"),
    "open_files": ("may not open more files", "Too many open files", "nofile"),
    "package_missing_at_first_request": ("lacks a Python package: flashinfer", "named 'flashinfer'", "image"),
    "package_missing_bitsandbytes": ("lacks a Python package: bitsandbytes", "Please install bitsandbytes", "image"),
    "package_missing_humming": ("lacks a Python package: humming", "named 'humming'", "image"),
    "quantization_not_that": (
        "engine.quantization does not fit",
        "does not match the quantization method",
        "engine.quantization",
    ),
    "quantization_unknown": ("quantized (exl3)", "Unknown quantization method: exl3", "newer image"),
    "reasoning_parser": (
        "no reasoning parser called qwen33",
        "Reasoning parser 'qwen33' not found",
        "engine.reasoning_parser",
    ),
    "tool_parser": (
        "no tool call parser called qwen3_coderr",
        "invalid tool call parser: qwen3_coderr",
        "engine.tool_call_parser",
    ),
    "tp_more_than_gpus": ("over 2 GPUs and the container sees 1", "World size (2)", "gpus"),
    "tp_two_no_gpu": ("over 2 GPUs and the container sees 0", "World size (2)", "gpus"),
    "weights_take_the_share": ("nothing of its share", "No available memory for the cache", "gpu_memory_utilization"),
}


def diagnosed(name: str) -> Diagnosis:
    return diagnose((FAILURES / f"{name}.log").read_text(encoding="utf-8").splitlines(), name="qwen3")


def test_every_recorded_failure_is_expected() -> None:
    assert {path.stem for path in FAILURES.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_recorded_failure(name: str) -> None:
    cause, evidence, fix = EXPECTED[name]
    found = diagnosed(name)
    assert cause in found.cause
    assert evidence in found.evidence
    assert fix in found.fix
