# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a question through Open WebUI: what to send, and what the answers mean."""

from __future__ import annotations

import typing as t

from . import _shape


class ChatError(ValueError):
    """No answer, or not the expected one; the text is meant for the user."""


def request_body(model: str, question: str, system: str | None, max_tokens: int | None) -> dict[str, t.Any]:
    """Return the request for a chat completion in one piece. Without the ids of a chat, Open WebUI stores nothing."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": question})
    body: dict[str, t.Any] = {"model": model, "messages": messages, "stream": False}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    return body


def model_ids(listing: t.Any) -> list[str]:
    """Return the ids in Open WebUI's list of models, in its order."""
    entries = _shape.listing(_shape.field(listing, "data"), "data")
    ids = [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if entries and not ids:
        raise _shape.ShapeError("data has entries, and none with an id")
    return ids


def not_offered(missing: t.Sequence[str], offered: t.Sequence[str], waited: float, who: str) -> str:
    """Explain why a model cannot be asked, and where to look."""
    names = ", ".join(missing)
    text = f"Open WebUI offers {who} no model {names} after {waited:.0f} seconds; it offers "
    text += ", ".join(offered) if offered else "none at all"
    near = [one for one in offered for wanted in missing if one.endswith(f".{wanted}")]
    if near:
        return f"{text}. Did you mean {near[0]}, with the prefix of its connection?"
    return (
        f"{text}. Check that its connection is there and enabled and that the server behind it runs "
        "(open_webui_connection with verify), and for anybody but an administrator that the model is public"
    )


def read_answer(model: str, data: t.Any) -> dict[str, t.Any]:
    """Return the answer in a completed chat, as modules return it."""
    if not isinstance(data, dict):
        raise ChatError(f"{model} answered with something that is not a chat completion: {str(data)[:200]}")
    error = data.get("error") or data.get("detail")
    if error:
        text = error.get("message") if isinstance(error, dict) else error
        raise ChatError(f"{model} answered with an error: {text}")
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ChatError(f"{model} answered with something that is not a chat completion: {str(data)[:200]}")
    answer = message.get("content") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(answer, str) or not isinstance(reasoning, str):
        raise ChatError(f"{model} answered with something that is not a text: {str(answer or reasoning)[:200]}")
    if not answer and not reasoning:
        reason = choice.get("finish_reason")
        raise ChatError(
            f"{model} gave an empty answer (finish_reason {reason}); raise max_tokens or change the question"
        )
    usage = data.get("usage")
    return {
        "model": model,
        "answer": answer,
        "reasoning": reasoning,
        "prompt_tokens": _count(usage, "prompt_tokens"),
        "completion_tokens": _count(usage, "completion_tokens"),
    }


def _count(usage: t.Any, name: str) -> int | None:
    """Return a number of tokens, where the server told one."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def explain_failure(model: str, status: int, detail: str) -> str:
    """Explain an error of the chat call, and say whose error it is."""
    start = f"{model} gave no answer through Open WebUI ({status}: {detail})"
    if "Server Connection Error" in detail:
        return f"{start}: Open WebUI cannot reach the server of this model; check that it runs, or the connection's url"
    if "Model not found" in detail:
        return f"{start}: the model vanished from Open WebUI's list, or is not public"
    if status in (401, 403):
        return f"{start}: the key of the model's connection, or the right to use the model, is missing"
    return start


def check_expectation(model: str, answer: str, expect: str | None) -> None:
    """Fail when an expected text is not in the answer."""
    if expect is not None and expect not in answer:
        raise ChatError(f"{model} answered {answer!r}, which does not contain {expect!r}")
