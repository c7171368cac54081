# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit._verdict import (
    CANNOT_PREDICT,
    DOES_NOT_FIT,
    FITS,
    Fit,
    Gpu,
    Request,
    fit,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "vllm"
MEASURED = json.loads((FIXTURES / "kv_cache_0.32.0.json").read_text("utf-8"))["cases"]
GIB = 2**30

LLAMA_8B: dict[str, t.Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LLAMA_8B_BYTES = 16_060_522_496


def on_gpu(config: t.Mapping[str, t.Any] | None = None, memory: int = 80 * GIB, **more: t.Any) -> Fit:
    values: dict[str, t.Any] = {
        "config": LLAMA_8B if config is None else config,
        "engine": {},
        "release": (0, 32, 0),
        "gpu": Gpu(memory, "NVIDIA H100 80GB HBM3"),
        "weight_bytes": LLAMA_8B_BYTES,
        **more,
    }
    return fit(Request(**values))


def with_kv(config: t.Mapping[str, t.Any], memory: int, length: int, device: str = "cpu", **engine: t.Any) -> Fit:
    return fit(Request(config, engine, (0, 32, 0), device, kv_cache_memory_bytes=memory, max_model_len=length))


@pytest.mark.parametrize("name", MEASURED)
def test_tokens_and_concurrency_are_what_vllm_reports(name: str) -> None:
    case = MEASURED[name]
    found = with_kv(case["config"], case["kv_bytes"], case["max_model_len"], **case["engine"])
    assert found.verdict == FITS, found.reasons
    assert (found.kv_tokens, found.as_result()["max_concurrency"]) == (case["tokens"], case["concurrency"])


def test_the_document_lists_what_was_measured() -> None:
    document = (pathlib.Path(__file__).parents[5] / "docs" / "fit.md").read_text("utf-8")
    for case in MEASURED.values():
        name = case["config"]["architectures"][0]
        rows = [line for line in document.splitlines() if line.startswith(f"| `{name}` |")]
        assert any(f"| {case['tokens']:,} |" in row for row in rows), name


def test_bytes_per_token_of_known_models() -> None:
    assert with_kv(LLAMA_8B, GIB, 1024).kv_bytes_per_token == 128 * 1024
    assert with_kv(LLAMA_8B, GIB, 1024, tensor_parallel_size=4).kv_bytes_per_token == 32 * 1024
    assert with_kv(LLAMA_8B, GIB, 1024, tensor_parallel_size=16).kv_bytes_per_token == 16 * 1024, "heads are repeated"
    assert with_kv(LLAMA_8B, GIB, 1024, "cuda", kv_cache_dtype="fp8").kv_bytes_per_token == 64 * 1024
    deepseek_v3 = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "dtype": "bfloat16"}
    for size in (1, 8):
        assert with_kv(deepseek_v3, GIB, 1024, tensor_parallel_size=size).kv_bytes_per_token == 61 * 1152


def test_a_model_that_fits_on_a_gpu() -> None:
    found = on_gpu()
    assert found.verdict == FITS
    assert found.reasons == ()
    assert found.max_model_len == 131072
    assert found.max_model_len_that_fits == 131072
    assert found.weight_bytes == LLAMA_8B_BYTES
    assert found.kv_cache_bytes is not None
    assert 50 * GIB < found.kv_cache_bytes < 58 * GIB
    assert found.max_concurrency is not None
    assert 3 < found.max_concurrency < 4


def test_a_context_that_does_not_fit_and_the_one_that_does() -> None:
    found = on_gpu(memory=24 * GIB)
    assert found.verdict == DOES_NOT_FIT
    assert "max_model_len 131072 needs 16.00 GiB of KV cache" in found.reasons[0]
    assert found.max_model_len_that_fits is not None
    assert 20000 < found.max_model_len_that_fits < 50000
    assert on_gpu(memory=24 * GIB, max_model_len=found.max_model_len_that_fits).verdict == FITS


def test_the_length_that_fits_is_the_greatest() -> None:
    memory = 100_000_000
    longest = with_kv(LLAMA_8B, memory, 4096).max_model_len_that_fits
    assert longest
    assert with_kv(LLAMA_8B, memory, longest).verdict == FITS
    assert with_kv(LLAMA_8B, memory, longest + 1).verdict == DOES_NOT_FIT


def test_weights_that_leave_nothing() -> None:
    found = on_gpu(memory=16 * GIB)
    assert found.verdict == DOES_NOT_FIT
    assert "leave no memory for the KV cache" in found.reasons[0]
    assert found.kv_tokens == 0
    assert found.max_model_len_that_fits == 0


def test_length_auto_takes_what_fits() -> None:
    found = on_gpu(memory=24 * GIB, engine={"max_model_len": "auto"})
    assert found.verdict == FITS
    assert found.max_model_len == found.max_model_len_that_fits
    assert on_gpu(engine={"max_model_len": -1}).max_model_len == 131072


def test_numbers_are_read_as_vllm_reads_them() -> None:
    assert on_gpu(engine={"max_model_len": "32k"}).max_model_len == 32000
    assert on_gpu(engine={"max-model-len": "32K"}).max_model_len == 32768
    assert on_gpu(engine={"max_model_len": "many"}).verdict == CANNOT_PREDICT


def test_a_kv_cache_of_stated_size_must_fit_beside_the_weights() -> None:
    assert (
        on_gpu(memory=24 * GIB, engine={"kv_cache_memory_bytes": "4G", "max_model_len": 8192}).kv_cache_bytes == 4 * GIB
    )
    found = on_gpu(memory=24 * GIB, engine={"kv_cache_memory_bytes": "9G", "max_model_len": 8192})
    assert found.verdict == DOES_NOT_FIT
    assert "kv_cache_memory_bytes 9.00 GiB does not fit beside weights 14.96 GiB" in found.reasons[0]


def test_more_gpus_leave_more_room() -> None:
    one, two = on_gpu(memory=40 * GIB), on_gpu(memory=40 * GIB, engine={"tensor_parallel_size": 2})
    assert two.weight_bytes == LLAMA_8B_BYTES // 2
    assert one.kv_tokens
    assert two.kv_tokens
    assert two.kv_tokens > 2 * one.kv_tokens


def test_heads_that_cannot_be_divided() -> None:
    found = on_gpu(engine={"tensor_parallel_size": 3})
    assert found.verdict == DOES_NOT_FIT
    assert found.reasons == ("32 attention heads cannot be divided by tensor_parallel_size 3",)


def test_pipeline_stages_take_their_layers_alone() -> None:
    whole, halves = with_kv(LLAMA_8B, GIB, 1024, "cuda"), with_kv(LLAMA_8B, GIB, 1024, "cuda", pipeline_parallel_size=2)
    assert whole.kv_tokens
    assert halves.kv_tokens
    assert halves.kv_tokens == 2 * whole.kv_tokens


def test_an_fp8_checkpoint_may_bring_its_kv_cache_type() -> None:
    scheme = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    quantized = {**LLAMA_8B, "quantization_config": scheme}
    assert with_kv(quantized, GIB, 1024, "cuda").kv_bytes_per_token == 64 * 1024
    assert with_kv(quantized, GIB, 1024, "cuda", kv_cache_dtype="bfloat16").kv_bytes_per_token == 128 * 1024


def test_weights_change_while_they_are_loaded() -> None:
    assert on_gpu(config={**LLAMA_8B, "dtype": "float32"}).weight_bytes == LLAMA_8B_BYTES // 2
    assert on_gpu(engine={"quantization": "fp8"}).weight_bytes == int(LLAMA_8B_BYTES * 0.55)
    assert on_gpu(engine={"cpu_offload_gb": 4}).weight_bytes == LLAMA_8B_BYTES - 4 * GIB


def test_overrides_of_the_configuration_count() -> None:
    assert on_gpu(engine={"hf_overrides": {"num_hidden_layers": 16}}).kv_bytes_per_token == 64 * 1024


def test_the_language_model_inside_a_model_of_images() -> None:
    # As the hub has it: the inner configuration leaves out what is its class's default.
    gemma3_4b = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16",
    }
    found = with_kv(gemma3_4b, 8 * GIB, 32768, "cuda")
    assert found.verdict == FITS
    assert found.kv_bytes_per_token == 5 * 2 * 4 * 256 * 2, "only each sixth layer keeps all tokens"
    assert fit(Request(gemma3_4b, {}, (0, 32, 0), kv_cache_memory_bytes=GIB)).max_model_len == 131072


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "brand_new"}, "the model type brand_new is not known"),
        ({}, "the model type (none) is not known"),
        ({"model_type": "mllama", "text_config": {"model_type": "llama"}}, "the model type mllama around"),
        ({**LLAMA_8B, "architectures": ["LlamaForSequenceClassification"]}, "does not generate text"),
        ({"model_type": "internlm2"}, "config.json has no num_attention_heads"),
        ({"model_type": "deepseek_v3", "index_topk": 2048}, "sparse attention"),
        ({**LLAMA_8B, "model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window"),
    ],
)
def test_what_is_not_known_is_not_guessed(config: t.Mapping[str, t.Any], reason: str) -> None:
    found = on_gpu(config=config)
    assert found.verdict == CANNOT_PREDICT
    assert reason in found.reasons[0]
    assert found.kv_tokens is None


@pytest.mark.parametrize(
    "engine",
    [
        {"speculative_config": {"method": "eagle3", "model": "x/y", "num_speculative_tokens": 3}},
        {"kv_cache_dtype": "turboquant_4bit"},
        {"decode_context_parallel_size": 2},
        {"quantization": "inc"},
        {"hf_overrides": "module.function"},
    ],
)
def test_options_that_are_not_known_are_not_guessed(engine: t.Mapping[str, t.Any]) -> None:
    assert on_gpu(engine=engine).verdict == CANNOT_PREDICT


def test_without_memory_there_is_no_verdict_but_the_need_is_known() -> None:
    found = on_gpu(gpu=None)
    assert found.verdict == CANNOT_PREDICT
    assert found.kv_bytes_per_token == 128 * 1024
    assert "kv_cache_memory_bytes" in found.reasons[0]


def test_another_release_is_said() -> None:
    assert on_gpu(release=(0, 20, 1)).reasons == ("the arithmetic is that of vLLM 0.32, and the image holds 0.20.1",)
    assert "release is not known" in on_gpu(release=None).reasons[0]
