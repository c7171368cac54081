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
