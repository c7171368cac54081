# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the configuration classes of Transformers 5.19 take for a key that config.json leaves out.

The language model inside a model of images is written down without the values that are its class's defaults, so these
are needed as often as not.
"""

from __future__ import annotations

import typing as t


def _defaults(
    layers: int, heads: int, kv_heads: int | None, hidden: int, vocabulary: int, length: int | None, **more: t.Any
) -> dict[str, t.Any]:
    values = {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": hidden,
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
        **more,
    }
    return {key: value for key, value in values.items() if value is not None}


_DELTA_NET = {
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
_LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
_MAMBA = {"mamba_expand": 2, "mamba_d_conv": 4, "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256}
_LARGE_MISTRAL = 4096 * 32

# By the model_type of the language model.
DEFAULTS: dict[str, dict[str, t.Any]] = {
    "llama": _defaults(32, 32, None, 4096, 32000, 2048),
    "mistral": _defaults(32, 32, 8, 4096, 32000, _LARGE_MISTRAL, sliding_window=4096),
    "ministral": _defaults(32, 32, 8, 4096, 32000, _LARGE_MISTRAL, sliding_window=4096),
    "ministral3": _defaults(34, 32, 8, 4096, 131072, 262144, head_dim=128),
    "mixtral": _defaults(32, 32, 8, 4096, 32000, _LARGE_MISTRAL),
    "qwen2": _defaults(32, 32, 32, 4096, 151936, 32768, sliding_window=4096),
    "qwen2_moe": _defaults(24, 16, 16, 2048, 151936, 32768, sliding_window=4096),
    "qwen2_vl": _defaults(80, 64, 8, 8192, 152064, 32768, sliding_window=4096),
    "qwen2_5_vl": _defaults(80, 64, 8, 8192, 152064, 32768, sliding_window=4096),
    "qwen2_vl_text": _defaults(80, 64, 8, 8192, 152064, 32768, sliding_window=4096),
    "qwen2_5_vl_text": _defaults(80, 64, 8, 8192, 152064, 32768, sliding_window=4096),
    "qwen3": _defaults(32, 32, 32, 4096, 151936, 32768, head_dim=128, sliding_window=4096),
    "qwen3_moe": _defaults(24, 32, 4, 2048, 151936, 32768, sliding_window=4096),
    "qwen3_vl_text": _defaults(32, 32, 32, 4096, 151936, 128000, head_dim=128),
    "qwen3_vl_moe_text": _defaults(24, 16, 16, 2048, 151936, 128000),
    "phi": _defaults(24, 32, None, 2048, 51200, 2048),
    "phi3": _defaults(32, 32, None, 3072, 32064, 4096),
    "phimoe": _defaults(32, 32, 8, 4096, 32064, _LARGE_MISTRAL),
    "gemma": _defaults(28, 16, 16, 3072, 256000, 8192, head_dim=256),
    "gemma2": _defaults(26, 8, 4, 2304, 256000, 8192, head_dim=256, sliding_window=4096),
    "gemma3_text": _defaults(26, 8, 4, 2304, 262208, 131072, head_dim=256, sliding_window=4096),
    "gemma3n_text": _defaults(
        35,
        8,
        2,
        2048,
        262400,
        32768,
        head_dim=256,
        sliding_window=512,
        num_kv_shared_layers=15,
        intermediate_size=16384,
    ),
    "gemma4_text": _defaults(
        30, 8, 4, 2304, 262144, 131072, head_dim=256, sliding_window=512, num_kv_shared_layers=0, global_head_dim=512
    ),
    "cohere": _defaults(40, 64, None, 8192, 256000, 8192),
    "cohere2": _defaults(40, 64, None, 8192, 256000, 8192, sliding_window=4096),
    "exaone4": _defaults(32, 32, 32, 4096, 102400, 2048, sliding_window=4096),
    "olmo": _defaults(32, 32, None, 4096, 50304, 2048),
    "olmo2": _defaults(32, 32, None, 4096, 50304, 2048),
    "olmo3": _defaults(32, 32, None, 4096, 50304, 2048, sliding_window=4096),
    "olmoe": _defaults(16, 16, None, 2048, 50304, 4096),
    "gpt_oss": _defaults(36, 64, 8, 2880, 201088, 131072, head_dim=64, sliding_window=128),
    "glm": _defaults(40, 32, 2, 4096, 151552, 131072, head_dim=128),
    "glm4": _defaults(40, 32, 2, 4096, 151552, 131072, head_dim=128),
    "glm4_moe": _defaults(46, 96, 8, 4096, 151552, 131072),
    "glm4v_text": _defaults(40, 32, 2, 4096, 151552, 32768),
    "glm4v_moe_text": _defaults(46, 96, 8, 4096, 151424, 65536),
    "glm_ocr_text": _defaults(16, 16, 8, 1024, 59392, 131072),
    "paddleocr_vl": _defaults(18, 16, 2, 1024, 103424, 131072, head_dim=128),
    "paddleocr_vl_text": _defaults(18, 16, 2, 1024, 103424, 131072, head_dim=128),
    "qwen2_5_omni_text": _defaults(28, 28, 4, 3584, 152064, 32768),
    "granite": _defaults(32, 32, None, 4096, 32000, 2048),
    "granitemoe": _defaults(32, 32, None, 4096, 32000, 2048),
    "granitemoeshared": _defaults(32, 32, None, 4096, 32000, 2048),
    "stablelm": _defaults(32, 32, 32, 2560, 50304, 4096),
    "starcoder2": _defaults(30, 24, 2, 3072, 49152, 4096),
    "falcon": _defaults(32, 71, None, 4544, 65024, 2048, multi_query=True),
    "gpt_neox": _defaults(44, 64, None, 6144, 50432, 2048),
    "opt": _defaults(12, 12, None, 768, 50272, 2048),
    "nemotron": _defaults(32, 48, None, 6144, 256000, 4096),
    "apertus": _defaults(32, 32, None, 4096, 131072, 65536),
    "arcee": _defaults(32, 32, None, 2560, 32000, 4096),
    "smollm3": _defaults(36, 16, 4, 2048, 128256, 32768),
    "seed_oss": _defaults(64, 80, 8, 4096, 155136, 524288, head_dim=128),
    "ernie4_5": _defaults(18, 16, 2, 1024, 103424, 131072, head_dim=128),
    "ernie4_5_moe": _defaults(28, 20, 4, 2560, 103424, 131072),
    "hunyuan_v1_dense": _defaults(32, 32, None, 4096, 290943, 2048),
    "hunyuan_v1_moe": _defaults(32, 32, None, 4096, 290943, 2048),
    "minimax_m2": _defaults(62, 48, 8, 3072, 200064, 196608, head_dim=128),
    "llama4_text": _defaults(48, 40, 8, 5120, 202048, _LARGE_MISTRAL, head_dim=128, attention_chunk_size=8192),
    "deepseek_v2": _defaults(32, 32, None, 4096, 102400, 2048, **_LATENT),
    "deepseek_v3": _defaults(61, 128, 128, 7168, 129280, 4096, **_LATENT),
    "glm4_moe_lite": _defaults(47, 20, 20, 2048, 154880, 202752, **_LATENT),
    "qwen3_next": _defaults(48, 16, 2, 2048, 151936, 32768, **_DELTA_NET),
    "qwen3_5_text": _defaults(32, 16, 4, 4096, 248320, 32768, **_DELTA_NET),
    "qwen3_5_moe_text": _defaults(40, 16, 2, 2048, 248320, 32768, **_DELTA_NET),
    "jamba": _defaults(
        32,
        32,
        8,
        4096,
        65536,
        262144,
        attn_layer_period=8,
        attn_layer_offset=4,
        mamba_expand=2,
        mamba_d_state=16,
        mamba_d_conv=4,
    ),
    "nemotron_h": _defaults(
        0,
        32,
        8,
        4096,
        131072,
        4096,
        head_dim=128,
        conv_kernel=4,
        n_groups=8,
        mamba_num_heads=128,
        mamba_head_dim=64,
        ssm_state_size=128,
    ),
    "granitemoehybrid": _defaults(32, 32, None, 4096, 32000, 2048, **_MAMBA),
    "falcon_h1": _defaults(32, 32, 8, 4096, 128000, 8192, mamba_d_ssm=1024, **_MAMBA),
    "lfm2": _defaults(32, 32, 8, 2560, 65536, 128000, conv_L_cache=3),
    "lfm2_moe": _defaults(32, 32, 8, 2048, 65536, 128000, conv_L_cache=3),
    "mamba": {
        "num_hidden_layers": 32,
        "hidden_size": 768,
        "vocab_size": 50280,
        "state_size": 16,
        "conv_kernel": 4,
        "expand": 2,
    },
    "falcon_mamba": {
        "num_hidden_layers": 32,
        "hidden_size": 768,
        "vocab_size": 50280,
        "state_size": 16,
        "conv_kernel": 4,
        "expand": 2,
    },
    "mamba2": {
        "num_hidden_layers": 64,
        "hidden_size": 4096,
        "vocab_size": 32768,
        "num_heads": 128,
        "head_dim": 64,
        "state_size": 128,
        "conv_kernel": 4,
        "expand": 2,
        "n_groups": 8,
    },
}
