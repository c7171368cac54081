# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import (
    ServerAnswered,
    ServerEndless,
    ServerError,
    ServerSilent,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _probing
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Limits
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._probing import probe

LIMITS = Limits(idle=0.2, busy=0.3)


class FakeServer:
    """Answers with counters that move or do not, and with a token, an error, or nothing for some time."""

    def __init__(self, running: int = 0, moves: bool = False, answer: ServerError | None = None) -> None:
        self.running, self.moves, self.answer = running, moves, answer
        self.generated = 0
        self.counters: str | None = ""
        self.odd: ServerError | None = None
        self.asked: list[tuple[str, float]] = []

    def metrics(self, timeout: float) -> str:
        if self.odd is not None:
            raise self.odd
        if self.counters is None:
            raise ServerSilent(f"no answer within {timeout:g} seconds")
        self.generated += self.moves
        return self.counters or (
            f"vllm:num_requests_running {self.running}\nvllm:generation_tokens_total {self.generated}\n"
        )

    def generate_one_token(self, model: str, timeout: float) -> None:
        self.asked.append((model, timeout))
        if self.answer is not None:
            raise self.answer


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probing, "POLL", 0.02)
    monkeypatch.setattr(_probing, "PATIENCE", 0.05)


def ask(server: FakeServer, before: int = 0) -> _probing.Probe:
    return probe(t.cast(t.Any, server), "alpha", LIMITS, before)


def test_a_token_is_all_it_takes() -> None:
    server = FakeServer(running=3)
    assert ask(server) == _probing.Probe("token", "", 3)
    assert server.asked == [("alpha", 0.3)]


def test_busy_is_not_hung() -> None:
    assert ask(FakeServer(7, moves=True, answer=ServerSilent("no answer"))).outcome == "moving"
    full = ServerError("POST /v1/completions answered 429: too many requests")
    assert ask(FakeServer(7, moves=True, answer=full)).outcome == "moving"


def test_what_moves_not_hangs_after_the_limit_for_its_load() -> None:
    idle = FakeServer(0, answer=ServerSilent("no answer"))
    found = ask(idle)
    assert (found.outcome, idle.asked) == ("still", [("alpha", 0.2)])
    assert found.text == "it generated nothing within 0.2 seconds, though it answers"
    busy = FakeServer(2, answer=ServerSilent("no answer"))
    assert (ask(busy).outcome, busy.asked) == ("still", [("alpha", 0.3)])


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("POST /v1/completions answered 401: Unauthorized", "refused"),
        ("POST /v1/completions answered 500: EngineDeadError", "error"),
        ("POST /v1/completions answered 503: the queue is full", "error"),
        ("Connection refused", "down"),
    ],
)
def test_an_error_is_told_by_its_kind(said: str, outcome: str) -> None:
    assert ask(FakeServer(answer=ServerError(said))).outcome == outcome


def test_a_server_without_counters_is_not_judged_by_them() -> None:
    server = FakeServer(answer=ServerSilent("no answer"))
    server.counters = "python_info 1\n"
    assert ask(server).outcome == "blind"


def test_a_server_that_answers_nothing_gets_the_time_for_its_last_load() -> None:
    server = FakeServer()
    server.counters = None
    assert ask(server, before=0) == _probing.Probe("deaf", "no answer within 0.2 seconds", 0)
    assert ask(server, before=4) == _probing.Probe("deaf", "no answer within 0.3 seconds", 4)


@pytest.mark.parametrize(
    "odd",
    [
        ServerAnswered("the answer is larger than 16.0 MiB"),
        ServerAnswered("GET /metrics answered 307: moved"),
        ServerEndless("no end of the answer within 20 seconds"),
    ],
)
def test_a_server_that_generates_is_well_whatever_its_metrics_are(odd: ServerError) -> None:
    server = FakeServer()
    server.odd = odd
    assert ask(server).outcome == "token"
    server.answer = ServerSilent("no answer")
    assert ask(server).outcome == "blind"
    server.answer = ServerError("POST /v1/completions answered 500: EngineDeadError")
    assert ask(server).outcome == "error"
