#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_chat
short_description: Ask models a question through Open WebUI
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Asks one question through Open WebUI's own API, the way its page does, and returns the answer. This proves the whole
    path, from the account over the connection to the model server and back.
  - Waits until Open WebUI's list of models has the model, since a server may just have started.
  - Nothing is stored; no chat appears in the account.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui
attributes:
  check_mode:
    support: full
    details: The module changes nothing, so that it asks in check mode, too.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It never reports a change. The words of an answer may differ from run to run.
options:
  webui_email:
    description: The e-mail address of any account; it need not be an administrator's. It sees the models it may use.
  model:
    description: The model's id as Open WebUI shows it, with the prefix of its connection.
    type: str
  models:
    description: Several ids, which are asked one after the other with one sign-in, in place of O(model).
    type: list
    elements: str
  question:
    description: What to ask.
    type: str
    default: Say hello in one short sentence.
  system:
    description: A system prompt to go before the question.
    type: str
  max_tokens:
    description: How long an answer may get, with what a reasoning model thinks before it.
    type: int
    default: 512
  expect:
    description: A text that each answer must contain; the module fails otherwise.
    type: str
  wait:
    description: How many seconds to wait until Open WebUI offers all the models.
    type: int
    default: 60
  answer_timeout:
    description: How many seconds one answer may take.
    type: int
    default: 300
seealso:
  - module: private_llm.fleet.open_webui_connection
  - module: private_llm.fleet.open_webui_model_access
"""

EXAMPLES = r"""
- name: Ask the new model something
  private_llm.fleet.open_webui_chat:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    model: qwen3-32b
    question: What is the capital of France? Answer in one word.
    expect: Paris

- name: Prove that an ordinary user can reach every model
  private_llm.fleet.open_webui_chat:
    webui_url: https://chat.example.com
    webui_email: probe@example.com
    webui_password: "{{ vault_probe_password }}"
    models: [qwen3-32b, qwen3-8b]
"""

RETURN = r"""
answers:
  description: One entry for each model, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    model:
      description: The model's id.
      type: str
      sample: qwen3-32b
    answer:
      description: What it said. Empty when a reasoning model came no further than its thoughts.
      type: str
      sample: Paris
    reasoning:
      description: What it thought before, for a reasoning model.
      type: str
      sample: ""
    seconds:
      description: How long the answer took.
      type: float
      sample: 0.42
    prompt_tokens:
      description: How many tokens the question had, when the server told.
      type: int
      sample: 21
    completion_tokens:
      description: How many tokens the answer had, when the server told.
      type: int
      sample: 3
model:
  description: The first model's id.
  returned: success
  type: str
  sample: qwen3-32b
answer:
  description: The first model's answer.
  returned: success
  type: str
  sample: Paris
seconds:
  description: How long the first answer took.
  returned: success
  type: float
  sample: 0.42
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import time
import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _chat, _client, _module

# Pause between two looks at the list of models.
LIST_PAUSE = 2.0


def wait_for_models(client: _client.Client, wanted: list[str], patience: float, who: str) -> None:
    """Return once Open WebUI offers every wanted model. A proxy that has nothing behind it yet is waited for, too."""
    started = time.monotonic()
    while True:
        try:
            offered = client.read("/api/models?refresh=true", _chat.model_ids)
        except _client.NotYetError:
            if time.monotonic() - started >= patience:
                raise
            time.sleep(LIST_PAUSE)
            continue
        missing = [one for one in wanted if one not in offered]
        waited = time.monotonic() - started
        if not missing:
            return
        if waited >= patience:
            raise _chat.ChatError(_chat.not_offered(missing, offered, waited, who))
        time.sleep(LIST_PAUSE)


def ask(client: _client.Client, model: str, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Ask one model one question."""
    body = _chat.request_body(model, params["question"], params["system"], params["max_tokens"])
    started = time.monotonic()
    try:
        data = client.post("/api/chat/completions", body, timeout=params["answer_timeout"])
    except _client.ApiError as error:
        raise _chat.ChatError(_chat.explain_failure(model, error.status, error.detail)) from error
    answer = _chat.read_answer(model, data)
    answer["seconds"] = round(time.monotonic() - started, 3)
    _chat.check_expectation(model, answer["answer"], params["expect"])
    return answer


class Chat(_module.WebUiModule):
    """Waits for the models, and asks each one."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {"answers": [], "model": "", "answer": "", "seconds": 0.0}

    def run(self) -> None:
        params = self.params
        models = [params["model"]] if params["models"] is None else params["models"]
        if not models:
            raise _chat.ChatError("models is empty: name at least one model to ask")
        if params["max_tokens"] < 1:
            raise _chat.ChatError(f"max_tokens is {params['max_tokens']}: allow an answer of at least one token")
        _client.seconds(params["answer_timeout"], "answer_timeout")
        client = self.connect(admin=False)
        wait_for_models(client, models, params["wait"], params["webui_email"] or "this account")
        answers = [ask(client, model, params) for model in models]
        self.result["answers"] = answers
        self.result.update({name: answers[0][name] for name in ("model", "answer", "seconds")})


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "model": {"type": "str"},
            "models": {"type": "list", "elements": "str"},
            "question": {"type": "str", "default": "Say hello in one short sentence."},
            "system": {"type": "str"},
            "max_tokens": {"type": "int", "default": 512, "no_log": False},
            "expect": {"type": "str"},
            "wait": {"type": "int", "default": 60},
            "answer_timeout": {"type": "int", "default": 300},
        },
        mutually_exclusive=[*_client.COMMON_RULES["mutually_exclusive"], ("model", "models")],
        required_one_of=[*_client.COMMON_RULES["required_one_of"], ("model", "models")],
        required_by=_client.COMMON_RULES["required_by"],
        supports_check_mode=True,
    )
    Chat(module).main()


if __name__ == "__main__":
    main()
