# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._health import prove
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import (
    Server,
    ServerError,
    ServerSilent,
)
from ansible_collections.private_llm.fleet.tests.support import ports

MODELS = [{"id": "alpha"}]


class Worker(Server):
    """Generates, or is silent, while the count of its tokens goes on or not."""

    def __init__(self, problem: ServerError | None, *counts: int) -> None:
        self.problem = problem
        self.counts = list(counts)

    def metrics(self, timeout: float = 10.0) -> str:
        return f"vllm:generation_tokens_total {self.counts.pop(0)}\n"

    def generate_one_token(self, model: str, timeout: float = 120.0) -> None:
        if self.problem is not None:
            raise self.problem


def test_a_server_that_generates_works() -> None:
    assert prove(Worker(None, 7), MODELS, 10) == ""


def test_a_server_that_answers_and_generates_nothing_hangs() -> None:
    with pytest.raises(ServerError, match="it generated nothing within 10 seconds, though it answers; it hangs"):
        prove(Worker(ServerSilent("no answer"), 7, 7), MODELS, 10)


def test_a_server_that_gets_on_with_other_requests_works() -> None:
    said = prove(Worker(ServerSilent("no answer"), 7, 90), MODELS, 10)
    assert said == "busy: it did not get to one more request within 10 seconds"


def test_what_else_goes_wrong_is_told() -> None:
    with pytest.raises(ServerError, match="answered 500"):
        prove(Worker(ServerError("POST /v1/completions answered 500: x"), 7), MODELS, 10)
    with pytest.raises(ServerError, match="it serves no model"):
        prove(Worker(None, 7), [], 10)


def test_silence_is_told_apart_from_a_refused_connection() -> None:
    port = ports.free_port()
    # The kernel takes the connection; nobody ever reads from it.
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ServerSilent):
        Server("127.0.0.1", port).request("GET", "/health", timeout=0.2)
    with pytest.raises(ServerError) as error:
        Server("127.0.0.1", port).request("GET", "/health", timeout=20)
    assert not isinstance(error.value, ServerSilent)
