# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for a server: from a started container to a generated token, or to the reason why there is none."""

from __future__ import annotations

import time
import typing as t

from ... import _reach
from ..._engine._logs import LogLine, epoch
from ..api._probe import (
    Server,
    ServerError,
    capacity,
    parse_metrics,
)
from ..container import _spec
from ..diagnosis import _deaths, _log
from ..diagnosis._diagnosis import Diagnosis, diagnose
from ..options._release import release_of

if t.TYPE_CHECKING:
    from ..._engine._client import Engine

POLL = 1.0  # seconds
ATTEMPTS = 3  # at the first token
LOG_TAIL = 40  # lines handed back when a server fails
EARLY = 5.0  # seconds by which a line may be older than the start that it belongs to

_READY_LINE = "Application startup complete"


class NotReadyError(ValueError):
    """The server will not become ready, or has not in time."""

    def __init__(self, diagnosis: Diagnosis, log: t.Sequence[LogLine] = (), begun: float = 0.0) -> None:
        super().__init__(f"{diagnosis.cause}. vLLM said: {diagnosis.evidence}. What to do: {diagnosis.fix}")
        self.diagnosis = diagnosis
        self.log = [line.text for line in log]
        self.begun = begun


class Waiter:
    """Follows one container until it generates a token."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        server: Server,
        names: t.Sequence[str],
        timeout: float,
        report: t.Callable[[str], None] = lambda text: None,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
        ask: t.Callable[..., _reach.Look] = _reach.ask,
    ) -> None:
        self._engine = engine
        self._name = name
        self._server = server
        self._names = list(names)
        self._timeout = timeout
        self._report = report
        self._sleep = sleep
        self._clock = clock
        self._ask = ask
        self._watch = _reach.Watch(self._examine, clock)
        self._phase = _log.STARTING
        self._begun = 0.0
        self._since = 0.0

    def wait(self) -> dict[str, t.Any]:
        """Return what the ready server measured of itself; raise NotReadyError once it is clear that it cannot get
        ready.
        """
        first = self._begin()
        return self._wait(first, self._clock() + self._timeout) or {}

    def wait_some(self, seconds: float) -> dict[str, t.Any] | None:
        """Wait for a part of the time that there is since the start; None where the server is not ready by then."""
        first = self._begin()
        left = max(0.0, self._timeout - (time.time() - self._begun))
        now = self._clock()
        return self._wait(first, now + left, now + seconds)

    def check_runs(self) -> None:
        """Raise NotReadyError when the container has ended: all that can be asked of a worker, which has no API."""
        first = self._begin()
        self._check_alive(first, int(first.get("RestartCount") or 0))

    def _begin(self) -> dict[str, t.Any]:
        first = self._inspect()
        self._begun, self._since = started_at(first), log_since(first)
        return first

    def _wait(
        self, first: t.Mapping[str, t.Any], deadline: float, pause: float | None = None
    ) -> dict[str, t.Any] | None:
        restarts = int(first.get("RestartCount") or 0)
        seen = self._since
        self._report(self._phase)
        while True:
            container = self._inspect()
            self._check_alive(container, restarts)
            if self._server.healthy():
                return self._prove(container, restarts)
            if self._clock() >= deadline:
                raise self._timed_out()
            if pause is not None and self._clock() >= pause:
                return None
            seen = self._follow(seen)
            self._check_reached()
            self._sleep(POLL)

    def _inspect(self) -> dict[str, t.Any]:
        container = self._engine.inspect(self._name)
        if container is None:
            raise NotReadyError(
                Diagnosis(
                    f"the container {self._name} was removed while it was starting",
                    "no such container",
                    "find out who removed it, and run again",
                    "removed",
                )
            )
        return container

    def _check_alive(self, container: t.Mapping[str, t.Any], restarts: int) -> None:
        state = container.get("State") or {}
        restarted = int(container.get("RestartCount") or 0) > restarts
        if state.get("Running") and not state.get("Restarting") and not restarted:
            return
        lines = self._lines()
        exit_code = state.get("ExitCode")
        raise NotReadyError(
            diagnosis_of(container, lines, exit_code if exit_code or not restarted else None), lines, self._begun
        )

    def _check_reached(self) -> None:
        """Find out why a server that says that it is up is not reached; NotReadyError when the way to it is broken."""
        finding = self._watch.check() if self._phase == _log.ANSWERING else None
        if finding is not None and finding.verdict is not None:
            raise self._not_reached(finding.verdict, self._lines())

    def _examine(self) -> _reach.Finding:
        return examine(self._engine, self._name, self._inspect(), self._server, self._ask)

    def _not_reached(self, verdict: _reach.Verdict, lines: t.Sequence[LogLine]) -> NotReadyError:
        known = Diagnosis(verdict.cause, verdict.evidence, verdict.fix, "not_reached", "port")
        return NotReadyError(known, lines, self._begun)

    def _follow(self, seen: float) -> float:
        """Report the newest phase in the log; returns up to when the log has been read."""
        lines = [line for line in self._engine.log(self._name, seen) if line.at >= seen]
        for line in reversed(lines):
            phase = _log.phase(line.text)
            if phase is not None:
                self._phase = phase
                break
        self._report(self._phase)
        return lines[-1].at if lines else seen

    def _prove(self, container: t.Mapping[str, t.Any], restarts: int) -> dict[str, t.Any]:
        self._report("generating a first token")
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(2 * POLL)
                self._check_alive(self._inspect(), restarts)
            try:
                models = self._server.models()
                missing = [name for name in self._names if name not in [model["id"] for model in models]]
                if missing:
                    there = ", ".join(model["id"] for model in models) or "nothing"
                    raise ServerError(f"it serves {there} and not {', '.join(missing)}")
                self._server.generate_one_token(self._names[0] if self._names else models[0]["id"])
                return self._measured(container, models)
            except ServerError as error:
                problem = str(error)
        last = self._inspect()
        self._check_alive(last, restarts)
        lines = self._lines()
        verdict = self._examine().verdict
        if verdict is not None:
            raise self._not_reached(verdict, lines)
        raise NotReadyError(not_working(last, lines, problem), lines, self._begun)

    def _measured(
        self, container: t.Mapping[str, t.Any], models: t.Sequence[t.Mapping[str, t.Any]]
    ) -> dict[str, t.Any]:
        return measure(self._engine, self._name, container, self._server, models)

    def _lines(self) -> list[LogLine]:
        """Return what was logged since the start that is waited for, over all attempts of the restart policy."""
        return [line for line in self._engine.log(self._name, self._since) if line.at >= self._since]

    def _timed_out(self) -> NotReadyError:
        lines = self._lines()
        texts = [line.text for line in lines]
        known = diagnosis_of(self._inspect(), lines, None, running=True)
        if known.id != "unknown":
            return NotReadyError(known, lines, self._begun)
        verdict = self._examine().verdict
        if verdict is not None:
            return self._not_reached(verdict, lines)
        last = next((text.strip() for text in reversed(texts) if text.strip()), "nothing yet")
        return NotReadyError(
            Diagnosis(
                f"the server was not ready after {self._timeout:g} seconds; it was {self._phase}",
                last,
                "give it more time (timeout, in the role vllm_server_ready_timeout), or read its log: "
                f"docker logs {self._name}",
                "timeout",
            ),
            lines,
            self._begun,
        )


def working(
    engine: Engine, name: str, container: t.Mapping[str, t.Any], server: Server, names: t.Sequence[str], timeout: float
) -> dict[str, t.Any] | None:
    """Return what a server measured of itself that generates a token within ``timeout`` seconds; None for any other."""
    try:
        if not server.healthy():
            return None
        models = server.models(timeout)
        there = [model["id"] for model in models]
        if not there or any(one not in there for one in names):
            return None
        server.generate_one_token(names[0] if names else there[0], timeout)
    except ServerError:
        return None
    return measure(engine, name, container, server, models)


STOPPED = (0, 130, 137, 143)  # exit codes of a container that somebody stopped


def diagnosis_of(
    container: t.Mapping[str, t.Any], lines: t.Sequence[LogLine], exit_code: int | None, running: bool = False
) -> Diagnosis:
    """Return why this container did not start, or died, from its log and from what the engine knows of it."""
    config = container.get("Config") or {}
    return diagnose(
        [line.text for line in lines],
        exit_code,
        bool((container.get("State") or {}).get("OOMKilled")),
        str(container.get("Name") or "").lstrip("/"),
        _deaths.host_flags(),
        bool((container.get("HostConfig") or {}).get("DeviceRequests")),
        running,
        release_of(str(config.get("Image") or "")),
        [str(word) for word in config.get("Cmd") or []],
    )


def not_working(container: t.Mapping[str, t.Any], lines: t.Sequence[LogLine], problem: str) -> Diagnosis:
    """Return why a server that is up does not do its work: what its log says of it, else what it answered."""
    known = diagnosis_of(container, lines, None, running=True)
    if known.id != "unknown":
        return known._replace(cause=f"the server is up, but does not do its work: {known.cause}")
    told = " and ".join(dict.fromkeys([problem, known.evidence])) if _failed(lines) else problem
    return Diagnosis(
        "the server is up, but does not do its work",
        told,
        f"read its log: docker logs {str(container.get('Name') or '').lstrip('/')}",
        "not_working",
    )


def ended(engine: Engine, name: str, container: t.Mapping[str, t.Any]) -> Diagnosis | None:
    """Return why a container ended, hours after its start or right away; None where it was only stopped."""
    state = container.get("State") or {}
    code = state.get("ExitCode")
    policy = ((container.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    # What the engine would have started again has been stopped by somebody, who may have had to kill it.
    stopped = policy not in ("no", "") and not state.get("Restarting") and code in STOPPED
    if (not code and not state.get("OOMKilled")) or (stopped and not state.get("OOMKilled")):
        return None
    since = log_since(container)
    return diagnosis_of(container, [line for line in engine.log(name, since) if line.at >= since], code)


def troubled(engine: Engine, name: str, container: t.Mapping[str, t.Any], problem: str) -> Diagnosis:
    """Return why a server that answers does not do its work, hangs, or fails its requests."""
    since = log_since(container)
    return not_working(container, [line for line in engine.log(name, since) if line.at >= since], problem)


def _failed(lines: t.Sequence[LogLine]) -> bool:
    """Tell whether a log holds an error."""
    return any(_log.parse_line(line.text).level in ("ERROR", "CRITICAL") for line in lines)


def examine(
    engine: Engine,
    name: str,
    container: t.Mapping[str, t.Any],
    server: Server,
    ask: t.Callable[..., _reach.Look] = _reach.ask,
) -> _reach.Finding:
    """Look for the reason why a server is not reached at the host's port."""
    return _reach.examine(
        _reach.Place(
            server.address, server.port, _spec.spec_of(container).inner_port, f"{server.root}/health", server.tls
        ),
        "vLLM",
        name,
        container,
        lambda command: engine.execute(name, command, _reach.INSIDE_SECONDS).stdout,
        engine.containers,
        ask,
    )


def started_at(container: t.Mapping[str, t.Any]) -> float:
    return epoch(str((container.get("State") or {}).get("StartedAt") or ""))


def log_since(container: t.Mapping[str, t.Any]) -> float:
    """Return the time from which on the log is that of the newest start.

    The engine notes the time of a start when the process runs already, and what fails at once has spoken by then. So
    all counts that was logged after the start before it ended; once the newest has ended as well, and with it what the
    engine knows of the one before, what was logged shortly before it.
    """
    ended, started = epoch(str((container.get("State") or {}).get("FinishedAt") or "")), started_at(container)
    return ended if ended <= started else started - EARLY


def nothing_measured() -> dict[str, t.Any]:
    return {"seconds": None, "kv_cache_tokens": None, "max_concurrency": None, "max_model_len": None}


def measure(
    engine: Engine,
    name: str,
    container: t.Mapping[str, t.Any],
    server: Server,
    models: t.Sequence[t.Mapping[str, t.Any]],
) -> dict[str, t.Any]:
    """Return what a ready server found out about itself: from its log in full, from metrics and model list in part."""
    since = log_since(container)
    lines = engine.log(name, since, until=lambda text: _READY_LINE in text)
    lines = [line for line in lines if line.at >= since]
    result = nothing_measured()
    if lines and _READY_LINE in lines[-1].text:
        result["seconds"] = round(lines[-1].at - started_at(container), 1)
    found = _log.facts(line.text for line in lines)
    for key in ("kv_cache_tokens", "max_concurrency", "max_model_len"):
        result[key] = found.get(key)
    if result["kv_cache_tokens"] is None or result["max_concurrency"] is None:
        try:
            said = capacity(parse_metrics(server.metrics()))
        except ServerError:
            said = {}
        for key, value in said.items():
            if result[key] is None:
                result[key] = value
    lengths = [model["max_model_len"] for model in models if model.get("max_model_len")]
    if lengths:
        result["max_model_len"] = lengths[0]
    return result
