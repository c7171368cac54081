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
    found = fit(
        Request(
            case["config"],
            case["engine"],
            (0, 32, 0),
            "cpu",
            kv_cache_memory_bytes=case["kv_bytes"],
            max_model_len=case["max_model_len"],
            draft_config=case.get("draft_config"),
        )
    )
    if not case["tokens"]:
        assert (found.kv_tokens, found.kv_bytes_per_token) == (None, 0)
        assert "keeps no KV cache" in found.reasons[-2]
        return
    assert found.verdict == FITS, found.reasons
    assert (found.kv_tokens, found.as_result()["max_concurrency"]) == (case["tokens"], case["concurrency"])


BGE_M3: dict[str, t.Any] = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "dtype": "float32",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "vocab_size": 250002,
}
BGE_M3_BYTES = 2_271_145_830


def test_an_encoder_fits_where_its_weights_and_a_step_do() -> None:
    found = on_gpu(BGE_M3, 24 * GIB, weight_bytes=BGE_M3_BYTES)
    assert (found.verdict, found.kv_tokens, found.max_model_len) == (FITS, None, 8194)
    # Its file is in float32, which vLLM loads as half of that; no text is sampled, so no logits count.
    assert found.weight_bytes == BGE_M3_BYTES // 2
    assert (found.overhead_bytes or 0) < 1.6 * GIB
    assert found.reasons == ("the model keeps no KV cache: each text goes through it in one step",)


def test_an_encoder_does_not_fit_into_too_small_a_share() -> None:
    found = on_gpu(BGE_M3, 24 * GIB, weight_bytes=BGE_M3_BYTES, engine={"gpu_memory_utilization": 0.05})
    assert found.verdict == DOES_NOT_FIT
    assert "are more than its share of the GPU" in found.reasons[-1]
    found = on_gpu(BGE_M3, 24 * GIB, weight_bytes=BGE_M3_BYTES, engine={"gpu_memory_utilization": 0.1})
    assert found.verdict == FITS
    assert "may not fit" in found.reasons[-1]


def test_a_batch_of_an_encoder_holds_its_longest_text() -> None:
    found = on_gpu(BGE_M3, 24 * GIB, weight_bytes=BGE_M3_BYTES, engine={"max_num_batched_tokens": 4096})
    assert (found.verdict, found.max_num_batched_tokens_that_fits) == (DOES_NOT_FIT, 8194)


def test_an_embedding_of_a_language_model_keeps_what_that_keeps() -> None:
    chat, embedding = on_gpu(), on_gpu({**LLAMA_8B, "architectures": ["LlamaModel"]})
    assert embedding.kv_bytes_per_token == chat.kv_bytes_per_token
    assert (embedding.overhead_bytes or 0) <= (chat.overhead_bytes or 0)
    assert (embedding.kv_tokens or 0) >= (chat.kv_tokens or 0) > 0


@pytest.mark.parametrize(
    ("changed", "engine", "why"),
    [
        ({"head_dim": 256}, {}, "packs heads of the widths"),
        ({"compress_ratios": [4]}, {}, "fewer compress_ratios than layers"),
        ({"compress_ratios": [16] * 6}, {}, "compress_ratio 16, which is not known"),
        ({}, {"kv_cache_dtype": "bfloat16"}, "another kv_cache_dtype"),
        ({}, {"attention_backend": "FLASHINFER_MLA_SPARSE_DSV4"}, "attention backend is not known"),
        ({}, {"disable_hybrid_kv_cache_manager": True}, "disable_hybrid_kv_cache_manager is not known"),
    ],
)
def test_deepseek_v4_is_told_where_it_is_known(changed: dict[str, t.Any], engine: dict[str, t.Any], why: str) -> None:
    found = with_kv({**MEASURED["deepseek_v4"]["config"], **changed}, GIB, 3000, **engine)
    assert found.verdict == CANNOT_PREDICT
    assert why in found.reasons[-1]


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
        ({"model_type": "somemllama", "text_config": {"model_type": "llama"}}, "the model type somemllama around"),
        ({"model_type": "mllama", "text_config": {"model_type": "llama"}}, "0.10.2 was the last that did"),
        ({"model_type": "minimax_m1"}, "0.23.0 was the last that did"),
        ({**LLAMA_8B, "architectures": ["LlamaForImageSegmentation"]}, "LlamaForImageSegmentation is not known"),
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


def test_the_format_of_mistral_is_read_as_the_model_it_is() -> None:
    large = {
        "dim": 7168,
        "n_layers": 61,
        "n_heads": 128,
        "n_kv_heads": 128,
        "hidden_dim": 16384,
        "vocab_size": 131072,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "moe": {"num_experts": 128, "num_experts_per_tok": 4, "num_shared_experts": 1},
        "quantization": {"qformat_weight": "fp8_e4m3"},
        "max_position_embeddings": 294912,
    }
    found = with_kv(large, 8 * GIB, 4096, "cuda")
    assert (found.verdict, found.kv_bytes_per_token) == (FITS, 61 * 576 * 2)
    small = {"dim": 5120, "n_layers": 40, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "vocab_size": 131072}
    assert with_kv(small, 8 * GIB, 4096, "cuda").kv_bytes_per_token == 40 * 2 * 8 * 128 * 2
    assert with_kv({**large, "moe": {}}, GIB, 4096).verdict == CANNOT_PREDICT


def wrapped(outer: str, inner: t.Mapping[str, t.Any], *names: str) -> dict[str, t.Any]:
    config: t.Any = dict(inner)
    for name in reversed(names):
        config = {name: config}
    return {"model_type": outer, **config}


def _heads(layers: int, heads: int, kv_heads: int, hidden: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": hidden,
    }


QWEN3_MOE_TEXT = {
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "hidden_size": 2048,
}
NEMOTRON_H = {
    "model_type": "nemotron_h",
    "num_hidden_layers": 4,
    "hybrid_override_pattern": "M-M*",
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "hidden_size": 4480,
}
LFM2 = {
    "model_type": "lfm2",
    "num_hidden_layers": 2,
    "layer_types": ["conv", "full_attention"],
    "hidden_size": 2048,
    "conv_dim": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


@pytest.mark.parametrize(
    ("config", "token"),
    [
        (
            wrapped(
                "qwen3_omni_moe",
                {"model_type": "qwen3_omni_moe_text", **QWEN3_MOE_TEXT},
                "thinker_config",
                "text_config",
            ),
            48 * 2048,
        ),
        (
            wrapped("ernie4_5_vl_moe", {"model_type": "ernie4_5_vl_moe_text", **QWEN3_MOE_TEXT}, "text_config"),
            48 * 2048,
        ),
        ({"model_type": "ernie4_5_moe_vl", **QWEN3_MOE_TEXT}, 48 * 2048),
        ({"model_type": "minicpmv", "architectures": ["MiniCPMV"], **QWEN3_MOE_TEXT}, 48 * 2048),
        (
            {
                **wrapped("qwen2_5_omni", {"model_type": "qwen2_5_omni_text"}, "thinker_config", "text_config"),
                "architectures": ["Qwen2_5OmniModel"],
            },
            28 * 2048,
        ),
        ({"model_type": "dots_ocr", **_heads(28, 12, 2, 1536)}, 28 * 1024),
        ({"model_type": "paddleocr_vl"}, 18 * 1024),
        (wrapped("paddleocr_vl", {"model_type": "paddleocr_vl_text"}, "text_config"), 18 * 1024),
        (wrapped("glm_ocr", {"model_type": "glm_ocr_text"}, "text_config"), 16 * 2048),
        (wrapped("interns1", {"model_type": "qwen3", **_heads(36, 32, 8, 4096)}, "text_config"), 36 * 4096),
        (
            {
                **wrapped("ovis2_5", {"model_type": "qwen3", **_heads(36, 32, 8, 4096)}, "llm_config"),
                "architectures": ["Ovis2_5"],
            },
            36 * 4096,
        ),
        (wrapped("voxtral", {"model_type": "llama", **_heads(30, 32, 8, 4096)}, "text_config"), 30 * 4096),
        (wrapped("lfm2_vl", LFM2, "text_config"), 2 * 8 * 64 * 2),
        (wrapped("NemotronH_Nano_VL_V2", NEMOTRON_H, "llm_config"), 2 * 8 * 128 * 2),
        (wrapped("Llama_Nemotron_Nano_VL", LLAMA_8B, "llm_config"), 128 * 1024),
        (
            {
                "model_type": "phi4mm",
                "num_hidden_layers": 32,
                "num_attention_heads": 24,
                "num_key_value_heads": 8,
                "hidden_size": 3072,
            },
            128 * 1024,
        ),
        (
            {
                "model_type": "kimi_linear",
                "num_hidden_layers": 4,
                "num_attention_heads": 32,
                "hidden_size": 2304,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
                "linear_attn_config": {
                    "kda_layers": [1, 2, 3],
                    "full_attn_layers": [4],
                    "num_heads": 32,
                    "head_dim": 128,
                    "short_conv_kernel_size": 4,
                },
            },
            576 * 2,
        ),
        (
            {
                "model_type": "bailing_hybrid",
                "num_hidden_layers": 10,
                "layer_group_size": 5,
                "num_attention_heads": 32,
                "head_dim": 128,
                "hidden_size": 4096,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
            },
            2 * 576 * 2,
        ),
    ],
    ids=lambda value: str(value.get("model_type")) if isinstance(value, dict) else "",
)
def test_models_whose_need_is_read_from_sources(config: t.Mapping[str, t.Any], token: int) -> None:
    """vLLM's build for CPUs does not run these without what lies beside their config.json, or not at all."""
    found = with_kv(config, 8 * GIB, 2048, "cuda")
    assert (found.verdict, found.kv_bytes_per_token) == (FITS, token), found.reasons


def test_an_index_of_sparse_attention_stands_in_most_layers() -> None:
    glm5 = {
        "model_type": "glm_moe_dsa",
        "num_hidden_layers": 8,
        "num_attention_heads": 64,
        "hidden_size": 6144,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "index_head_dim": 128,
        "index_topk": 2048,
    }
    assert with_kv(glm5, GIB, 2048, "cuda").kv_bytes_per_token == 8 * (1152 + 132)
    assert (
        with_kv({**glm5, "index_topk_pattern": "FSSSFSSS"}, GIB, 2048, "cuda").kv_bytes_per_token == 8 * 1152 + 2 * 132
    )


def test_whisper_keeps_what_its_encoder_gave() -> None:
    whisper = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": 1280,
        "decoder_layers": 32,
        "decoder_attention_heads": 20,
        "max_target_positions": 448,
        "max_source_positions": 1500,
        "num_hidden_layers": 32,
        "vocab_size": 51866,
    }
    found = with_kv(whisper, 8 * GIB, 448, "cuda", max_num_batched_tokens=2048)
    blocks = 8 * GIB // (32 * 16 * 2 * 1280 * 2)
    assert found.max_concurrency == pytest.approx(blocks / (448 // 16 + 2048 // 16))


def test_drafts_that_are_not_known_are_not_guessed() -> None:
    for stated, reason in (
        ({"method": "eagle3", "model": "x/y", "num_speculative_tokens": 3}, "config.json of the draft model x/y"),
        ({"method": "medusa", "model": "x/y", "num_speculative_tokens": 3}, "the method medusa"),
        ({"method": "mtp", "num_speculative_tokens": 1}, "layers for prediction of the model type llama"),
        ("[ngram]", "is not a mapping"),
    ):
        found = on_gpu(engine={"speculative_config": stated})
        assert found.verdict == CANNOT_PREDICT
        assert reason in found.reasons[0]
    draft = {"speculative_config": {"method": "eagle3", "model": "x/y", "num_speculative_tokens": 3}}
    assert "size of the draft" in on_gpu(engine=draft, draft_config=LLAMA_8B).reasons[0]
    found = on_gpu(engine=draft, draft_config={**LLAMA_8B, "num_hidden_layers": 1}, draft_weight_bytes=GIB)
    assert (found.verdict, found.weight_bytes) == (FITS, LLAMA_8B_BYTES + GIB)


def test_an_assistant_that_keeps_nothing_still_has_weights() -> None:
    gemma4 = {
        "model_type": "gemma4_text",
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "hidden_size": 2816,
    }
    engine = {"speculative_config": {"method": "mtp", "model": "some/assistant", "num_speculative_tokens": 1}}
    assert "size of the draft" in on_gpu(gemma4, engine=engine).reasons[0]
    both, alone = on_gpu(gemma4, engine=engine, draft_weight_bytes=GIB), on_gpu(gemma4)
    assert both.kv_bytes_per_token == alone.kv_bytes_per_token
    assert both.weight_bytes == LLAMA_8B_BYTES + GIB


def test_sparse_attention_on_a_gpu_that_is_not_known_is_said() -> None:
    config = {
        "model_type": "deepseek_v32",
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "hidden_size": 7168,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "index_head_dim": 128,
    }
    assert with_kv(config, GIB, 1024, "cuda").reasons == (
        "what sparse attention keeps is that on Hopper, because the GPU's compute capability is not known",
    )
