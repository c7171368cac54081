# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts that failed on real GPUs: vLLM 0.23.0 on H100s, made to fail in these ways."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._diagnosis import diagnose

LOGS = pathlib.Path(__file__).parents[3] / "fixtures/vllm/failures/gpu"
# The log, what is found in it, and a part of what is said.
FOUND = {
    "attention_backend": ("attention_backend", "no attention backend fits these options"),
    "batch_too_small": ("batch_too_small", "engine.max_num_batched_tokens (512) is too small"),
    "context_exceeds_kv": (
        "context_exceeds_kv",
        "a context of 131072 tokens needs 16.0 GiB of KV cache and 11.61 GiB are available",
    ),
    "context_exceeds_model": (
        "context_exceeds_model",
        "engine.max_model_len is 1000000, and the model's config.json allows 131072",
    ),
    "disk_full": ("disk_full", "a disk is full"),
    "float16_unsupported": ("float16_unsupported", "a model of type gemma3_text cannot run in float16"),
    "gpu_does_not_exist": ("no_gpu_visible", "vLLM sees no GPU in the container"),
    "gpu_shared": ("gpu_shared", "38.15 of 79.18 GiB are free, and a share of 0.92 is 72.84 GiB"),
    "kv_bytes_too_many": ("cuda_out_of_memory", "the GPU ran out of memory"),
    "nccl_no_interface": ("nccl", "the GPUs could not talk to each other (NCCL)"),
    "no_gpu_visible": ("no_gpu_visible", "vLLM sees no GPU in the container"),
    "no_kv_memory": ("no_kv_memory", "leave nothing of its share of the GPU for the KV cache"),
    "no_user": ("no_user", "the image runs as user 4242"),
    "profiling_disturbed": ("profiling_disturbed", "another process freed GPU memory"),
    "quantization_mismatch": ("quantization_mismatch", "engine.quantization does not fit the model's files"),
    "quantization_no_config": ("quantization_mismatch", "engine.quantization does not fit the model's files"),
    "ready_timeout": ("engine_ready_timeout", "the engine took longer to start than vLLM waits"),
    "too_few_gpus": ("too_few_gpus", "spread the model over 2 GPUs and the container sees 1"),
    "weights_out_of_memory": ("weights_do_not_fit", "the weights do not fit into the GPU's memory"),
}


@pytest.mark.parametrize("log", sorted(FOUND))
def test_recorded_failures(log: str) -> None:
    diagnosis = diagnose((LOGS / f"{log}.log").read_text(encoding="utf-8").splitlines(), 1, name="alpha")
    found, part = FOUND[log]
    assert diagnosis.id == found
    assert part in diagnosis.cause


def test_every_log_is_held_against() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(FOUND)
