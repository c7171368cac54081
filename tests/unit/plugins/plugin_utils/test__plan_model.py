# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan_model import problems_of

CONFIG = {"model_type": "qwen3", "max_position_embeddings": 40960}
FILES = [{"path": name} for name in ("config.json", "tokenizer.json", "model.safetensors")]
AWQ = {"quantization_config": {"quant_method": "awq"}}
MXFP4 = {"quantization_config": {"quant_method": "mxfp4"}}


def told(
    engine: t.Mapping[str, t.Any],
    config: t.Mapping[str, t.Any] | None = None,
    files: t.Sequence[t.Mapping[str, t.Any]] = FILES,
    env: t.Mapping[str, t.Any] | None = None,
) -> dict[str, str]:
    """Return what is wrong, by the option."""
    server = {"name": "a", "where": "servers[0]", "engine": engine, "env": env or {}}
    found = problems_of(server, {"config": {**CONFIG, **(config or {})}, "files": list(files)})
    return {one.where.rpartition(".")[2]: one.text for one in found}


@pytest.mark.parametrize(
    ("option", "engine", "config", "files", "text"),
    [
        ("max_model_len", {"max_model_len": 81920}, {}, FILES, "allows 40,960"),
        ("max_model_len", {"max_model_len": 81920}, {"text_config": CONFIG}, FILES, "allows 40,960"),
        ("quantization", {"quantization": "awq"}, {}, FILES, "the model is not quantized"),
        ("quantization", {"quantization": "gptq_marlin"}, AWQ, FILES, "quantized with awq"),
        ("dtype", {"dtype": "half"}, MXFP4, FILES, "computed in bfloat16 only"),
        ("tool_call_parser", {"enable_auto_tool_choice": True}, {}, FILES, "must be set"),
        ("tokenizer", {}, {}, FILES[::2], "the model has none"),
        ("config_format", {"config_format": "mistral"}, {}, FILES, "no params.json"),
    ],
)
def test_what_vllm_refuses_is_told_with_its_option(
    option: str, engine: dict[str, t.Any], config: dict[str, t.Any], files: list[dict[str, t.Any]], text: str
) -> None:
    found = told(engine, config, files)
    assert list(found) == [option]
    assert text in found[option]


@pytest.mark.parametrize(
    ("engine", "config", "files", "env"),
    [
        ({}, {}, FILES, {}),
        ({"max_model_len": 40960}, {}, FILES, {}),
        ({"max_model_len": "auto"}, {}, FILES, {}),
        ({"max_model_len": 81920}, {}, FILES, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": 1}),
        ({"max_model_len": 81920}, {"model_max_length": 131072}, FILES, {}),
        ({"max_model_len": 81920}, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, FILES, {}),
        ({"max_model_len": 81920}, {"rope_parameters": {"full": {"rope_type": "linear", "factor": 4.0}}}, FILES, {}),
        ({"max_model_len": 81920, "hf_overrides": {"max_position_embeddings": 90000}}, {}, FILES, {}),
        ({"max_model_len": 81920}, {"max_position_embeddings": None}, FILES, {}),
        ({"quantization": "awq"}, {}, [*FILES, {"path": "quant_config.json"}], {}),
        ({"quantization": "awq"}, {}, [], {}),
        ({"quantization": "awq_marlin"}, AWQ, FILES, {}),
        ({"quantization": "moe_wna16"}, AWQ, FILES, {}),
        ({"quantization": "fp8"}, {}, FILES, {}),
        ({"dtype": "bfloat16"}, MXFP4, FILES, {}),
        ({"dtype": "half"}, AWQ, FILES, {}),
        ({"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}, {}, FILES, {}),
        ({"enable_auto_tool_choice": False}, {}, FILES, {}),
        ({"tokenizer": "/srv/other"}, {}, FILES[:1], {}),
        ({"skip_tokenizer_init": True}, {}, FILES[:1], {}),
        ({}, {}, [*FILES[:1], {"path": "tokenizer.model.v3"}], {}),
        ({}, {}, [*FILES[:1], {"path": "tokenization_kimi.py"}], {}),
        ({"config_format": "mistral"}, {}, [*FILES, {"path": "params.json"}], {}),
    ],
)
def test_what_vllm_may_take_is_no_problem(
    engine: dict[str, t.Any], config: dict[str, t.Any], files: list[dict[str, t.Any]], env: dict[str, t.Any]
) -> None:
    assert told(engine, config, files, env) == {}


def test_a_model_that_is_not_known_has_no_problem() -> None:
    server = {"name": "a", "where": "s", "engine": {"max_model_len": 10**9}, "env": {}}
    assert (
        problems_of(server, {}) == problems_of(server, {"config": None}) == problems_of(server, {"config": "x"}) == []
    )
