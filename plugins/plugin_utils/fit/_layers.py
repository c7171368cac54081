# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each layer of a model keeps for a request, read from the model's config.json.

Only what is known is read: a model type that has no entry in `FAMILIES`, or a setting whose effect is not known here,
is `CannotPredict`. The rules are those of vLLM 0.32 and of the configuration classes of Transformers 5 it reads with;
what a configuration leaves out has the default of its class.
"""

from __future__ import annotations

import math
import typing as t

from ...module_utils._vllm.options._release import Release, as_text
from ._class_defaults import DEFAULTS

Config = t.Mapping[str, t.Any]


class CannotPredict(ValueError):
    """The model, or an option, is one whose memory is not known here."""


class Attention(t.NamedTuple):
    """Keys and values: of all tokens, of those that a ``window`` reaches back to, or of one ``chunk``."""

    heads: int
    width: int  # elements of a head for one token, keys and values together
    window: int | None = None
    chunk: int | None = None


class Latent(t.NamedTuple):
    """Multi-head latent attention: one compressed vector for a token, the same on every GPU."""

    width: int
    sparse: bool = False  # reads the tokens that an index chooses


class Index(t.NamedTuple):
    """The keys by which sparse attention chooses tokens: so many bytes for each, the same on every GPU."""

    size: int


class Paged(t.NamedTuple):
    """What is cut into pages of a size of its own: so many bytes for so many tokens, the same on every GPU."""

    tokens: int
    page: int
    window: int | None = None


class Cross(t.NamedTuple):
    """Keys and values of what an encoder gave, in place of a request's own tokens."""

    heads: int
    width: int


class State(t.NamedTuple):
    """A state of fixed size for a request (Mamba, linear attention, short convolution), in elements on one GPU."""

    convolution: int
    recurrent: int
    recurrent_dtype: str = "auto"
    checkpoints: int = 0  # states that vLLM keeps besides, while it caches prefixes
    convolved: int = 0  # elements that each speculated token adds to the convolution
    mamba: bool = False


Layer = Attention | Latent | Index | Paged | Cross | State


class Model(t.NamedTuple):
    """A model as far as its memory depends on it. ``layers`` are those of one GPU of ``tensor_parallel_size``."""

    model_type: str
    layers: tuple[tuple[Layer, ...], ...]  # by layer of the model; one keeps nothing, one thing, or two
    max_model_len: int
    dtype: str
    attention_heads: int
    kv_heads: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    quantization: str
    kv_cache_dtype: str  # what "auto" means for this checkpoint
    experts: int
    active_experts: int = 0
    draft: tuple[tuple[Layer, ...], ...] = ()  # layers that a draft adds: the model's own (MTP), or a second model's
    drafted: bool = False  # by a second model
    guessed: int = 0  # tokens that the draft guesses ahead
    encodes: bool = False  # images, sound or video, by a part that is tried out with the largest of them
    item_tokens: int = 0  # tokens of the largest image or video, where vLLM takes them in one step only
    pools: bool = False  # makes one answer of a text, and samples no tokens


_SUBCONFIGS = ("text_config", "llm_config", "language_config")
_NESTED = ("thinker_config",)  # where the language model is one level deeper

# Models that wrap a language model, which alone fills the KV cache, with encoders of images, sound or video.
WRAPPERS = frozenset(
    (
        "Llama_Nemotron_Nano_VL",
        "NemotronH_Nano_VL_V2",
        "aria",
        "cohere2_vision",
        "ernie4_5_vl_moe",
        "gemma3",
        "gemma3n",
        "gemma4",
        "glm4v",
        "glm4v_moe",
        "glm_ocr",
        "idefics3",
        "interns1",
        "internvl",
        "internvl_chat",
        "kimi_k25",
        "kimi_vl",
        "lfm2_vl",
        "llama4",
        "llava",
        "llava_next",
        "llava_onevision",
        "mistral3",
        "ovis",
        "ovis2_5",
        "paddleocr_vl",
        "paligemma",
        "pixtral",
        "qwen2_5_omni",
        "qwen2_5_vl",
        "qwen2_audio",
        "qwen2_vl",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_omni_moe",
        "qwen3_vl",
        "qwen3_vl_moe",
        "smolvlm",
        "voxtral",
    )
)


def text_config(config: Config) -> Config:
    """Return the part of a configuration that describes the language model; all of it for a model of text."""
    outer = next((config[name] for name in _NESTED if isinstance(config.get(name), t.Mapping)), config)
    for name in _SUBCONFIGS:
        inner = outer.get(name)
        if isinstance(inner, t.Mapping):
            return inner
    return config


def read_model(config: Config, tensor_parallel_size: int = 1, release: Release | None = None) -> Model:
    """Return the model behind a config.json; raise CannotPredict, with the reason, when it is not known here."""
    config = _translated(config)
    outer = str(config.get("model_type") or "")
    raw = text_config(config)
    model_type = str(raw.get("model_type") or "")
    _refuse_gone(outer, release)
    if raw is not config and outer not in WRAPPERS:
        raise CannotPredict(f"the model type {outer or '(none)'} around a language model is not known")
    family = FAMILIES.get(model_type)
    if family is None:
        raise CannotPredict(f"the model type {model_type or '(none)'} is not known")
    text = _text_of(raw, model_type)
    architecture = _architecture(config)
    layers = tuple(family(text, tensor_parallel_size))
    if _looks_both_ways(architecture, raw):
        layers = ((),) * len(layers)
    quantization = _mapping(config.get("quantization_config")) or _mapping(raw.get("quantization_config"))
    heads = text.get("num_attention_heads", 0)
    return Model(
        model_type=model_type,
        layers=layers,
        max_model_len=_max_model_len(text, outer),
        dtype=_dtype(config, raw),
        attention_heads=heads,
        kv_heads=text.kv_heads() if heads else 0,
        hidden_size=text.first(_WIDTHS),
        intermediate_size=text.first(_FEED_FORWARD) or 4 * text.first(_WIDTHS),
        vocab_size=text.get("vocab_size", 0),
        quantization=_quantization(quantization),
        kv_cache_dtype=_kv_cache_dtype(quantization),
        experts=text.first(_EXPERTS),
        active_experts=text.first(_ACTIVE_EXPERTS),
        encodes=raw is not config or config.get("vision_config") is not None,
        item_tokens=_item_tokens(config, raw, outer),
        pools=bool(architecture) and not _generates(architecture),
    )


def _text_of(raw: Config, model_type: str) -> _Text:
    values = {**DEFAULTS.get(model_type, {}), **{str(key): value for key, value in raw.items() if value is not None}}
    for key in sorted(_COUNTS & values.keys()):
        _check_count(key, values[key])
    for key in _POSITIVE:
        if raw.get(key) == 0:
            raise CannotPredict(f"config.json has {key}: 0")
    layers = values.get("num_hidden_layers")
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise CannotPredict(f"config.json has {layers} layers, more than {_MOST_LAYERS}")
    return _Text(values, raw)


_MOST_LAYERS = 4096
_POSITIVE = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size")
_MOST = 10**9
_COUNTS = frozenset(
    (
        *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_attention_heads", "n_head", "n_heads"),
        *("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"),
        *("num_global_key_value_heads", "hidden_size", "n_embd", "d_model", "head_dim", "global_head_dim"),
        *("vocab_size", "sliding_window", "sliding_window_size", "attention_chunk_size"),
        *("kv_lora_rank", "qk_rope_head_dim", "index_head_dim", "index_topk", "v_head_dim", "swa_v_head_dim"),
        *("swa_head_dim", "swa_num_key_value_heads", "swa_num_attention_heads", "layer_group_size"),
        *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
        *("linear_conv_kernel_dim", "full_attention_interval", "num_kv_shared_layers", "mamba_d_state"),
        *("mamba_d_conv", "mamba_d_ssm", "mamba_n_heads", "mamba_n_groups", "mamba_num_heads", "mamba_head_dim"),
        *("ssm_state_size", "conv_kernel", "state_size", "n_groups", "num_heads", "expand", "mamba_expand"),
        *("conv_dim", "conv_L_cache", "attn_layer_period", "attn_layer_offset", "no_rope_layer_interval"),
        *("num_nextn_predict_layers", "mtp_num_hidden_layers", "global_attn_every_n_layers"),
        *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length"),
        *("max_seq_length", "seq_len", "model_max_length", "max_target_positions", "decoder_layers"),
        *("decoder_attention_heads", "original_max_position_embeddings", "max_source_positions"),
    )
)


def _check_count(key: str, value: t.Any) -> None:
    """Refuse what is no whole number from 0 on: it would give a number that vLLM does not reach."""
    whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
    if isinstance(value, bool) or not whole or not 0 <= value <= _MOST:
        raise CannotPredict(f"config.json has {key}: {str(value)[:40]}, which is not a count")


def _mapping(value: t.Any) -> Config:
    return value if isinstance(value, t.Mapping) else {}


def _architecture(config: Config) -> str:
    """Return the architecture; refuse one that neither generates text nor makes an answer of a whole text."""
    architectures = config.get("architectures") or [""]
    architecture = str(architectures[0] if isinstance(architectures, (list, tuple)) else architectures)
    if architecture and not _generates(architecture) and not architecture.endswith(_POOLS):
        raise CannotPredict(f"the architecture {architecture[:80]} is not known")
    return architecture


# Models that give an embedding, a class or a rank. source: _SUFFIX_TO_DEFAULTS in vllm/config/model.py of 0.32.
_POOLS = (
    *("ForTextEncoding", "ForSequenceClassification", "ForTokenClassification", "ForRewardModeling", "ForMaskedLM"),
    *("ForProcessRewardModel", "ForRanking", "Model"),
)
# Those whose tokens see what comes after them, which vLLM sets by itself; it keeps nothing of a text then.
# source: MODELS_CONFIG_MAP in vllm/model_executor/models/config.py of 0.32.
_BOTH_WAYS = frozenset(
    (
        *("LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification", "DeepseekV3BidirectionalModel"),
        *("VoyageQwen3BidirectionalEmbedModel", "LlamaNemotronVLModel", "LlamaNemotronVLForSequenceClassification"),
    )
)


def _looks_both_ways(architecture: str, raw: Config) -> bool:
    if architecture == "JinaEmbeddingsV5Model":
        return raw.get("is_decoder") is False
    if architecture == "Gemma3TextModel":
        return raw.get("use_bidirectional_attention") is True
    return architecture in _BOTH_WAYS or raw.get("is_causal") is False


# The last release that serves a type; vLLM takes them out.
# source: _PREVIOUSLY_SUPPORTED_MODELS in vllm/model_executor/models/registry.py of 0.32.
LAST_RELEASE: dict[str, Release] = {
    "mllama": (0, 10, 2),
    "phi4_multimodal": (0, 12, 0),
    "minimax": (0, 23, 0),
    "minimax_m1": (0, 23, 0),
    "minimax_text_01": (0, 23, 0),
}


def _refuse_gone(model_type: str, release: Release | None) -> None:
    last = LAST_RELEASE.get(model_type)
    if last is not None and release is not None and release[:2] > last[:2]:
        raise CannotPredict(
            f"vLLM {as_text(release)} does not serve the model type {model_type}; {as_text(last)} was the last that did"
        )


# Gemma 4 takes up to 32 frames of a video, each of 70 tokens and 8 around them, and none of them may be cut.
# source: get_mm_max_tokens_per_item in vllm/model_executor/models/gemma4_mm.py, and is_mm_prefix_lm, of 0.32.
_GEMMA4_FRAMES, _GEMMA4_FRAME = 32, 78


def _item_tokens(config: Config, raw: Config, outer: str) -> int:
    whole = outer == "gemma4" and raw.get("use_bidirectional_attention") == "vision"
    return _GEMMA4_FRAMES * _GEMMA4_FRAME if whole and config.get("vision_config") is not None else 0


_FEED_FORWARD = ("intermediate_size", "n_inner", "ffn_dim", "moe_intermediate_size")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_ACTIVE_EXPERTS = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k")


def _generates(architecture: str) -> bool:
    return architecture.endswith(
        (
            *("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ChatModel", "ChatGLMModel", "MiniCPMV"),
            *("Llama_Nemotron_Nano_VL", "NemotronH_Nano_VL_V2", "Ovis", "Ovis2_5", "Qwen2_5OmniModel"),
        )
    )


class _Text:
    """A language model's configuration with the defaults of its class; a number that is missing is an error."""

    def __init__(self, values: t.Mapping[str, t.Any], raw: Config) -> None:
        self._values = values
        self._raw = raw

    def get(self, key: str, default: t.Any = None) -> t.Any:
        return self._values.get(key, default)

    def said(self, key: str) -> bool:
        """Say whether the file itself has the key, be it as null."""
        return key in self._raw

    def number(self, *keys: str) -> int:
        for key in keys:
            value = self.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value) and value > 0:
                return int(value)
        raise CannotPredict(f"config.json has no {keys[0]}")

    def first(self, keys: t.Sequence[str]) -> int:
        """Return the first of these keys that is a number (some models write one for each layer); 0 where none is."""
        for key in keys:
            value = self.get(key)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
                return value
        return 0

    def types(self, *keys: str) -> list[str] | None:
        """Return the kind of each layer, where the file names them one by one."""
        for key in keys:
            value = self.get(key)
            if value is None or value == []:
                continue
            if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
                raise CannotPredict(f"config.json has {key} that is not a list of names")
            if len(value) < self.layers():
                raise CannotPredict(f"config.json names fewer {key} than layers")
            return list(value[: self.layers()])
        return None

    def layers(self) -> int:
        return self.number("num_hidden_layers", "n_layer", "n_layers", "num_layers")

    def heads(self) -> int:
        return self.number("num_attention_heads", "n_head", "n_heads")

    def kv_heads(self) -> int:
        for key in (
            "n_head_kv",
            "num_kv_heads",
            "num_key_value_heads",
            "multi_query_group_num",
            "num_attention_groups",
        ):
            if self.get(key) is not None:
                return self.number(key)
        return self.heads()

    def head_size(self) -> int:
        if self.get("head_dim"):
            return self.number("head_dim")
        size = self.number("hidden_size", "n_embd", "d_model") // self.heads()
        if not size:
            raise CannotPredict("config.json has more attention heads than its hidden_size can be divided into")
        return size

    def window(self) -> int | None:
        """Return the sliding window, None for null and 0."""
        if self.said("sliding_window") and not self._raw["sliding_window"]:
            return None
        return self.get("sliding_window") or None


# --- families ---------------------------------------------------------------------------------------------------------

Layers = t.Iterable[tuple[Layer, ...]]
Family = t.Callable[[_Text, int], Layers]


def _shard(heads: int, tensor_parallel_size: int) -> int:
    """Return the heads of one GPU: they are divided, and repeated where there are fewer of them than GPUs."""
    return max(1, heads // tensor_parallel_size)


def _attention(text: _Text, size: int, window: int | None = None) -> Attention:
    return Attention(_shard(text.kv_heads(), size), 2 * text.head_size(), window)


def _full(text: _Text, size: int) -> Layers:
    """Return one kind of layer throughout; a window, where such a model has one at all, is then in each layer."""
    types = text.types("layer_types")
    if types and set(types) - {"attention", "full_attention"}:
        raise CannotPredict("layers of several kinds in this model type are not known")
    return [(_attention(text, size, None if types else text.window()),)] * text.layers()


def _chunked(text: _Text, size: int) -> Layers:
    """Return the layers of Llama 4: attention within chunks, but for the layers without rotary embeddings."""
    full = _attention(text, size)
    chunked = full._replace(chunk=text.number("attention_chunk_size"))
    interval = text.number("no_rope_layer_interval") if text.get("no_rope_layer_interval") else 4
    rotary = text.get("no_rope_layers") or [(index + 1) % interval for index in range(text.layers())]
    if not isinstance(rotary, (list, tuple)) or len(rotary) < text.layers():
        raise CannotPredict("config.json names fewer no_rope_layers than layers")
    return [(chunked,) if rotary[index] else (full,) for index in range(text.layers())]


def _unwindowed(text: _Text, size: int) -> Layers:
    """Return the layers of families with a window in their configuration, in use only where they say so."""
    if text.get("use_sliding_window"):
        raise CannotPredict("use_sliding_window of this model type is not known")
    return [(_attention(text, size),)] * text.layers()


def _divided_hidden(text: _Text, size: int) -> Layers:
    """Return the layers of families whose heads share out hidden_size, whatever width the file names besides."""
    heads = text.heads() if text.get("multi_query_attention") is False else text.kv_heads()
    width = text.number("hidden_size") // text.heads()
    if not width:
        raise CannotPredict("config.json has more attention heads than its hidden_size can be divided into")
    return [(Attention(_shard(heads, size), 2 * width),)] * text.layers()


def _qwen2(text: _Text, size: int) -> Layers:
    """Return the layers of Qwen2, whose heads share out hidden_size. source: vllm/model_executor/models/qwen2.py."""
    _unwindowed(text, size)
    return _divided_hidden(text, size)


def _windowed(text: _Text, size: int) -> Layers:
    """Return layers with one window for all, unless the layers are named one by one."""
    types = text.types("layer_types")
    if types:
        return _named(text, size, types, text.window())
    return [(_attention(text, size, text.window()),)] * text.layers()


def _named(text: _Text, size: int, types: t.Sequence[str], window: int | None) -> Layers:
    kinds = {"sliding_attention": window, "full_attention": None, "attention": None, "chunked_attention": None}
    unknown = sorted(set(types[: text.layers()]) - set(kinds))
    if unknown:
        raise CannotPredict(f"the layer type {unknown[0]} is not known")
    return [(_attention(text, size, kinds[name]),) for name in types[: text.layers()]]


def _every(period: int, beyond: int = 0) -> Family:
    """Return a family with sliding windows, full attention in each ``period``-th layer; ``beyond`` widens windows."""

    def family(text: _Text, size: int) -> Layers:
        step = text.get("sliding_window_pattern", period)
        window = text.window()
        types = text.types("layer_types")
        if types is None:
            if isinstance(step, str) and step and not set(step) - {"L", "G"}:
                types = [
                    "sliding_attention" if step[i % len(step)] == "L" else "full_attention"
                    for i in range(text.layers())
                ]
                types[-1] = "full_attention"
                return _named(text, size, types, window + beyond if window else None)
            if not isinstance(step, int) or isinstance(step, bool) or step < 0:
                raise CannotPredict(f"the sliding_window_pattern {str(step)[:40]} is not known")
            full = window is None or step == 0
            types = [
                "full_attention" if full or (i + 1) % step == 0 else "sliding_attention" for i in range(text.layers())
            ]
        return _named(text, size, types, window + beyond if window else None)

    return family


def _gpt_oss(text: _Text, size: int) -> Layers:
    return [(_attention(text, size, None if index % 2 else text.window()),) for index in range(text.layers())]


def _keeping(text: _Text) -> int:
    """Return how many layers keep keys and values of their own."""
    shared = text.get("num_kv_shared_layers") or 0
    if shared >= text.layers():
        raise CannotPredict("config.json has num_kv_shared_layers that leave no layer of its own")
    return text.layers() - int(shared)


def _gemma3n(text: _Text, size: int) -> Layers:
    """Return the layers of Gemma 3n, of which the last read what earlier ones keep."""
    keeping = _keeping(text)
    layers = list(_every(5)(text, size))
    return layers[:keeping] + [()] * (text.layers() - keeping)


def _gemma4(text: _Text, size: int) -> Layers:
    """Return the layers of Gemma 4; those of full attention may differ in the size and number of heads."""
    if text.get("per_layer_config") is not None:
        raise CannotPredict("per_layer_config of Gemma 4 is not known")
    types = text.types("layer_types")
    if not types:
        types = ["full_attention" if (index + 1) % 6 == 0 else "sliding_attention" for index in range(text.layers())]
    types[-1] = "full_attention"
    keeping = _keeping(text)
    full_heads = text.kv_heads()
    if text.get("attention_k_eq_v") and text.get("num_global_key_value_heads"):
        full_heads = text.number("num_global_key_value_heads")
    full = Attention(_shard(full_heads, size), 2 * text.number("global_head_dim"))
    sliding = _attention(text, size, text.window())
    layers: list[tuple[Layer, ...]] = [(full if name == "full_attention" else sliding,) for name in types]
    return layers[:keeping] + [()] * (text.layers() - keeping)


def _falcon(text: _Text, size: int) -> Layers:
    heads = 1 if text.get("multi_query") and not text.get("new_decoder_architecture") else text.kv_heads()
    return [(Attention(_shard(heads, size), 2 * text.head_size()),)] * text.layers()


def _latent_width(text: _Text) -> int:
    return text.number("kv_lora_rank") + text.number("qk_rope_head_dim")


def _latent(text: _Text, size: int) -> Layers:
    if text.get("index_topk") or text.get("compress_ratios"):
        raise CannotPredict("sparse attention with an index of its own is not known")
    return [(Latent(_latent_width(text)),)] * text.layers()


def _indexed(text: _Text, size: int) -> Layers:
    """Return the layers of DeepSeek V3.2 and GLM-5: latent attention, and in most the keys of the index of tokens.

    source: vllm/models/deepseek_v32/attention.py, DeepseekV32IndexerCache and Indexer in
    vllm/model_executor/models/deepseek_v2.py of 0.32.
    """
    if text.get("compress_ratios"):
        raise CannotPredict("compressed sparse attention is not known")
    return [_indexed_layer(text, index) for index in range(text.layers())]


_INDEX_BLOCK, _INDEX_SCALE = 128, 4  # elements that share a scale, and its bytes


def _indexed_layer(text: _Text, index: int | None) -> tuple[Layer, ...]:
    """Return one layer; None is that of a draft, which always has an index."""
    latent = Latent(_latent_width(text), sparse=True)
    pattern = text.get("index_topk_pattern")
    if index is None:
        skipped = False
    elif isinstance(pattern, (str, list)):
        skipped = index < len(pattern) and pattern[index] == "S"
    else:
        step = text.number("index_topk_freq") if text.get("index_topk_freq") else 1
        offset = text.get("index_skip_topk_offset")
        skipped = max(index - (2 if offset is None else int(offset)) + 1, 0) % step != 0
    width = text.number("index_head_dim")
    return (latent,) if skipped else (latent, Index(width + width // _INDEX_BLOCK * _INDEX_SCALE))


def _divided(total: int, size: int, what: str) -> int:
    if total % size:
        raise CannotPredict(f"{what} ({total}) cannot be divided by tensor_parallel_size {size}")
    return total // size


def _mamba2(size: int, inner: int, groups: int, heads: int, head_size: int, state: int, kernel: int) -> State:
    """Return the state of a Mamba 2 layer; groups are repeated until each GPU has one whole."""
    if groups % size:
        groups = size
    width = _divided(inner + 2 * groups * state, size, "the width of the convolution")
    recurrent = _divided(heads, size, "the number of Mamba heads") * head_size * state
    return State(width * (kernel - 1), recurrent, checkpoints=1, convolved=width, mamba=True)


def _mamba1(size: int, inner: int, state: int, kernel: int) -> State:
    width = _divided(inner, size, "the inner width")
    return State(width * (kernel - 1), width * state, mamba=True)


def _delta_net(text: _Text, size: int) -> Layers:
    """Return the layers of Qwen3-Next and Qwen3.5: gated delta nets, with full attention in between."""
    keys = text.number("linear_num_key_heads") * text.number("linear_key_head_dim")
    values = text.number("linear_num_value_heads") * text.number("linear_value_head_dim")
    state = State(
        _divided(2 * keys + values, size, "the width of the convolution") * (text.number("linear_conv_kernel_dim") - 1),
        _divided(text.number("linear_num_value_heads"), size, "linear_num_value_heads")
        * text.number("linear_value_head_dim")
        * text.number("linear_key_head_dim"),
        recurrent_dtype=str(text.get("mamba_ssm_dtype") or "auto"),
        convolved=_divided(2 * keys + values, size, "the width of the convolution"),
    )
    period = text.number("full_attention_interval") if text.get("full_attention_interval") else 4
    types = text.types("layer_types") or [
        "full_attention" if (index + 1) % period == 0 else "linear_attention" for index in range(text.layers())
    ]
    return _mixed(types, {"full_attention": (_attention(text, size),), "linear_attention": (state,)})


def _mixed(types: t.Sequence[str], kinds: t.Mapping[str, tuple[Layer, ...]]) -> Layers:
    unknown = sorted(set(types) - set(kinds))
    if unknown:
        raise CannotPredict(f"the layer type {unknown[0]} is not known")
    return [kinds[name] for name in types]


def _jamba(text: _Text, size: int) -> Layers:
    inner = text.number("mamba_expand") * text.number("hidden_size")
    state = _mamba1(size, inner, text.number("mamba_d_state"), text.number("mamba_d_conv"))
    period, offset = text.number("attn_layer_period"), text.number("attn_layer_offset")
    types = ["attention" if index % period == offset else "mamba" for index in range(text.layers())]
    return _mixed(types, {"attention": (_attention(text, size),), "mamba": (state,)})


def _nemotron_types(text: _Text) -> list[str]:
    for key in ("layers_block_type", "layer_types"):
        named = text.get(key)
        if isinstance(named, (list, tuple)) and named and all(isinstance(name, str) for name in named):
            return list(named[:_MOST_LAYERS])
    pattern = text.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _MOST_LAYERS:
        raise CannotPredict("config.json has no hybrid_override_pattern")
    return list(pattern)


def _nemotron_h(text: _Text, size: int) -> Layers:
    heads, head_size = text.number("mamba_num_heads"), text.number("mamba_head_dim")
    state = _mamba2(
        size,
        heads * head_size,
        text.number("n_groups"),
        heads,
        head_size,
        text.number("ssm_state_size"),
        text.number("conv_kernel"),
    )._replace(recurrent_dtype=str(text.get("mamba_ssm_cache_dtype") or "float32"))
    types = _nemotron_types(text)
    attention: tuple[Layer, ...] = (_attention(text, size, text.window()),)
    return _mixed(
        types,
        {
            **dict.fromkeys(("M", "mamba", "linear_attention"), (state,)),
            **dict.fromkeys(("*", "attention", "full_attention"), attention),
            **dict.fromkeys(("-", "E", "mlp", "moe"), ()),
        },
    )


def _mamba_of(text: _Text, size: int) -> State:
    """Return the Mamba 2 layer that Granite 4 and Falcon H1 describe alike."""
    inner = text.get("mamba_d_ssm") or int(text.get("mamba_expand") * text.number("hidden_size"))
    heads = text.number("mamba_n_heads")
    stated = text.get("mamba_d_head")
    return _mamba2(
        size,
        inner,
        text.number("mamba_n_groups"),
        heads,
        stated if isinstance(stated, int) else inner // heads,
        text.number("mamba_d_state"),
        text.number("mamba_d_conv"),
    )


def _granite_hybrid(text: _Text, size: int) -> Layers:
    types = text.types("layer_types", "layers_block_type") or ["mamba"] * text.layers()
    attention: tuple[Layer, ...] = (_attention(text, size),)
    if set(types) <= {"attention", "full_attention"}:
        return [attention] * text.layers()
    state = (_mamba_of(text, size),)
    return _mixed(
        types,
        {
            **dict.fromkeys(("mamba", "linear_attention"), state),
            **dict.fromkeys(("attention", "full_attention"), attention),
        },
    )


def _falcon_h1(text: _Text, size: int) -> Layers:
    return [(_mamba_of(text, size), _attention(text, size))] * text.layers()


def _lfm2(text: _Text, size: int) -> Layers:
    width = _divided(text.number("conv_dim"), size, "the width of the convolution")
    state = State(width * (text.number("conv_L_cache") - 1), 0, convolved=width)
    types = text.types("layer_types")
    if types is None:
        attending = text.get("full_attn_idxs")
        if attending is None:
            attending = range(text.layers())
        elif not isinstance(attending, (list, tuple)):
            raise CannotPredict("config.json has full_attn_idxs that is not a list")
        types = ["full_attention" if index in attending else "conv" for index in range(text.layers())]
    return _mixed(types, {"full_attention": (_attention(text, size),), "conv": (state,)})


def _mamba(text: _Text, size: int) -> Layers:
    inner = text.get("intermediate_size") or text.number("expand") * text.number("hidden_size")
    return [(_mamba1(size, inner, text.number("state_size"), text.number("conv_kernel")),)] * text.layers()


def _mamba2_only(text: _Text, size: int) -> Layers:
    state = _mamba2(
        size,
        text.number("expand") * text.number("hidden_size"),
        text.number("n_groups"),
        text.number("num_heads"),
        text.number("head_dim"),
        text.number("state_size"),
        text.number("conv_kernel"),
    )
    return [(state,)] * text.layers()


def _afmoe(text: _Text, size: int) -> Layers:
    """Return the layers of Trinity: windows, with full attention in each layer that the file names, or in each nth."""
    types = text.types("layer_types")
    if types is None:
        step = text.number("global_attn_every_n_layers")
        types = ["full_attention" if (i + 1) % step == 0 else "sliding_attention" for i in range(text.layers())]
    return _named(text, size, types, text.window())


def _mimo_v2(text: _Text, size: int) -> Layers:
    """Return layers of two kinds of attention, each with heads of its own, keys and values of unequal size."""
    pattern = text.get("hybrid_layer_pattern")
    if not isinstance(pattern, (list, tuple)) or len(pattern) < text.layers():
        raise CannotPredict("config.json names fewer hybrid_layer_pattern than layers")
    windowed = _mimo_v2_windowed(text, size)
    full = Attention(_shard(text.kv_heads(), size), text.head_size() + (text.get("v_head_dim") or text.head_size()))
    return [(windowed if one == 1 else full,) for one in pattern[: text.layers()]]


def _mimo_v2_windowed(text: _Text, size: int) -> Attention:
    width = text.number("swa_head_dim")
    heads = text.number("swa_num_key_value_heads")
    window = text.number("sliding_window_size", "sliding_window")
    return Attention(_shard(heads, size), width + (text.get("swa_v_head_dim") or width), window)


def _step3p5(text: _Text, size: int) -> Layers:
    """Return layers with windows in most; those of one kind may have heads of their own."""
    types = text.types("layer_types")
    if types is None:
        raise CannotPredict("config.json has no layer_types")
    return [(_step3p5_attention(text, size, name),) for name in types]


def _step3p5_attention(text: _Text, size: int, name: str) -> Attention:
    if name not in ("full_attention", "sliding_attention"):
        raise CannotPredict(f"the layer type {name[:40]} is not known")
    attention = _attention(text, size, text.window() if name == "sliding_attention" else None)
    other = _mapping(text.get("attention_other_setting"))
    if other.get("attention_type") == name:
        for key in ("num_attention_groups", "head_dim"):
            if other.get(key) is not None:
                _check_count(key, other[key])
        heads, width = other.get("num_attention_groups"), other.get("head_dim")
        attention = attention._replace(
            heads=_shard(int(heads), size) if heads else attention.heads,
            width=2 * int(width) if width else attention.width,
        )
    return attention


def _longcat(text: _Text, size: int) -> Layers:
    """Return the layers of LongCat, each of which attends twice."""
    latent = Latent(_latent_width(text))
    return [(latent, latent)] * text.number("num_layers")


# How DeepSeek V4 packs a token: 448 elements in fp8, 64 in bfloat16 and 8 bytes of scales; and its index a token in fp8
# with a scale for 128 elements. Pages are multiples of 576 bytes.
# source: vllm/models/deepseek_v4/attention.py, compressor.py and v1/attention/backends/mla/sparse_swa.py of 0.32.
_V4_WIDTH, _V4_ROPE, _V4_PACKED, _V4_INDEX = 512, 64, 584, 128
_V4_BLOCK, _V4_WINDOW_BLOCK, _V4_ALIGNED = 256, 64, 576
_V4_STATE_BLOCKS = {4: 4, 128: 8}  # by the ratio of compression


def _deepseek_v4(text: _Text, size: int) -> Layers:
    """Return layers that keep a window, most of them compressed tokens besides, and the state of the compression."""
    widths = (text.number("head_dim"), text.number("qk_rope_head_dim"), text.number("index_head_dim"))
    if widths != (_V4_WIDTH, _V4_ROPE, _V4_INDEX):
        raise CannotPredict(f"how DeepSeek V4 packs heads of the widths {widths} is not known")
    ratios = text.get("compress_ratios")
    if not isinstance(ratios, (list, tuple)) or len(ratios) < text.layers():
        raise CannotPredict("config.json names fewer compress_ratios than layers")
    window = Paged(_V4_WINDOW_BLOCK, _v4_page(_V4_WINDOW_BLOCK * _V4_PACKED), text.number("sliding_window"))
    return [(window, *_v4_compressed(ratio)) for ratio in ratios[: text.layers()]]


def _v4_compressed(ratio: t.Any) -> tuple[Paged, ...]:
    """Return what a layer keeps of compressed tokens, and of those that are not compressed yet."""
    if ratio in (0, 1):
        return ()
    if ratio not in _V4_STATE_BLOCKS:
        raise CannotPredict(f"config.json has a compress_ratio {str(ratio)[:40]}, which is not known")
    kept = Paged(_V4_BLOCK, _v4_page(_V4_BLOCK // ratio * _V4_PACKED))
    if ratio != 4:
        return (kept, _v4_state(ratio, _V4_WIDTH))
    index = Paged(_V4_BLOCK, _v4_page(_V4_BLOCK // ratio * (_V4_INDEX + 4)))
    return (kept, _v4_state(ratio, _V4_WIDTH), index, _v4_state(ratio, _V4_INDEX))


def _v4_state(ratio: int, width: int) -> Paged:
    """Return the state of a compression: keys and scores in float32, twice where windows overlap."""
    overlap = 2 if ratio == 4 else 1
    tokens = _V4_STATE_BLOCKS[ratio]
    return Paged(tokens, _v4_page(tokens * 2 * overlap * width * 4), overlap * ratio)


def _v4_page(size: int) -> int:
    return -(-size // _V4_ALIGNED) * _V4_ALIGNED


def _kimi_linear(text: _Text, size: int) -> Layers:
    """Return the layers of Kimi Linear: Kimi delta attention, with latent attention in between.

    source: KimiLinearConfig, kda_state_shape and kda_state_dtype (mamba_utils.py) of vLLM 0.32.
    """
    linear = _mapping(text.get("linear_attn_config"))
    delta = linear.get("kda_layers")
    if not isinstance(delta, (list, tuple)) or not all(isinstance(one, int) for one in delta):
        raise CannotPredict("config.json has no linear_attn_config.kda_layers")
    for key in ("num_heads", "head_dim", "short_conv_kernel_size"):
        if linear.get(key) is None:
            raise CannotPredict(f"config.json has no linear_attn_config.{key}")
        _check_count(key, linear[key])
    heads, width, kernel = (int(linear[key]) for key in ("num_heads", "head_dim", "short_conv_kernel_size"))
    convolved = _divided(3 * heads * width, size, "the width of the convolution")
    recurrent = _divided(heads, size, "linear_attn_config.num_heads") * width * width
    state = State(convolved * (kernel - 1), recurrent, recurrent_dtype="float32", convolved=convolved)
    latent = Latent(_latent_width(text))
    return [(state,) if index + 1 in delta else (latent,) for index in range(text.layers())]


def _bailing_hybrid(text: _Text, size: int) -> Layers:
    """Return the layers of Ling and Ring 2.5: linear attention, and latent in the last layer of each group.

    source: vllm/model_executor/models/bailing_moe_linear.py of 0.32.
    """
    group = text.number("layer_group_size")
    heads = _divided(text.heads(), size, "num_attention_heads")
    state = State(0, heads * text.head_size() ** 2)
    latent = Latent(_latent_width(text))
    return [(state,) if (index + 1) % group else (latent,) for index in range(text.layers())]


def _minimax_linear(text: _Text, size: int) -> Layers:
    """Return the layers of MiniMax-Text-01 and M1: lightning attention, full where the file says so.

    source: vllm/model_executor/models/minimax_text_01.py of 0.23, the last release that serves them.
    """
    kinds = text.get("attn_type_list")
    if not isinstance(kinds, (list, tuple)) or len(kinds) < text.layers():
        raise CannotPredict("config.json names fewer attn_type_list than layers")
    state = State(0, _divided(text.heads(), size, "num_attention_heads") * text.head_size() ** 2)
    attention = _attention(text, size)
    return [(attention,) if kind == 1 else (state,) for kind in kinds[: text.layers()]]


def _encoder(text: _Text, size: int) -> Layers:
    """Return the layers of an encoder: vLLM runs each text through it in one step, and keeps nothing."""
    return [()] * text.layers()


def _whisper(text: _Text, size: int) -> Layers:
    """Return the layers of a decoder, each of which attends to the answer, and to what the encoder gave."""
    heads = text.number("decoder_attention_heads")
    width = 2 * (text.number("d_model") // heads)
    shared = _divided(heads, size, "decoder_attention_heads")
    return [(Attention(shared, width), Cross(shared, width))] * text.number("decoder_layers")


# By the model_type of the language model. What ran on vLLM 0.32 for CPUs is in the unit tests' fixtures; for the others
# the docstring of the family, or the comment beside, names the source.
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "arcee",
            "bailing_moe",
            "bailing_moe_v2",
            "bloom",
            "cohere",
            "dots1",
            "ernie4_5",
            "ernie4_5_moe",
            "ernie4_5_moe_vl",
            "ernie4_5_vl_moe_text",
            "gemma",
            "glm",
            "glm4",
            "glm4_moe",
            "glm4v_moe_text",
            "glm4v_text",
            "glm_ocr_text",
            "gpt2",
            "gpt_neox",
            "gptj",
            "hunyuan_v1_dense",
            "hunyuan_v1_moe",
            "internlm2",
            "internlm3",
            "minimax_m2",
            "ministral3",
            "nemotron",
            "olmo",
            "olmoe",
            "opt",
            "paddleocr_vl",
            "paddleocr_vl_text",
            "phi",
            "qwen3_vl_moe_text",
            "qwen3_vl_text",
            "stablelm",
        ),
        _full,
    ),
    **dict.fromkeys(
        (
            "minicpmv",
            "qwen3",
            "qwen3_moe",
            "qwen3_omni_moe_text",
            "smollm3",
            "solar_open",
        ),
        _unwindowed,
    ),
    **dict.fromkeys(
        (
            "apertus",
            "granite",
            "granitemoe",
            "granitemoeshared",
            "llama",
            "ministral",
            "mistral",
            "mixtral",
            "olmo2",
            "phi3",
            "phi4mm",
            "phimoe",
            "seed_oss",
            "starcoder2",
        ),
        _windowed,
    ),
    **dict.fromkeys(("chatglm", "mimo", "minicpm"), _divided_hidden),
    **dict.fromkeys(
        (
            *("qwen2", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_moe", "qwen2_vl", "qwen2_vl_text"),
            *("dots_ocr", "qwen2_5_omni_text"),
        ),
        _qwen2,
    ),
    "llama4_text": _chunked,
    "gemma2": _every(2),
    "gemma3_text": _every(6),
    "gemma3n_text": _gemma3n,
    "gemma4_text": _gemma4,
    "cohere2": _every(4, beyond=1),
    "exaone4": _every(4),
    "exaone_moe": _every(4),
    "olmo3": _every(4),
    "gpt_oss": _gpt_oss,
    "falcon": _falcon,
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite"), _latent),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _delta_net),
    "jamba": _jamba,
    "nemotron_h": _nemotron_h,
    "granitemoehybrid": _granite_hybrid,
    "falcon_h1": _falcon_h1,
    **dict.fromkeys(("lfm2", "lfm2_moe"), _lfm2),
    **dict.fromkeys(("mamba", "falcon_mamba"), _mamba),
    "mamba2": _mamba2_only,
    "afmoe": _afmoe,
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), _mimo_v2),
    "step3p5": _step3p5,
    "longcat_flash": _longcat,
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), _indexed),
    "deepseek_v4": _deepseek_v4,
    "kimi_linear": _kimi_linear,
    "bailing_hybrid": _bailing_hybrid,
    **dict.fromkeys(("minimax_m1", "minimax_text_01"), _minimax_linear),
    "whisper": _whisper,
    # source of nomic_bert, gte and new: vllm/model_executor/models/bert_with_rope.py of 0.32.
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "gte", "new"), _encoder),
}


# --- drafts -----------------------------------------------------------------------------------------------------------


def _draft_like(kind: t.Callable[[_Text, int], tuple[Layer, ...]]) -> Family:
    """Return a family with as many layers of one kind as the model brings for prediction."""

    def family(text: _Text, size: int) -> Layers:
        return [kind(text, size)] * predictors(text)

    return family


def predictors(text: _Text) -> int:
    """Return how many layers for prediction the model brings."""
    count = text.get("mtp_num_hidden_layers")
    count = text.get("num_nextn_predict_layers") if count is None else count
    if not count:
        raise CannotPredict(
            "config.json names no layers for prediction (num_nextn_predict_layers, mtp_num_hidden_layers)"
        )
    if count > _MOST_LAYERS:
        raise CannotPredict(f"config.json has {count} layers for prediction")
    return int(count)


def _sliding(text: _Text, size: int) -> tuple[Layer, ...]:
    return (_attention(text, size, text.window()),)


# What a model's own layers for prediction (MTP) keep. Those that ran on vLLM 0.32 for CPUs are in the unit tests'
# fixtures. source of the others: hf_config_override in vllm/config/speculative.py of 0.32, and the *_mtp.py it names.
PREDICTORS: dict[str, Family] = {
    **dict.fromkeys(("deepseek_v3", "glm4_moe_lite"), _draft_like(lambda text, size: (Latent(_latent_width(text)),))),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), _draft_like(lambda text, size: _indexed_layer(text, None))),
    **dict.fromkeys(
        ("ernie4_5_moe", "glm4_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
        _draft_like(lambda text, size: (_attention(text, size),)),
    ),
    "exaone_moe": _draft_like(_sliding),
    "mimo": lambda text, size: list(_divided_hidden(text, size))[:1] * predictors(text),
    "longcat_flash": lambda text, size: [(Latent(_latent_width(text)),)] * (text.get("num_nextn_predict_layers") or 1),
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), lambda text, size: [(_mimo_v2_windowed(text, size),)]),
}


def predicting_layers(config: Config, size: int) -> tuple[tuple[tuple[Layer, ...], ...], int]:
    """Return the layers of a model's own prediction, and how many tokens vLLM speculates when it is not told."""
    raw = text_config(config)
    model_type = str(raw.get("model_type") or "")
    family = PREDICTORS.get(model_type)
    if family is None:
        raise CannotPredict(
            f"what the layers for prediction of the model type {model_type or '(none)'} keep is not known"
        )
    text = _text_of(raw, model_type)
    layers = tuple(family(text, size))
    return layers, len(layers)


# --- Mistral's own format ---------------------------------------------------------------------------------------------

_MISTRAL_NAMES = {
    "dim": "hidden_size",
    "n_kv_heads": "num_key_value_heads",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
}


def _translated(config: Config) -> Config:
    """Return a params.json (Mistral Large 3) by the names of a config.json; any other configuration as it is.

    source: vllm/transformers_utils/configs/mistral.py of 0.32.
    """
    if "dim" not in config or "n_layers" not in config or config.get("model_type"):
        return config
    values = {_MISTRAL_NAMES.get(str(key), str(key)): value for key, value in config.items()}
    experts = _mapping(config.get("moe"))
    values.setdefault("max_position_embeddings", 128_000)
    if config.get("qk_nope_head_dim") and experts.get("num_shared_experts"):
        kind = "deepseek_v3"
    elif config.get("qk_nope_head_dim") or isinstance(config.get("sliding_window"), (list, tuple)):
        raise CannotPredict("this params.json of Mistral is of a kind that is not known")
    else:
        kind = "mixtral" if experts else "mistral"
    quantization = _mapping(config.get("quantization"))
    method = "fp8" if quantization.get("qformat_weight") == "fp8_e4m3" else quantization.get("quant_method")
    return {
        **values,
        "model_type": kind,
        "sliding_window": config.get("sliding_window"),
        "n_routed_experts": experts.get("num_experts"),
        "num_experts_per_tok": experts.get("num_experts_per_tok"),
        **({"quantization_config": {"quant_method": method}} if method else {}),
    }


# --- what holds for all -----------------------------------------------------------------------------------------------

_LENGTHS = (
    "max_target_positions",
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
    "max_trained_positions",  # of nomic_bert
)
_SCALED_ALREADY = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")


def _max_model_len(text: _Text, outer: str) -> int:
    """Return the length that vLLM takes when none is asked for."""
    lengths = [int(text.get(key)) for key in _LENGTHS if text.get(key)]
    length = int(text.get("model_max_length") or (min(lengths) if lengths else 2048))
    rope = _mapping(text.get("rope_scaling")) or _mapping(text.get("rope_parameters"))
    ropes = [part for part in rope.values() if isinstance(part, t.Mapping)] or [rope]
    for part in ropes:
        kind = part.get("rope_type") or part.get("type") or "default"
        if kind == "longrope":
            return int(text.get("original_max_position_embeddings") or length)
        factor = part.get("factor")
        if factor is not None and not (_is_number(factor) and 0 < factor <= _MOST):
            raise CannotPredict(f"config.json has a rope factor {str(factor)[:40]}, which is not known")
        if kind not in _SCALED_ALREADY and factor and "gemma3" not in outer + str(text.get("model_type")):
            return int(length * factor)
    return length


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _dtype(config: Config, text: Config) -> str:
    for part in (config, text):
        stated = part.get("dtype") or part.get("torch_dtype")
        if stated:
            return str(stated)
    return ""


def _quantization(quantization: t.Mapping[str, t.Any]) -> str:
    return str(quantization.get("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")


def _kv_cache_dtype(quantization: t.Mapping[str, t.Any]) -> str:
    """Return what a checkpoint says of its KV cache, which vLLM follows unless told otherwise."""
    if quantization.get("kv_cache_scheme"):
        scheme = quantization["kv_cache_scheme"]
        eight = isinstance(scheme, t.Mapping) and scheme.get("num_bits") == 8 and scheme.get("type") == "float"
        return "fp8" if eight else "unknown"
    inner = quantization.get("quantization")
    stated = (inner if isinstance(inner, t.Mapping) else quantization).get("kv_cache_quant_algo")
    if not stated:
        return "auto"
    return "fp8" if str(stated).lower() == "fp8" else "unknown"
