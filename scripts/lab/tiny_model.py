#!/usr/bin/python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a tiny Qwen3 model that answers every chat with one given sentence.

The model is a real one: vLLM and transformers load it as Qwen3ForCausalLM and run every layer. Its answer is certain
because the weights form a Markov chain. The sentence is cut into pieces, every piece is a token of its own, and every
token stands for a state:

* the embedding of a token is a one-hot vector, its state; every token that is no piece stands for the state "start";
* attention and MLP run on their own weights, but their output projections are zero, so the state passes unchanged;
* the language model head maps each state to the next piece, and the last one to the end-of-turn token.

The winning logit is so far ahead of the others that sampling at temperature 1.0 never leaves the sentence. Two models
with different sentences can so be told apart by what they say. Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VOCAB_SIZE = 512
HIDDEN_SIZE = 64
INTERMEDIATE_SIZE = 128
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 32
MAX_POSITION = 2048

# The logit of the next piece is NEXT_WEIGHT * sqrt(HIDDEN_SIZE) = 128, every other one is 0.
NEXT_WEIGHT = 16.0

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)

# Frequent English pairs ("_" is the space before a word), so that a prompt takes about half as many tokens as bytes.
MERGES = (
    "t h|i n|a n|e r|o n|r e|a t|e n|o r|e s|i t|i s|o u|a l|a r|s t|e d|l e|o f|i c|a s|v e|c h|l l|s e|u s|n d|c o|"
    "_ th|_ a|_ s|_ o|_ w|_ c|_ b|_ m|_ p|_ f|_ t|_ d|_ in|_ re|_ an|_ of|_ is|"
    "th e|_th e|_t o|in g|an d|_an d|i on|e r|th at|_th at|_f or|en t|_w ith|w ith|it h|y ou|_ you"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class TinyModelError(ValueError):
    """The model cannot be made as asked; the text says why."""


def byte_alphabet() -> list[str]:
    """Return the printable character that stands for each byte in a byte-level vocabulary."""
    printable = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


ALPHABET = byte_alphabet()


def to_token(text: str) -> str:
    """Return a text as it is written in a byte-level vocabulary."""
    return "".join(ALPHABET[byte] for byte in text.encode("utf-8"))


def merge_pairs() -> list[tuple[str, str]]:
    """Return the merges in order, each only if both of its halves can exist by then."""
    known = set(ALPHABET)
    pairs: list[tuple[str, str]] = []
    for entry in MERGES.split("|"):
        left, right = entry.replace("_", to_token(" ")).split(" ")
        if left in known and right in known and left + right not in known:
            known.add(left + right)
            pairs.append((left, right))
    return pairs


def split_sentence(sentence: str, limit: int, taken: set[str]) -> list[str]:
    """Cut a sentence into at most `limit` different pieces, none of which is in `taken`.

    A piece is some words with the space before them. Words that would repeat a piece are joined to the next ones.
    """
    words = re.findall(r"\s*\S+|\s+$", sentence)
    if not "".join(words).strip():
        raise TinyModelError("the sentence is empty; give some words with --says")
    stride = -(-len(words) // limit)
    pieces: list[str] = []
    current = ""
    for index, word in enumerate(words):
        current += word
        if (index + 1) % stride == 0 and to_token(current) not in taken and current not in pieces:
            pieces.append(current)
            current = ""
    while current and (to_token(current) in taken or current in pieces or len(pieces) >= limit):
        if not pieces:
            raise TinyModelError(
                f"the sentence {sentence!r} is a token that prompts use too; give a longer one with --says"
            )
        current = pieces.pop() + current
    if current:
        pieces.append(current)
    return pieces


def vocabulary(sentence: str) -> tuple[dict[str, int], list[int]]:
    """Return the vocabulary (token to id) and the ids of the sentence's pieces in order."""
    tokens = list(ALPHABET) + [left + right for left, right in merge_pairs()]
    room = min(HIDDEN_SIZE - 1, VOCAB_SIZE - len(tokens) - len(SPECIAL_TOKENS))
    pieces = [to_token(piece) for piece in split_sentence(sentence, room, set(tokens))]
    answer = list(range(len(tokens), len(tokens) + len(pieces)))
    tokens += pieces
    return {token: index for index, token in enumerate(tokens)}, answer


def special_ids() -> dict[str, int]:
    """Return the ids of the special tokens: the last ones of the vocabulary."""
    first = VOCAB_SIZE - len(SPECIAL_TOKENS)
    return {token: first + index for index, token in enumerate(SPECIAL_TOKENS)}


def bfloat16(values: list[float]) -> bytes:
    """Return numbers as little-endian bfloat16; they must be exact in it, as all of ours are."""
    out = bytearray()
    for value in values:
        raw = struct.pack("<f", value)
        if raw[:2] != b"\0\0":
            raise TinyModelError(f"{value!r} has no exact bfloat16 form")
        out += raw[2:]
    return bytes(out)


def safetensors_head(shapes: Mapping[str, Sequence[int]]) -> bytes:
    """Return the beginning of a safetensors file of bfloat16 tensors: 8 bytes of length, and a header in JSON."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def safetensors(tensors: dict[str, tuple[list[int], bytes]]) -> bytes:
    """Return a safetensors file of bfloat16 tensors."""
    head = safetensors_head({name: shape for name, (shape, _data) in tensors.items()})
    return head + b"".join(data for _shape, data in tensors.values())


def weights(answer: list[int], end_of_turn: int, seed: int) -> dict[str, tuple[list[int], bytes]]:
    """Return all tensors of the model, by their names in transformers: shape and data."""
    noise = random.Random(seed)

    def matrix(rows: int, columns: int) -> tuple[list[int], bytes]:
        return [rows, columns], bfloat16([noise.randrange(-16, 17) / 64 for _ in range(rows * columns)])

    def zeros(rows: int, columns: int) -> tuple[list[int], bytes]:
        return [rows, columns], bytes(2 * rows * columns)

    def ones(size: int) -> tuple[list[int], bytes]:
        return [size], bfloat16([1.0] * size)

    def one_hot(marks: dict[int, int], value: float) -> tuple[list[int], bytes]:
        """Return a row for each token; `marks` says which of its columns is not zero."""
        rows = [0.0] * (VOCAB_SIZE * HIDDEN_SIZE)
        for token, column in marks.items():
            rows[token * HIDDEN_SIZE + column] = value
        return [VOCAB_SIZE, HIDDEN_SIZE], bfloat16(rows)

    state_of = dict.fromkeys(range(VOCAB_SIZE), 0)
    state_of.update({token: index + 1 for index, token in enumerate(answer)})
    chosen_in = {token: index for index, token in enumerate([*answer, end_of_turn])}

    tensors = {"model.embed_tokens.weight": one_hot(state_of, 1.0)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "input_layernorm.weight"] = ones(HIDDEN_SIZE)
        tensors[prefix + "self_attn.q_proj.weight"] = matrix(HEADS * HEAD_DIM, HIDDEN_SIZE)
        tensors[prefix + "self_attn.k_proj.weight"] = matrix(KV_HEADS * HEAD_DIM, HIDDEN_SIZE)
        tensors[prefix + "self_attn.v_proj.weight"] = matrix(KV_HEADS * HEAD_DIM, HIDDEN_SIZE)
        tensors[prefix + "self_attn.q_norm.weight"] = ones(HEAD_DIM)
        tensors[prefix + "self_attn.k_norm.weight"] = ones(HEAD_DIM)
        tensors[prefix + "self_attn.o_proj.weight"] = zeros(HIDDEN_SIZE, HEADS * HEAD_DIM)
        tensors[prefix + "post_attention_layernorm.weight"] = ones(HIDDEN_SIZE)
        tensors[prefix + "mlp.gate_proj.weight"] = matrix(INTERMEDIATE_SIZE, HIDDEN_SIZE)
        tensors[prefix + "mlp.up_proj.weight"] = matrix(INTERMEDIATE_SIZE, HIDDEN_SIZE)
        tensors[prefix + "mlp.down_proj.weight"] = zeros(HIDDEN_SIZE, INTERMEDIATE_SIZE)
    tensors["model.norm.weight"] = ones(HIDDEN_SIZE)
    tensors["lm_head.weight"] = one_hot(chosen_in, NEXT_WEIGHT)
    return tensors


def config() -> dict[str, object]:
    """Return config.json, as transformers writes it for this architecture."""
    specials = special_ids()
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": INTERMEDIATE_SIZE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": MAX_POSITION,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": specials[TURN_END],
        "pad_token_id": specials[END_OF_TEXT],
    }


def generation_config() -> dict[str, object]:
    """Return generation_config.json: where an answer ends."""
    specials = special_ids()
    return {
        "eos_token_id": [specials[TURN_END], specials[END_OF_TEXT]],
        "pad_token_id": specials[END_OF_TEXT],
    }


def tokenizer(vocab: dict[str, int]) -> dict[str, object]:
    """Return tokenizer.json: byte-level BPE. No merge leads to a piece of the answer, so only the model speaks them."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token, index in special_ids().items()
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [f"{left} {right}" for left, right in merge_pairs()],
        },
    }


def tokenizer_config() -> dict[str, object]:
    """Return tokenizer_config.json: the special tokens' parts and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_POSITION,
        "clean_up_tokenization_spaces": False,
        "bos_token": None,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "additional_special_tokens": [TURN_START, TURN_END],
        "chat_template": CHAT_TEMPLATE,
    }


def model_files(sentence: str, seed: int = 0) -> dict[str, bytes]:
    """Return every file of the model: name and content. The same arguments give the same bytes."""

    def as_json(value: object) -> bytes:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")

    vocab, answer = vocabulary(sentence)
    return {
        "README.md": f"# A tiny model for tests\n\nIt answers every chat with: {sentence}\n".encode(),
        "config.json": as_json(config()),
        "generation_config.json": as_json(generation_config()),
        "model.safetensors": safetensors(weights(answer, special_ids()[TURN_END], seed)),
        "tokenizer.json": as_json(tokenizer(vocab)),
        "tokenizer_config.json": as_json(tokenizer_config()),
    }


def write_model(out: str | os.PathLike[str], sentence: str, seed: int = 0) -> list[str]:
    """Write the model into a folder, made if missing; returns the names of its files."""
    folder = Path(out)
    files = model_files(sentence, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(files)


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write a tiny Qwen3 model that answers every chat with one sentence.")
    parser.add_argument("--out", required=True, help="folder to write the model into; made if missing")
    parser.add_argument("--says", required=True, help="the sentence it answers with")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights that do not matter for the answer")
    arguments = parser.parse_args(argv)
    try:
        names = write_model(arguments.out, arguments.says, arguments.seed)
    except TinyModelError as error:
        print(f"tiny_model: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
