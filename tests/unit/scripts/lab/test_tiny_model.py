# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import tiny_model


def tensors(content: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Read a safetensors file of bfloat16, by the format's own description."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    return {
        name: (item["shape"], data[item["data_offsets"][0] : item["data_offsets"][1]])
        for name, item in header.items()
        if name != "__metadata__"
    }


def answer_of(files: dict[str, bytes], last_token: int) -> str:
    """Follow the chain of states as the model does: embedding, then the largest logit, until the end of the turn."""
    weights = tensors(files["model.safetensors"])

    def matrix(name: str) -> list[list[float]]:
        (rows, columns), data = weights[name]
        flat = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
        return [flat[row * columns : (row + 1) * columns] for row in range(rows)]

    embedding, head = matrix("model.embed_tokens.weight"), matrix("lm_head.weight")
    names = {token: text for text, token in json.loads(files["tokenizer.json"])["model"]["vocab"].items()}
    end = json.loads(files["config.json"])["eos_token_id"]
    spoken = ""
    for _step in range(200):
        state = embedding[last_token]
        logits = [sum(weight * value for weight, value in zip(row, state, strict=True)) for row in head]
        assert sorted(logits)[-2] == 0
        last_token = logits.index(max(logits))
        if last_token == end:
            break
        spoken += names[last_token]
    return bytes(tiny_model.ALPHABET.index(letter) for letter in spoken).decode()


@pytest.mark.parametrize(
    "sentence",
    [
        "Hello from the alpha model.",
        "the the the the end",
        "no no no no no no",
        "你好，我是小模型。",
        "Two  spaces,\ta tab,\nand a line.",
        " ".join(f"word{number}" for number in range(150)),
        "a a",
    ],
)
def test_model_says_its_sentence_whatever_is_asked(sentence: str) -> None:
    files = tiny_model.model_files(sentence)
    for asked in (0, 10, 255, 300, tiny_model.special_ids()[tiny_model.TURN_END]):
        assert answer_of(files, asked) == sentence


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [("", "the sentence is empty"), ("  ", "the sentence is empty"), ("a", "is a token that prompts use too")],
)
def test_sentences_that_cannot_be(sentence: str, reason: str) -> None:
    with pytest.raises(tiny_model.TinyModelError, match=reason):
        tiny_model.model_files(sentence)


def test_shapes_fit_the_configuration() -> None:
    files = tiny_model.model_files("Hello there.")
    config = json.loads(files["config.json"])
    found = {name: shape for name, (shape, _data) in tensors(files["model.safetensors"]).items()}
    assert found["model.layers.1.self_attn.q_proj.weight"] == [
        config["num_attention_heads"] * config["head_dim"],
        config["hidden_size"],
    ]
    assert found["model.layers.0.mlp.down_proj.weight"] == [config["hidden_size"], config["intermediate_size"]]
    assert found["lm_head.weight"] == [config["vocab_size"], config["hidden_size"]]
    assert len(found) == 3 + 11 * config["num_hidden_layers"]
    for shape, data in tensors(files["model.safetensors"]).values():
        size = 2
        for side in shape:
            size *= side
        assert len(data) == size


def test_vocabulary_is_complete_and_no_merge_makes_a_piece_of_the_answer() -> None:
    files = tiny_model.model_files("Hello from the alpha model.")
    tokenizer = json.loads(files["tokenizer.json"])
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    assert set(tiny_model.ALPHABET) <= set(vocab)
    assert sorted(vocab.values()) == list(range(len(vocab)))
    products = {merge.replace(" ", "") for merge in merges}
    assert products <= set(vocab)
    assert not products & {"Hello", "Ġfrom", "Ġmodel."}
    specials = {token["id"] for token in tokenizer["added_tokens"]}
    assert max(vocab.values()) < min(specials)
    assert max(specials) == tiny_model.VOCAB_SIZE - 1


def test_same_arguments_give_the_same_bytes() -> None:
    assert tiny_model.model_files("Hello there.") == tiny_model.model_files("Hello there.")
    assert tiny_model.model_files("Hello there.") != tiny_model.model_files("Hello there.", seed=1)


def test_bfloat16_refuses_what_it_cannot_hold() -> None:
    assert tiny_model.bfloat16([1.0, -0.5]) == b"\x80\x3f\x00\xbf"
    with pytest.raises(tiny_model.TinyModelError, match=r"0\.1 has no exact bfloat16 form"):
        tiny_model.bfloat16([0.1])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny_model.main(["--out", str(tmp_path / "a" / "b"), "--says", "Hello there."]) == 0
    assert (tmp_path / "a" / "b" / "config.json").is_file()
    assert tiny_model.main(["--out", str(tmp_path / "c"), "--says", ""]) == 1
    assert not (tmp_path / "c").exists()
    assert "the sentence is empty" in capsys.readouterr().err
