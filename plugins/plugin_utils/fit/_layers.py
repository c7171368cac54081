# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""What each layer of a model keeps for a request, read from the model's config.json.

Only what is known is read: a model type that has no entry in `FAMILIES`, or a setting whose effect is not known here,
is `CannotPredict`. The rules are those of vLLM 0.32 and of the configuration classes of Transformers 5 it reads with;
what a configuration leaves out has the default of its class.
"""

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit._class_defaults import DEFAULTS

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


class State(t.NamedTuple):
    """A state of fixed size for a request (Mamba, linear attention, short convolution), in elements on one GPU."""

    convolution: int
    recurrent: int
    recurrent_dtype: str = "auto"
    checkpoints: int = 0  # states that vLLM keeps besides, while it caches prefixes


Layer = Attention | Latent | State


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


_SUBCONFIGS = ("text_config", "llm_config", "language_config")

# Models that wrap a language model, which alone fills the KV cache, with encoders of images, sound or video.
WRAPPERS = frozenset(
    (
        "aria",
        "cohere2_vision",
        "gemma3",
        "gemma3n",
        "gemma4",
        "glm4v",
        "glm4v_moe",
        "idefics3",
        "internvl",
        "internvl_chat",
        "kimi_k25",
        "kimi_vl",
        "llama4",
        "llava",
        "llava_next",
        "llava_onevision",
        "mistral3",
        "paligemma",
        "pixtral",
        "qwen2_5_vl",
        "qwen2_audio",
        "qwen2_vl",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_vl",
        "qwen3_vl_moe",
        "smolvlm",
    )
)


def text_config(config: Config) -> Config:
    """The part of a configuration that describes the language model; all of it for a model of text."""
    for name in _SUBCONFIGS:
        inner = config.get(name)
        if isinstance(inner, t.Mapping):
            return inner
    return config


def read_model(config: Config, tensor_parallel_size: int = 1) -> Model:
    """The model behind a config.json; CannotPredict, with the reason, when it is not known here."""
    outer = str(config.get("model_type") or "")
    raw = text_config(config)
    model_type = str(raw.get("model_type") or "")
    if raw is not config and outer not in WRAPPERS:
        raise CannotPredict(f"the model type {outer or '(none)'} around a language model is not known")
    family = FAMILIES.get(model_type)
    if family is None:
        raise CannotPredict(f"the model type {model_type or '(none)'} is not known")
    architecture = (config.get("architectures") or [""])[0]
    if architecture and not _generates(str(architecture)):
        raise CannotPredict(f"the architecture {architecture} does not generate text")
    text = _Text(
        {**DEFAULTS.get(model_type, {}), **{key: value for key, value in raw.items() if value is not None}}, raw
    )
    layers = tuple(family(text, tensor_parallel_size))
    quantization = config.get("quantization_config") or raw.get("quantization_config") or {}
    return Model(
        model_type=model_type,
        layers=layers,
        max_model_len=_max_model_len(text, outer),
        dtype=_dtype(config, raw),
        attention_heads=text.get("num_attention_heads", 0),
        kv_heads=text.kv_heads() if text.get("num_attention_heads") else 0,
        hidden_size=text.get("hidden_size", 0),
        intermediate_size=text.get("intermediate_size") or 4 * text.get("hidden_size", 0),
        vocab_size=text.get("vocab_size", 0),
        quantization=_quantization(quantization),
        kv_cache_dtype=_kv_cache_dtype(quantization),
        experts=next((text.get(key) for key in _EXPERTS if isinstance(text.get(key), int)), 0),
    )


_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")


def _generates(architecture: str) -> bool:
    return architecture.endswith(
        ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ChatModel", "ChatGLMModel")
    )


class _Text:
    """A language model's configuration with the defaults of its class; a number that is missing is an error."""

    def __init__(self, values: t.Mapping[str, t.Any], raw: Config) -> None:
        self._values = values
        self._raw = raw

    def get(self, key: str, default: t.Any = None) -> t.Any:
        return self._values.get(key, default)

    def said(self, key: str) -> bool:
        """Whether the file itself has the key, be it as null."""
        return key in self._raw

    def number(self, *keys: str) -> int:
        for key in keys:
            value = self.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        raise CannotPredict(f"config.json has no {keys[0]}")

    def layers(self) -> int:
        return self.number("num_hidden_layers", "n_layer", "n_layers", "num_layers")

    def heads(self) -> int:
        return self.number("num_attention_heads", "n_head", "n_heads")

    def kv_heads(self) -> int:
        for key in ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num"):
            if isinstance(self.get(key), int):
                return int(self.get(key))
        return self.heads()

    def head_size(self) -> int:
        size = self.get("head_dim")
        if isinstance(size, int) and size > 0:
            return size
        return self.number("hidden_size", "n_embd", "d_model") // self.heads()

    def window(self) -> int | None:
        """The sliding window, none for null and 0."""
        if self.said("sliding_window") and not self._raw["sliding_window"]:
            return None
        return self.get("sliding_window") or None


# --- families ---------------------------------------------------------------------------------------------------------

Layers = t.Iterable[tuple[Layer, ...]]
Family = t.Callable[[_Text, int], Layers]


def _shard(heads: int, tensor_parallel_size: int) -> int:
    """Heads of one GPU: they are divided, and repeated where there are fewer of them than GPUs."""
    return max(1, heads // tensor_parallel_size)


def _attention(text: _Text, size: int, window: int | None = None) -> Attention:
    return Attention(_shard(text.kv_heads(), size), 2 * text.head_size(), window)


def _full(text: _Text, size: int) -> Layers:
    """One kind of layer throughout; a window, where such a model has one at all, is then everybody's."""
    types = text.get("layer_types")
    if types and set(types) - {"attention", "full_attention"}:
        raise CannotPredict("layers of several kinds in this model type are not known")
    return [(_attention(text, size, None if types else text.window()),)] * text.layers()


def _chunked(text: _Text, size: int) -> Layers:
    """Llama 4: attention within chunks, but for the layers without rotary embeddings."""
    full = _attention(text, size)
    chunked = full._replace(chunk=text.number("attention_chunk_size"))
    rotary = text.get("no_rope_layers") or [
        (index + 1) % text.get("no_rope_layer_interval", 4) for index in range(text.layers())
    ]
    return [(chunked,) if rotary[index] else (full,) for index in range(text.layers())]


def _unwindowed(text: _Text, size: int) -> Layers:
    """Families that have a window in their configuration, in use only where they say so."""
    if text.get("use_sliding_window"):
        raise CannotPredict("use_sliding_window of this model type is not known")
    return [(_attention(text, size),)] * text.layers()


def _windowed(text: _Text, size: int) -> Layers:
    """One window for all layers, unless the layers are named one by one."""
    if text.get("layer_types"):
        return _named(text, size, text.get("layer_types"), text.window())
    return [(_attention(text, size, text.window()),)] * text.layers()


def _named(text: _Text, size: int, types: t.Sequence[str], window: int | None) -> Layers:
    if len(types) < text.layers():
        raise CannotPredict("config.json names fewer layer_types than layers")
    kinds = {"sliding_attention": window, "full_attention": None, "attention": None, "chunked_attention": None}
    unknown = sorted(set(types[: text.layers()]) - set(kinds))
    if unknown:
        raise CannotPredict(f"the layer type {unknown[0]} is not known")
    return [(_attention(text, size, kinds[name]),) for name in types[: text.layers()]]


def _every(period: int, beyond: int = 0) -> Family:
    """Sliding windows, with full attention in each ``period``-th layer; ``beyond`` widens the window."""

    def family(text: _Text, size: int) -> Layers:
        step = text.get("sliding_window_pattern", period)
        window = text.window()
        types = text.get("layer_types")
        if types is None:
            if not isinstance(step, int):
                raise CannotPredict(f"the sliding_window_pattern {step!r} is not known")
            full = window is None or step == 0
            types = [
                "full_attention" if full or (i + 1) % step == 0 else "sliding_attention" for i in range(text.layers())
            ]
        return _named(text, size, types, window + beyond if window else None)

    return family


def _gpt_oss(text: _Text, size: int) -> Layers:
    return [(_attention(text, size, None if index % 2 else text.window()),) for index in range(text.layers())]


def _gemma3n(text: _Text, size: int) -> Layers:
    """The last layers read what earlier ones keep."""
    keeping = text.layers() - text.number("num_kv_shared_layers")
    layers = list(_every(5)(text, size))
    return layers[:keeping] + [()] * (text.layers() - keeping)


def _gemma4(text: _Text, size: int) -> Layers:
    """Layers of full attention have heads of another size, and perhaps another number of them."""
    if text.get("per_layer_config") is not None:
        raise CannotPredict("per_layer_config of Gemma 4 is not known")
    types = list(text.get("layer_types") or [])
    if not types:
        types = ["full_attention" if (index + 1) % 6 == 0 else "sliding_attention" for index in range(text.layers())]
    types[-1] = "full_attention"
    keeping = text.layers() - text.number("num_kv_shared_layers")
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


def _latent(text: _Text, size: int) -> Layers:
    if text.get("index_topk") or text.get("compress_ratios"):
        raise CannotPredict("sparse attention with an index of its own is not known")
    return [(Latent(text.number("kv_lora_rank") + text.number("qk_rope_head_dim")),)] * text.layers()


def _divided(total: int, size: int, what: str) -> int:
    if total % size:
        raise CannotPredict(f"{what} ({total}) cannot be divided by tensor_parallel_size {size}")
    return total // size


def _mamba2(size: int, inner: int, groups: int, heads: int, head_size: int, state: int, kernel: int) -> State:
    """Groups are repeated until each GPU has one whole."""
    if groups % size:
        groups = size
    convolution = _divided(inner + 2 * groups * state, size, "the width of the convolution") * (kernel - 1)
    return State(convolution, _divided(heads, size, "the number of Mamba heads") * head_size * state, checkpoints=1)


def _mamba1(size: int, inner: int, state: int, kernel: int) -> State:
    width = _divided(inner, size, "the inner width")
    return State(width * (kernel - 1), width * state)


def _delta_net(text: _Text, size: int) -> Layers:
    """Qwen3-Next and Qwen3.5: gated delta nets, with full attention in between."""
    keys = text.number("linear_num_key_heads") * text.number("linear_key_head_dim")
    values = text.number("linear_num_value_heads") * text.number("linear_value_head_dim")
    state = State(
        _divided(2 * keys + values, size, "the width of the convolution") * (text.number("linear_conv_kernel_dim") - 1),
        _divided(text.number("linear_num_value_heads"), size, "linear_num_value_heads")
        * text.number("linear_value_head_dim")
        * text.number("linear_key_head_dim"),
        recurrent_dtype=str(text.get("mamba_ssm_dtype") or "auto"),
    )
    period = text.get("full_attention_interval", 4)
    types = text.get("layer_types") or [
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
    types = text.get("layers_block_type") or text.get("layer_types")
    if types is None:
        types = list(str(text.get("hybrid_override_pattern") or ""))
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
    """The Mamba 2 layer that Granite 4 and Falcon H1 describe alike."""
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
    types = text.get("layer_types") or text.get("layers_block_type") or ["mamba"] * text.layers()
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
    state = State(
        _divided(text.number("conv_dim"), size, "the width of the convolution") * (text.number("conv_L_cache") - 1), 0
    )
    types = text.get("layer_types")
    if types is None:
        attending = text.get("full_attn_idxs")
        if attending is None:
            attending = range(text.layers())
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


# By the model_type of the language model.
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "arcee",
            "bloom",
            "cohere",
            "ernie4_5",
            "ernie4_5_moe",
            "gemma",
            "glm",
            "glm4",
            "glm4_moe",
            "glm4v_moe_text",
            "glm4v_text",
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
            "phi",
            "qwen3_vl_moe_text",
            "qwen3_vl_text",
            "stablelm",
        ),
        _full,
    ),
    **dict.fromkeys(
        (
            "qwen2",
            "qwen2_5_vl",
            "qwen2_5_vl_text",
            "qwen2_moe",
            "qwen2_vl",
            "qwen2_vl_text",
            "qwen3",
            "qwen3_moe",
            "smollm3",
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
            "phimoe",
            "seed_oss",
            "starcoder2",
        ),
        _windowed,
    ),
    "llama4_text": _chunked,
    "gemma2": _every(2),
    "gemma3_text": _every(6),
    "gemma3n_text": _gemma3n,
    "gemma4_text": _gemma4,
    "cohere2": _every(4, beyond=1),
    "exaone4": _every(4),
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
}


# --- what holds for all -----------------------------------------------------------------------------------------------

_LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_SCALED_ALREADY = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")


def _max_model_len(text: _Text, outer: str) -> int:
    """The length that vLLM takes when none is asked for."""
    lengths = [text.get(key) for key in _LENGTHS if isinstance(text.get(key), int)]
    length = int(text.get("model_max_length") or (min(lengths) if lengths else 2048))
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    ropes = [part for part in rope.values() if isinstance(part, t.Mapping)] or [rope]
    for part in ropes:
        kind = part.get("rope_type") or part.get("type") or "default"
        if kind == "longrope":
            return int(text.get("original_max_position_embeddings") or length)
        factor = part.get("factor")
        if kind not in _SCALED_ALREADY and factor and "gemma3" not in outer + str(text.get("model_type")):
            return int(length * factor)
    return length


def _dtype(config: Config, text: Config) -> str:
    for part in (config, text):
        stated = part.get("dtype") or part.get("torch_dtype")
        if stated:
            return str(stated)
    return ""


def _quantization(quantization: t.Mapping[str, t.Any]) -> str:
    return str(quantization.get("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")


def _kv_cache_dtype(quantization: t.Mapping[str, t.Any]) -> str:
    """What a checkpoint says of its KV cache, which vLLM follows unless told otherwise."""
    if quantization.get("kv_cache_scheme"):
        scheme = quantization["kv_cache_scheme"]
        eight = isinstance(scheme, t.Mapping) and scheme.get("num_bits") == 8 and scheme.get("type") == "float"
        return "fp8" if eight else "unknown"
    inner = quantization.get("quantization")
    stated = (inner if isinstance(inner, t.Mapping) else quantization).get("kv_cache_quant_algo")
    if not stated:
        return "auto"
    return "fp8" if str(stated).lower() == "fp8" else "unknown"
