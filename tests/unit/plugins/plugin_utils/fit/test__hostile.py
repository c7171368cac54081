# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a config.json or an option holds: an answer, never a traceback, and no number for what is no model."""

from __future__ import annotations

import itertools
import json
import math
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit._layers import DEFAULTS, FAMILIES, PREDICTORS

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "vllm"
CASES = json.loads((FIXTURES / "kv_cache_0.32.0.json").read_text("utf-8"))["cases"]
GIB = 2**30

LOOP: dict[str, t.Any] = {}
LOOP["text_config"] = LOOP
LIST_LOOP: list[t.Any] = []
LIST_LOOP.append(LIST_LOOP)

VALUES: dict[str, t.Any] = {
    "text": "many",
    "digits": "32",
    "negative": -8,
    "zero": 0,
    "part": 2.5,
    "huge": 10**30,
    "huge float": 1e300,
    "nan": math.nan,
    "infinite": math.inf,
    "true": True,
    "list": [1, 2],
    "mapping": {"a": 1},
    "loop": LOOP,
    "list loop": LIST_LOOP,
    "bytes": b"\x00",
}
MODELS = ("llama_gqa", "gemma3", "deepseek_v3", "qwen3_next", "mimo_v2_flash", "step3p5", "jamba", "afmoe")
KEYS = (
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size"),
    *("sliding_window", "layer_types", "kv_lora_rank", "linear_conv_kernel_dim", "architectures", "model_type"),
    *("max_position_embeddings", "rope_scaling", "quantization_config", "hybrid_layer_pattern"),
    *("attention_other_setting", "attn_layer_period", "text_config", "vocab_size", "dtype", "num_experts"),
)
# What these may be without a number being wrong for it: vLLM takes another key, or only sizes of weights hang on it.
HARMLESS = frozenset(("vocab_size", "dtype", "num_experts", "quantization_config", "architectures", "rope_scaling"))


def ask(config: t.Mapping[str, t.Any], engine: t.Mapping[str, t.Any] | None = None, **more: t.Any) -> _verdict.Fit:
    values: dict[str, t.Any] = {"gpu": _verdict.Gpu(80 * GIB, "NVIDIA H100"), "weight_bytes": GIB, **more}
    return _verdict.fit(_verdict.Request(config, engine or {}, (0, 32, 0), **values))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", sorted(VALUES))
def test_no_value_of_a_config_breaks_it(model: str, kind: str) -> None:
    for key in KEYS:
        config = {**CASES[model]["config"], key: VALUES[kind]}
        found = ask(config)
        assert found.verdict in ("fits", "does_not_fit", "cannot_predict"), key
        assert found.verdict == "fits" or found.reasons, key
        if found.kv_tokens is not None:
            assert found.kv_tokens >= 0, key
            assert math.isfinite(found.max_concurrency or 0), key


COUNTS = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size")


@pytest.mark.parametrize(("key", "kind"), list(itertools.product(COUNTS, sorted(VALUES))))
def test_no_number_is_given_for_what_is_no_count(key: str, kind: str) -> None:
    found = ask({**CASES["llama_gqa"]["config"], key: VALUES[kind]})
    if (key, kind) == ("head_dim", "zero"):
        assert found.kv_tokens == ask(CASES["llama_gqa"]["config"] | {"head_dim": None}).kv_tokens, "as vLLM does"
        return
    assert found.verdict == "cannot_predict", (found.kv_tokens, found.reasons)
    assert found.kv_tokens is None


@pytest.mark.parametrize("model", sorted(CASES))
def test_no_missing_key_breaks_it(model: str) -> None:
    config = CASES[model]["config"]
    for key in config:
        found = ask({name: value for name, value in config.items() if name != key}, CASES[model]["engine"])
        assert found.verdict in ("fits", "does_not_fit", "cannot_predict"), key


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_type_alone_gives_no_more_than_the_defaults_of_its_class(kind: str) -> None:
    found = ask({"model_type": kind})
    if kind not in DEFAULTS:
        assert found.verdict == "cannot_predict"
        assert found.kv_tokens is None


@pytest.mark.parametrize("kind", sorted(PREDICTORS))
def test_layers_for_prediction_are_those_of_known_types(kind: str) -> None:
    assert kind in FAMILIES


OPTIONS = (
    *("tensor_parallel_size", "pipeline_parallel_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "block_size", "cpu_offload_gb", "num_gpu_blocks_override"),
    *("speculative_config", "hf_overrides", "kv_cache_dtype", "compilation_config", "limit_mm_per_prompt"),
    *("data_parallel_size", "dtype", "quantization", "mamba_ssm_cache_dtype", "enable_chunked_prefill"),
)


@pytest.mark.parametrize("kind", sorted(VALUES))
@pytest.mark.parametrize("model", ["llama_gqa", "qwen3_next", "gemma3"])
def test_no_value_of_an_option_breaks_it(model: str, kind: str) -> None:
    for option in OPTIONS:
        found = ask(CASES[model]["config"], {option: VALUES[kind]})
        assert found.verdict in ("fits", "does_not_fit", "cannot_predict"), option
        if found.kv_tokens is not None:
            assert found.kv_tokens >= 0, option


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_no_value_of_a_draft_breaks_it(kind: str) -> None:
    config = CASES["llama_gqa"]["config"]
    for key in ("method", "model", "num_speculative_tokens", "draft_tensor_parallel_size"):
        stated = {"method": "eagle", "model": "a/b", "num_speculative_tokens": 2, key: VALUES[kind]}
        found = ask(config, {"speculative_config": stated}, draft_config=config, draft_weight_bytes=1)
        assert found.verdict in ("fits", "does_not_fit", "cannot_predict"), key
    wrong = {**config, "num_hidden_layers": VALUES[kind]}
    stated = {"method": "eagle", "model": "a/b", "num_speculative_tokens": 2}
    found = ask(config, {"speculative_config": stated}, draft_config=wrong, draft_weight_bytes=1)
    assert found.verdict == "cannot_predict"
