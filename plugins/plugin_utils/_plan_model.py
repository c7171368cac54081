# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM refuses of a server's options because of the model's own files: its config.json, and which files there are.

Only what vLLM refuses for certain is a problem here. The image is asked about the rest before a server is stopped.
"""

from __future__ import annotations

import typing as t

from ..module_utils._vllm.options._suggestions import whole_number
from ._problem import Problem
from .fit._layers import text_config

Mapping = t.Mapping[str, t.Any]

# The keys by which vLLM reads the longest context of a model; the least of them counts.
# source: _get_and_verify_max_len of vllm/config (0.8 to 0.32)
_LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
# Methods that only read what is quantized already, and the files other than config.json that may say how.
# source: get_config_filenames of vllm/model_executor/layers/quantization (0.8 to 0.32)
_FAMILIES = {
    "awq": "awq",
    "awq_marlin": "awq",
    "auto_awq": "awq",
    "gptq": "gptq",
    "gptq_marlin": "gptq",
    "auto_gptq": "gptq",
    "compressed-tensors": "compressed-tensors",
}
_TELL_HOW = ("quant_config.json", "quantize_config.json", "hf_quant_config.json")
# What a model's weights can be computed in, where that is one type alone.
_COMPUTED_IN = {"mxfp4": "bfloat16", "gpt_oss_mxfp4": "bfloat16"}
_HALF = {"half": "float16", "float": "float32"}
_TOKENIZERS = (".tiktoken", ".model", ".model.v3", ".model.v7", ".model.v11", ".py")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tekken.json", "vocab.json", "vocab.txt")


def problems_of(server: Mapping, model: Mapping) -> list[Problem]:
    """Return what vLLM will refuse. ``model`` has a ``config``, and ``files`` where they are known."""
    config, engine = model.get("config"), server["engine"]
    if not isinstance(config, t.Mapping) or engine.get("hf_overrides"):
        return []
    files = {str(one["path"]) for one in model.get("files") or ()}
    found = [
        ("max_model_len", _length(server, config)),
        ("quantization", _quantization(engine, config, files)),
        ("dtype", _dtype(engine, config)),
        ("tool_call_parser", _parser(engine)),
        ("tokenizer", _tokenizer(engine, files)),
        ("config_format", _mistral(engine, files)),
    ]
    return [Problem("", f"{server['where']}.engine.{name}", "model", text) for name, text in found if text]


def _length(server: Mapping, config: Mapping) -> str:
    asked = whole_number(server["engine"].get("max_model_len"))
    inner = text_config(config)
    scaled = any(_scales(one.get(key)) for one in (config, inner) for key in ("rope_scaling", "rope_parameters"))
    known = [length for length in (whole_number(inner.get(key)) for key in _LENGTHS) if length]
    further = whole_number(inner.get("model_max_length")) or 0
    if asked is None or scaled or not known or asked <= max(min(known), further) or server["env"].get(_LONGER):
        return ""
    return (
        f"{server['name']} asks for {asked:,}, and the model's config.json allows {min(known):,}; set it to that or "
        f"less, or {_LONGER}: 1 in env if you know that the model can"
    )


def _scales(rope: object) -> bool:
    """Tell whether positions are scaled, so that a context may be longer than what is written."""
    if not isinstance(rope, t.Mapping):
        return False
    parts = [one for one in rope.values() if isinstance(one, t.Mapping)] or [rope]
    return any(str(one.get("rope_type") or one.get("type") or "default") != "default" for one in parts)


def _method(config: Mapping) -> str:
    stated = config.get("quantization_config") or text_config(config).get("quantization_config")
    return str(stated.get("quant_method") or "") if isinstance(stated, t.Mapping) else ""


def _quantization(engine: Mapping, config: Mapping, files: t.AbstractSet[str]) -> str:
    wanted = _FAMILIES.get(str(engine.get("quantization") or ""))
    if wanted is None:
        return ""
    method = _method(config)
    if _FAMILIES.get(method, wanted) != wanted:
        return f"is {engine['quantization']}, and the model is quantized with {method}; leave it out"
    how = (
        config.get("quantization_config")
        or config.get("compression_config")
        or text_config(config).get("quantization_config")
    )
    if how or not files or any(name in files for name in _TELL_HOW):
        return ""
    return f"is {engine['quantization']}, and the model is not quantized; leave it out, or use a model that is"


def _dtype(engine: Mapping, config: Mapping) -> str:
    asked = str(engine.get("dtype") or "auto")
    wanted = _COMPUTED_IN.get(_method(config), "")
    if not wanted or asked == "auto" or _HALF.get(asked, asked) == wanted:
        return ""
    return f"is {asked}, and weights in {_method(config)} are computed in {wanted} only; leave it out"


def _parser(engine: Mapping) -> str:
    if engine.get("enable_auto_tool_choice") is not True or engine.get("tool_call_parser"):
        return ""
    return "must be set where engine.enable_auto_tool_choice is true; the model's card names it"


def _tokenizer(engine: Mapping, files: t.AbstractSet[str]) -> str:
    own = any(name in _TOKENIZER_FILES or name.endswith(_TOKENIZERS) for name in files)
    if not files or own or engine.get("tokenizer") or engine.get("skip_tokenizer_init"):
        return ""
    return "must name a folder with a tokenizer, because the model has none"


def _mistral(engine: Mapping, files: t.AbstractSet[str]) -> str:
    if engine.get("config_format") != "mistral" or not files or "params.json" in files:
        return ""
    return "is mistral, and the model has no params.json; leave it out"
