# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask a server for one token, and see whether anything moves in it meanwhile.

A server with many requests may not get to one more in time. As long as its counters move, it works.
"""

from __future__ import annotations

import re
import threading
import time
import typing as t

from .._vllm.api._probe import Server, ServerAnswered, ServerEndless, ServerError, ServerSilent, load, parse_metrics
from ._config import Limits

POLL = 2.0  # seconds between two looks at the counters
PATIENCE = 5.0  # seconds in which a server that gets on may still give the token

GENERATED = "token"  # it generated one
MOVING = "moving"  # it did not, and gets on with other requests
STILL = "still"  # it answers, and nothing moves
BLIND = "blind"  # it answers, generated nothing, and has no counters that could tell
REFUSED = "refused"  # it answers with an error that is the client's
ERROR = "error"  # it answers with an error of its own
DEAF = "deaf"  # it takes requests, and answers nothing
DOWN = "down"  # nothing listens

_STATUS = re.compile(r" answered (\d{3})\b")
_FULL = (429, 503)  # what a full queue answers


class Probe(t.NamedTuple):
    """What came of asking."""

    outcome: str
    text: str = ""
    requests: int = 0  # at work and waiting, when it was asked


def limit_of(requests: int, limits: Limits) -> float:
    """Return for how long nothing may move in a server with so many requests."""
    return limits.busy if requests else limits.idle


def probe(
    server: Server,
    model: str,
    limits: Limits,
    before: int = 0,
    clock: t.Callable[[], float] = time.monotonic,
) -> Probe:
    """Return how the server does; ``before`` is how many requests it had when it was last asked."""
    try:
        first = counters(server, limit_of(before, limits))
    except (ServerAnswered, ServerEndless):
        # Counters that cannot be read do not prove a fault; the token that is asked for below does.
        first = load([])
    except ServerSilent as error:
        return Probe(DEAF, str(error), before)
    except ServerError as error:
        return _failed(error, before)
    requests = int(first["running"] or 0) + int(first["waiting"] or 0)
    limit = limit_of(requests, limits)
    asked = _Asked(server, model, limit)
    began = clock()
    while True:
        asked.done.wait(POLL)
        if asked.done.is_set() and asked.error is None:
            return Probe(GENERATED, "", requests)
        failed = asked.error if asked.done.is_set() else None
        if failed is not None and not _may_be_busy(failed):
            return _failed(failed, requests)
        moved = _moved(server, first)
        waited = clock() - began
        if moved and (failed is not None or waited >= PATIENCE):
            return Probe(MOVING, "busy: it did not get to one more request yet", requests)
        if waited >= limit:
            if failed is not None and not isinstance(failed, ServerSilent):
                return _failed(failed, requests)
            text = f"it generated nothing within {limit:.1f} seconds, though it answers"
            blind = all(value is None for value in first.values())
            return Probe(BLIND if blind else STILL, text, requests)
        if failed is not None:
            time.sleep(POLL)


def counters(server: Server, timeout: float) -> dict[str, t.Any]:
    """Return what changes with each step of the engine."""
    found: dict[str, t.Any] = load(parse_metrics(server.metrics(timeout)))
    return found


def _moved(server: Server, first: t.Mapping[str, t.Any]) -> bool:
    if all(value is None for value in first.values()):
        return False
    try:
        return counters(server, POLL) != first
    except ServerError:
        return False


def status_of(error: ServerError) -> int:
    """Return the HTTP status that an answer had; 0 when there was no answer."""
    match = _STATUS.search(str(error))
    return int(match.group(1)) if match else 0


def _may_be_busy(error: ServerError) -> bool:
    return isinstance(error, ServerSilent) or status_of(error) in _FULL


def _failed(error: ServerError, requests: int) -> Probe:
    status = status_of(error)
    if not status:
        return Probe(DOWN, str(error), requests)
    return Probe(REFUSED if 400 <= status < 500 else ERROR, str(error), requests)


class _Asked:
    """A question for one token, asked beside; who has seen enough need not wait for the answer."""

    def __init__(self, server: Server, model: str, seconds: float) -> None:
        self.done = threading.Event()
        self.error: ServerError | None = None
        self._ask = (server, model, seconds)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        server, model, seconds = self._ask
        try:
            server.generate_one_token(model, seconds)
        except ServerError as error:
            self.error = error
        except Exception as error:  # whatever it is, somebody waits for the answer
            self.error = ServerError(f"{type(error).__name__}: {error}")
        finally:
            self.done.set()
