# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of vLLM that are no memory, and what is said of an estimate."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict

GIB = 2**30
H100 = _verdict.Gpu(int(79.1 * GIB), "NVIDIA H100 80GB HBM3", 9.0)
L40S = _verdict.Gpu(int(44.4 * GIB), "NVIDIA L40S", 8.9)

# A dense model of 27B with states, and its weights in fp8.
WITH_STATES: dict[str, t.Any] = {
    "model_type": "qwen3_5_text",
    "num_hidden_layers": 64,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 48,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "mamba_ssm_dtype": "float32",
    "quantization_config": {"quant_method": "fp8"},
}
GEMMA4: dict[str, t.Any] = {
    "model_type": "gemma4",
    "vision_config": {"model_type": "gemma4_vision"},
    "text_config": {
        "model_type": "gemma4_text",
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "hidden_size": 2816,
        "intermediate_size": 11264,
        "use_bidirectional_attention": "vision",
        "max_position_embeddings": 131072,
    },
}


def ask(config: t.Mapping[str, t.Any], gpu: _verdict.Gpu = H100, weights: float = 28.9, **more: t.Any) -> _verdict.Fit:
    release = more.pop("release", (0, 32, 0))
    return _verdict.fit(_verdict.Request(config, more, release, gpu=gpu, weight_bytes=int(weights * GIB)))


def test_more_requests_than_blocks_for_their_states_are_told() -> None:
    config = {"model_type": "qwen3_5", "text_config": WITH_STATES, "vision_config": {}}
    found = ask(config, gpu_memory_utilization=0.95)
    assert "max_num_seqs 1024 needs as many blocks for states" in found.reasons[-1]
    nearest = found.max_num_seqs_that_fits
    assert nearest is not None
    assert 750 < nearest <= 856, "a server with these options had 856 blocks, and one more is refused"
    assert f"set engine.max_num_seqs: {nearest}" in found.reasons[-1]
    again = ask(config, gpu_memory_utilization=0.95, max_num_seqs=nearest)
    assert (again.verdict, again.reasons) == ("fits", ())


def test_more_requests_than_blocks_at_the_most_are_refused() -> None:
    found = ask(WITH_STATES, max_num_seqs=4096)
    assert found.verdict == "does_not_fit"
    assert "max_num_seqs 4096 needs as many blocks for states, and there are" in found.reasons[-1]
    assert ask(WITH_STATES, max_num_seqs=found.max_num_seqs_that_fits).verdict == "fits"


@pytest.mark.parametrize(
    "more",
    [
        {"enforce_eager": True},
        {"compilation_config": {"cudagraph_mode": "PIECEWISE"}},
        {"compilation_config": {"cudagraph_mode": "none"}},
        {"release": (0, 18, 0)},
    ],
)
def test_blocks_for_states_do_not_limit_everybody(more: dict[str, t.Any]) -> None:
    found = ask(WITH_STATES, max_num_seqs=4096, **more)
    assert not any("blocks for states" in reason for reason in found.reasons)


def test_a_given_number_of_blocks_limits_requests() -> None:
    found = ask(WITH_STATES, num_gpu_blocks_override=500, max_num_seqs=501)
    assert found.verdict == "does_not_fit"
    assert "there are 500; set engine.max_num_seqs: 500" in found.reasons[-1]


def test_a_video_larger_than_a_batch_is_refused() -> None:
    found = ask(GEMMA4, weights=10, max_num_batched_tokens=2048)
    assert found.verdict == "does_not_fit"
    assert found.max_num_batched_tokens_that_fits == 2496
    assert "set engine.max_num_batched_tokens: 2496" in found.reasons[-1]
    assert ask(GEMMA4, weights=10, max_num_batched_tokens=2496).verdict == "fits"


def test_older_releases_fail_with_their_own_default_of_a_batch() -> None:
    assert ask(GEMMA4, gpu=L40S, weights=10, release=(0, 22, 0)).verdict == "does_not_fit"
    assert ask(GEMMA4, gpu=L40S, weights=10, release=(0, 23, 0)).verdict == "fits", "0.23 raises it"
    assert ask(GEMMA4, gpu=H100, weights=10, release=(0, 22, 0)).verdict == "fits", "its default is larger there"


@pytest.mark.parametrize(
    "more",
    [
        {"limit_mm_per_prompt": {"video": 0}},
        {"limit_mm_per_prompt": {"video": {"count": 1, "num_frames": 16}}},
        {"language_model_only": True},
    ],
)
def test_a_video_that_is_kept_out_needs_no_batch(more: dict[str, t.Any]) -> None:
    assert ask(GEMMA4, weights=10, max_num_batched_tokens=2048, **more).verdict == "fits"


def test_a_batch_smaller_than_the_requests_at_once_is_refused() -> None:
    found = ask(WITH_STATES, max_num_batched_tokens=64, max_num_seqs=128)
    assert found.verdict == "does_not_fit"
    assert found.max_num_batched_tokens_that_fits == 128
    assert "engine.max_num_seqs: 64" in found.reasons[-1]
    assert ask(WITH_STATES, max_num_batched_tokens=64).verdict == "fits", "vLLM lowers its own default"


def test_a_batch_smaller_than_the_context_needs_chunked_prefill() -> None:
    options = {"max_model_len": 16384, "max_num_batched_tokens": 8192, "max_num_seqs": 128}
    found = ask(WITH_STATES, enable_chunked_prefill=False, **options)
    assert (found.verdict, found.max_num_batched_tokens_that_fits) == ("does_not_fit", 16384)
    assert ask(WITH_STATES, **options).verdict == "fits"


def test_graphs_all_larger_than_a_batch_are_refused() -> None:
    sizes = {"cudagraph_capture_sizes": [4096, 8192]}
    found = ask(WITH_STATES, max_num_batched_tokens=2048, max_num_seqs=128, compilation_config=sizes)
    assert (found.verdict, found.max_num_batched_tokens_that_fits) == ("does_not_fit", 4096)
    sizes = {"cudagraph_capture_sizes": [8, 8192]}
    found = ask(WITH_STATES, max_num_batched_tokens=2048, max_num_seqs=128, compilation_config=sizes)
    assert found.verdict == "fits"


EXPERTS: dict[str, t.Any] = {
    "model_type": "minimax_m2",
    "num_hidden_layers": 62,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "hidden_size": 3072,
    "intermediate_size": 1536,
    "num_local_experts": 256,
    "num_experts_per_tok": 8,
    "vocab_size": 200064,
}


def test_what_may_not_fit_is_said_with_its_interval() -> None:
    card = _verdict.Gpu(int(79.1 * GIB), "NVIDIA H100 80GB HBM3", 9.0)
    found = ask(EXPERTS, gpu=card, weights=230, tensor_parallel_size=4, max_model_len=196608)
    assert found.verdict == "fits"
    assert "may not fit: what is needed beside weights and KV cache lies between" in found.reasons[-1]
    assert found.kv_tokens_least is not None
    assert found.kv_tokens_most is not None
    assert found.kv_tokens_least < 196608 <= found.kv_tokens_most


def test_what_a_server_measured_takes_the_place_of_the_interval() -> None:
    request = _verdict.Request(
        EXPERTS,
        {"tensor_parallel_size": 4, "max_model_len": 65536},
        (0, 32, 0),
        gpu=H100,
        weight_bytes=int(230 * GIB),
    )
    guessed = _verdict.fit(request)
    told = _verdict.fit(request._replace(overhead_bytes=8 * GIB))
    for found in (guessed, told):
        assert found.overhead_bytes_least is not None
        assert found.overhead_bytes_most is not None
    assert told.overhead_bytes == 8 * GIB
    assert told.overhead_bytes_most - told.overhead_bytes_least == pytest.approx(1.6 * GIB, rel=0.01)
    assert guessed.overhead_bytes_most - guessed.overhead_bytes_least > 6 * GIB
