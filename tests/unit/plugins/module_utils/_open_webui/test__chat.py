# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _chat, _shape


def completion(message: dict[str, t.Any], finish_reason: str = "stop", **rest: t.Any) -> dict[str, t.Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], **rest}


def test_request_body_has_no_ids_of_a_chat() -> None:
    assert _chat.request_body("m", "Hello?", None, None) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": False,
    }
    assert _chat.request_body("m", "Hello?", "Be brief.", 7) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "stream": False,
        "max_tokens": 7,
    }


def test_model_ids() -> None:
    assert _chat.model_ids({"data": [{"id": "b"}, {"name": "no id"}, {"id": "a"}]}) == ["b", "a"]
    assert _chat.model_ids({"data": []}) == []
    for unknown in ([], {"models": []}, {"data": {"items": []}}, {"data": [{"name": "no id"}]}):
        with pytest.raises(_shape.ShapeError):
            _chat.model_ids(unknown)


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        ([], "it offers none at all. Check that its connection is there"),
        (["other"], "it offers other. Check that its connection is there"),
        (["gpu-01.qwen"], "Did you mean gpu-01.qwen, with the prefix of its connection?"),
    ],
)
def test_not_offered(offered: list[str], words: str) -> None:
    text = _chat.not_offered(["qwen"], offered, 60.2, "admin@example.com")
    assert text.startswith("Open WebUI offers admin@example.com no model qwen after 60 seconds; ")
    assert words in text


@pytest.mark.parametrize(
    ("data", "answer", "reasoning", "tokens"),
    [
        (completion({"content": "Paris"}, usage={"prompt_tokens": 3, "completion_tokens": 1}), "Paris", "", (3, 1)),
        (completion({"content": None, "reasoning_content": "Hm"}, "length"), "", "Hm", (None, None)),
        (completion({"content": "Paris", "reasoning": "Hm"}, usage=None), "Paris", "Hm", (None, None)),
    ],
)
def test_read_answer(data: dict, answer: str, reasoning: str, tokens: tuple) -> None:
    read = _chat.read_answer("m", data)
    assert (read["model"], read["answer"], read["reasoning"]) == ("m", answer, reasoning)
    assert (read["prompt_tokens"], read["completion_tokens"]) == tokens


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "m answered with something that is not a chat completion: None"),
        ("text", "not a chat completion: text"),
        ({}, "not a chat completion"),
        ({"choices": []}, "not a chat completion"),
        ({"choices": ["x"]}, "not a chat completion"),
        ({"choices": [{"message": None}]}, "not a chat completion"),
        ({"error": {"message": "too long"}}, "m answered with an error: too long"),
        ({"detail": "broken"}, "m answered with an error: broken"),
        (completion({"content": ""}, "length"), "m gave an empty answer (finish_reason length); raise max_tokens"),
    ],
)
def test_read_answer_refuses(data: t.Any, words: str) -> None:
    with pytest.raises(_chat.ChatError) as caught:
        _chat.read_answer("m", data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (500, "Open WebUI: Server Connection Error", "Open WebUI cannot reach the server of this model"),
        (400, "Model not found", "the model vanished from Open WebUI's list, or is not public"),
        (401, "Unauthorized", "the key of the model's connection, or the right to use the model, is missing"),
    ],
)
def test_explain_failure(status: int, detail: str, words: str) -> None:
    assert words in _chat.explain_failure("m", status, detail)


def test_explain_failure_leaves_what_it_does_not_know() -> None:
    assert _chat.explain_failure("m", 418, "teapot") == "m gave no answer through Open WebUI (418: teapot)"


def test_check_expectation() -> None:
    _chat.check_expectation("m", "It is Paris.", "Paris")
    _chat.check_expectation("m", "It is Paris.", None)
    with pytest.raises(_chat.ChatError, match=r"m answered 'It is Rome\.', which does not contain 'Paris'"):
        _chat.check_expectation("m", "It is Rome.", "Paris")
