# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is predicted, held against what vLLM reported on real GPUs."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict

RECORDED = json.loads((pathlib.Path(__file__).parents[3] / "fixtures/vllm/gpu_0.23.0.json").read_text(encoding="utf-8"))
CASES = RECORDED["cases"]
# Nothing was in use; what CUDA sees is 480 MiB less than the total that nvidia-smi tells.
GPU = _verdict.Gpu(RECORDED["gpu"]["free_mib"] * 2**20, RECORDED["gpu"]["name"], 9.0)
GIB = 2**30
# vLLM says how much memory there is with two digits, so the tokens are those of a range.
ROUNDING = int(0.005 * GIB)
# The furthest that the estimate of the KV cache was off: too small by 0.74 GiB (0.7 GiB of that are for CUDA graphs,
# which 0.23.0 did not count), too large by 2.21 GiB. For dense models without graphs it was 0.22 GiB.
TOO_SMALL, TOO_LARGE, DENSE = 0.8 * GIB, 2.25 * GIB, 0.25 * GIB


def predict(name: str, **known: t.Any) -> _verdict.Fit:
    case = CASES[name]
    engine = {**case["engine"], **known.pop("engine", {})}
    # Releases before 0.32 count one step's tokens in flight in a window, as 0.32 does without async scheduling.
    engine = {"async_scheduling": False, **engine}
    return _verdict.fit(_verdict.Request(config=case["config"], engine=engine, release=(0, 23, 0), gpu=GPU, **known))


def weights(name: str) -> int:
    """Bytes of all weights, as vLLM counts them on each GPU."""
    return int(CASES[name]["weights_gib"] * GIB) * int(CASES[name]["engine"].get("tensor_parallel_size", 1))


@pytest.mark.parametrize("name", sorted(CASES))
def test_tokens_for_the_memory_that_there_was(name: str) -> None:
    case = CASES[name]
    memory = int(case["kv_cache_gib"] * GIB)
    # What weights need that are quantized while they are loaded is not known, and does not matter here.
    least, most = (
        predict(
            name,
            engine={"quantization": None},
            kv_cache_memory_bytes=memory + rounding,
            max_model_len=case["max_model_len"],
        )
        for rounding in (-ROUNDING, ROUNDING)
    )
    assert least.kv_tokens is not None
    assert most.kv_tokens is not None
    assert least.kv_tokens <= case["kv_cache_tokens"] <= most.kv_tokens
    assert least.max_concurrency is not None
    assert least.max_concurrency == pytest.approx(case["max_concurrency"], abs=0.011)


@pytest.mark.parametrize("name", sorted(CASES))
def test_memory_that_is_left_for_the_cache(name: str) -> None:
    case = CASES[name]
    found = predict(
        name, engine={"quantization": None}, weight_bytes=weights(name), max_model_len=case["max_model_len"]
    )
    assert found.kv_cache_bytes is not None
    measured = case["kv_cache_gib"] * GIB
    assert measured - TOO_SMALL <= found.kv_cache_bytes <= measured + TOO_LARGE
    if case["engine"].get("enforce_eager"):
        assert abs(found.kv_cache_bytes - measured) < DENSE


def test_many_requests_at_once_need_room_for_their_logits() -> None:
    name = "qwen3_8b"
    few, many = (
        predict(name, engine={"max_num_seqs": count}, weight_bytes=weights(name)).overhead_bytes
        for count in (256, 4096)
    )
    assert few is not None
    assert many is not None
    # 4096 requests times 151,936 words in float32, 2.5 times those of the last 3072, in place of the activations.
    assert many - few == pytest.approx(6.04 * GIB, rel=0.05)


def test_a_server_that_started_is_not_refused() -> None:
    found = {
        name: predict(name, engine={"quantization": None}, weight_bytes=weights(name)).verdict
        for name in CASES
        if "max_model_len" not in CASES[name]["engine"]
    }
    assert set(found.values()) == {"fits"}


def test_a_length_that_vllm_refused_is_refused() -> None:
    """At this share vLLM said that 16.0 GiB are needed, 11.61 GiB are there, and that 95088 tokens would fit."""
    name = "llama_3_1_8b_auto"
    found = predict(name, engine={"max_model_len": 131072}, weight_bytes=weights(name))
    assert found.verdict == "does_not_fit"
    assert found.max_model_len_that_fits == pytest.approx(95088, rel=0.1)


def test_a_share_that_vllm_refused_is_refused() -> None:
    """At this share vLLM said that there is no memory for the cache."""
    name = "llama_3_1_8b_auto"
    found = predict(name, engine={"max_model_len": 131072, "gpu_memory_utilization": 0.2}, weight_bytes=weights(name))
    assert found.verdict == "does_not_fit"
