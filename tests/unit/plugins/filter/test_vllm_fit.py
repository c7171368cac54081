# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.vllm_fit import vllm_fit

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "vocab_size": 151936,
    "torch_dtype": "bfloat16",
}


def test_the_answer_is_plain_data() -> None:
    found = vllm_fit(CONFIG, gpu_memory=24 * 2**30, gpu_name="NVIDIA RTX 4090", weight_bytes=16381470720)
    assert found["verdict"] == "fits"
    assert found["max_model_len"] == 40960
    assert found["kv_bytes_per_token"] == 36 * 2 * 8 * 128 * 2
    assert isinstance(found["reasons"], list)
    assert set(found) == {
        "verdict",
        "reasons",
        "kv_bytes_per_token",
        "kv_tokens",
        "max_concurrency",
        "max_model_len",
        "max_model_len_that_fits",
        "kv_cache_bytes",
        "weight_bytes",
        "overhead_bytes",
        "overhead_bytes_least",
        "overhead_bytes_most",
        "kv_tokens_least",
        "kv_tokens_most",
        "max_num_seqs_that_fits",
        "max_num_batched_tokens_that_fits",
    }


def test_a_given_amount_of_memory() -> None:
    found = vllm_fit(CONFIG, kv_cache_memory_bytes=2**30, max_model_len=4096, device="cpu")
    assert (found["kv_tokens"], found["max_concurrency"]) == (7281 // 128 * 128, 1.75)


@pytest.mark.parametrize(
    ("arguments", "problem"), [(("text",), "must be a model's config.json"), ((CONFIG,), "neither cuda nor cpu")]
)
def test_wrong_arguments(arguments: tuple[t.Any, ...], problem: str) -> None:
    with pytest.raises(AnsibleFilterError, match=problem):
        vllm_fit(*arguments, device="tpu")


def test_a_draft_shares_the_kv_cache() -> None:
    draft = {**CONFIG, "num_hidden_layers": 4}
    engine = {"speculative_config": {"method": "eagle3", "model": "some/draft", "num_speculative_tokens": 3}}
    known = {"kv_cache_memory_bytes": 10 * 2**30, "max_model_len": 4096}
    alone = vllm_fit(CONFIG, **known)["kv_tokens"]
    both = vllm_fit(CONFIG, **known, engine=engine, draft_config=draft, draft_weight_bytes=2**30)["kv_tokens"]
    assert both == pytest.approx(alone * 36 / 40, rel=0.001)
    assert vllm_fit(CONFIG, **known, engine=engine)["verdict"] == "cannot_predict"
    with pytest.raises(AnsibleFilterError, match="draft_config must be"):
        vllm_fit(CONFIG, engine=engine, draft_config="text")


def test_what_a_token_of_sparse_attention_takes_depends_on_the_gpu() -> None:
    config = {
        "model_type": "deepseek_v32",
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "hidden_size": 7168,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "index_topk": 2048,
        "index_head_dim": 128,
        "max_position_embeddings": 163840,
    }
    known = {"gpu_memory": 141 * 2**30, "weight_bytes": 690 * 10**9}
    engine = {"tensor_parallel_size": 8}
    plain = vllm_fit(config, **known, compute_capability=9.0, engine=engine)
    packed = vllm_fit(config, **known, compute_capability=9.0, engine={**engine, "kv_cache_dtype": "fp8"})
    assert plain["kv_bytes_per_token"] == 61 * (576 * 2 + 132)
    assert packed["kv_bytes_per_token"] == 61 * (656 + 132)
    newer = vllm_fit(config, **known, compute_capability=12.0, engine=engine)
    assert newer["verdict"] == "cannot_predict"
