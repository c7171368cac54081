# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One pass over the servers of a host: look, judge, and restart what a restart can cure.

Looks are side by side, for a probe takes its time; what is done is done one after another, in the declared order.
"""

from __future__ import annotations

import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._engine import _lease, _lock
from .._engine._api import EngineError
from .._vllm.lifecycle import _gpu_lock
from . import _cures, _gateway, _judge, _memory, _probing, _webs
from ._config import STARTED, Config
from ._judge import Verdict
from ._memory import Memory
from ._seen import Seen
from ._servers import SECRETS_ROOT, Servers, Ways

if t.TYPE_CHECKING:
    from .._engine._client import Engine
    from .._vllm.diagnosis._diagnosis import Diagnosis
    from ._kind import Found, Kind

AT_ONCE = 16  # servers that are asked side by side


class _AtWork(Exception):
    """Somebody else is at work on the server, or on its GPU."""


def say(text: str) -> None:
    """Write a line for the journal of the unit."""
    sys.stdout.write(f"{text}\n")


class Place(t.NamedTuple):
    """Where a pass reads and locks; tests have other places."""

    secrets: str = SECRETS_ROOT
    locks: str = _lock.DIRECTORY
    turns: str = _gpu_lock.DIRECTORY


class Look(t.NamedTuple):
    """One of them as it was found, what matters of it, and how often its keeper started it again."""

    found: Found | None
    seen: Seen
    again: int
    began: float  # when the start before this one began
    worked: bool = False  # in that start


class Pass:
    """One pass. ``save`` keeps the memories before something is done that must not be forgotten."""

    def __init__(
        self,
        engine: Engine | None,
        config: Config,
        memories: dict[str, Memory],
        save: t.Callable[[], None] = lambda: None,
        tell: t.Callable[[str], None] = say,
        now: t.Callable[[], float] = time.time,
        ask: t.Callable[..., _probing.Probe] = _probing.probe,
        place: Place = Place(),  # noqa: B008 - cannot be changed
        ways: Ways = Ways(),  # noqa: B008 - cannot be changed
        trouble: str = "",
    ) -> None:
        """Prepare a pass; where there is no engine, ``trouble`` says why."""
        self._servers = Servers(engine, config.limits, ask, place.secrets, ways, trouble)
        self._webs = _webs.Webs(engine, config.webs, config.limits, trouble)
        self._gateway = _gateway.Gateway(config.gateway, config.limits)
        self._config = config
        self._memories = memories
        self._save = save
        self._tell = tell
        self._now = now
        self._place = place
        self._looks: dict[str, Look] = {}

    def run(self) -> None:
        """Look at all of them and do what has to be done; the memories hold the outcome."""
        names = list(self._config.watched)
        for name in set(self._memories) - set(names):
            del self._memories[name]
        for name in names:
            self._memories.setdefault(name, Memory())
        before = {name: (memory.state, memory.message) for name, memory in self._memories.items()}
        if names:
            with ThreadPoolExecutor(min(AT_ONCE, len(names))) as pool:
                self._looks = dict(zip(names, pool.map(self._look_safely, names)))
        verdicts = {name: self._judge(name) for name in names}
        for name, verdict in verdicts.items():
            if verdict.action != _judge.NOTHING:
                self._act(name, verdict)
        for name, memory in self._memories.items():
            if before[name][0] != memory.state:
                self._tell(f"{name}: {memory.state}{': ' + memory.message if memory.message else ''}")

    def _kind(self, name: str) -> Kind:
        if name in self._config.webs:
            return self._webs
        return self._gateway if name == _gateway.UNIT and self._config.gateway else self._servers

    # --- look ---

    def _look_safely(self, name: str) -> Look:
        """Return the look; one that fails, such as at a damaged key file, must not end the pass for the others."""
        try:
            return self._look(name)
        except (ValueError, OSError) as error:
            return Look(None, Seen(self._now(), problem=str(error)), 0, 0.0)

    def _look(self, name: str) -> Look:
        memory, kind = self._memories[name], self._kind(name)
        found = kind.find(name)
        began, worked = memory.started_at, memory.worked
        seen = self._held(name, kind.seen(found, self._now()))
        again = _judge.recall(memory, seen)
        started = self._config.watched[name] == STARTED
        if found is not None and started and seen.running and not seen.paused and not seen.holder:
            seen = kind.asked(name, found, seen, memory)
        return Look(found, seen, again, began, worked)

    def _held(self, name: str, seen: Seen) -> Seen:
        lock = self._kind(name).lock
        holder = _lock.holder_of(lock, name, self._place.locks) or (
            _lease.read(lock, name, self._place.locks, seen.at) if seen.member else None
        )
        return seen if holder is None else seen._replace(holder=str(holder))

    # --- judge ---

    def _judge(self, name: str) -> Verdict:
        look, memory, kind = self._looks[name], self._memories[name], self._kind(name)
        if look.again and look.found is not None:
            began = min(look.seen.started_at, look.began)
            diagnosis = kind.ended(name, look.found, look.seen, began, look.worked)
            self._note(name, diagnosis, f"{look.seen.keeper} started it again", began, look.again)
        start_limit = kind.start_limit(look.found, look.seen)
        verdict = _judge.judge(look.seen, memory, self._config.watched[name], self._config.limits, start_limit)
        _judge.remember(memory, look.seen, verdict)
        if verdict.state == _memory.RESTARTING and memory.last_fall:
            memory.message = f"{verdict.message}: {memory.last_fall.get('text', '')}"
        return verdict

    # --- act ---

    def _act(self, name: str, verdict: Verdict) -> None:
        look, memory = self._looks[name], self._memories[name]
        memory.trouble_since = memory.trouble_since or look.seen.at
        cause = verdict.cause
        if cause != _cures.NOT_STARTED:
            cause = self._fell(name, verdict)
        leave = _judge.may_restart(memory, cause, self._config.limits, look.seen.at, verdict.free)
        memory.given_up = leave.given_up
        if not leave.granted:
            memory.message = f"{verdict.message}; {leave.why_not}"
            return
        obstacle = self._obstacle(name)
        if obstacle:
            memory.state, memory.message = _memory.WAITING, obstacle
            return
        try:
            with _lock.hold(
                self._kind(name).lock, name, "server_watch: starting it", _refuse, self._place.locks
            ), _gpu_lock.turn(look.seen.devices, _refuse, self._place.turns):
                self._carry_out(name, verdict)
        except _AtWork:
            memory.state, memory.message = _memory.WAITING, "somebody else is at work on it, or on its GPU"

    def _fell(self, name: str, verdict: Verdict) -> str:
        """Return the cause of the fall, which is noted once."""
        look, memory, kind = self._looks[name], self._memories[name], self._kind(name)
        if memory.fell == look.seen.started_at:
            return verdict.cause or str(memory.last_fall.get("cause", ""))
        found = look.found or {}
        if look.seen.running:
            diagnosis = kind.hung(name, found, verdict.cause, verdict.message)
        else:
            diagnosis = kind.ended(name, found, look.seen, look.seen.started_at, memory.worked)
        self._note(name, diagnosis, "", look.seen.started_at)
        memory.fell = look.seen.started_at
        # What hangs is cured by a restart, whatever was logged before.
        return verdict.cause or diagnosis.id

    def _note(self, name: str, diagnosis: Diagnosis, action: str, began: float, count: int = 1) -> None:
        """Remember a fall, and keep its log; a start that fails again for the same cause keeps the log of the first."""
        from . import _falls

        memory, at = self._memories[name], self._looks[name].seen.at
        repeated = _falls.again(diagnosis, memory.last_fall, memory.last_token)
        kept = str(memory.last_fall.get("log_file")) if repeated else self._kind(name).keep(name, began)
        memory.falls_total += count
        memory.last_fall = _falls.described(diagnosis, at, action, kept)
        if not repeated:
            said = f"It said: {diagnosis.evidence}. What to do: {diagnosis.fix}"
            self._tell(f"{name} fell: {diagnosis.cause}. {said}. {action}".rstrip())

    def _obstacle(self, name: str) -> str:
        """Return what a start has to wait for; empty when nothing."""
        look = self._looks[name]
        for other, memory in self._memories.items():
            shared = other != name and set(self._looks[other].seen.devices) & set(look.seen.devices)
            if shared and memory.state == _memory.STARTING:
                return f"waiting until {other} has started, which shares its GPU or processor"
        return self._kind(name).missing(look.found or {})

    def _carry_out(self, name: str, verdict: Verdict) -> None:
        memory, seen, kind = self._memories[name], self._looks[name].seen, self._kind(name)
        now = kind.seen(kind.find(name), self._now())
        if (now.container, now.started_at, now.running) != (seen.container, seen.started_at, seen.running):
            raise _AtWork
        memory.attempts = [at for at in memory.attempts if seen.at - at < self._config.limits.window]
        memory.attempts.append(self._now())
        memory.restarts_total += 1
        if verdict.action == _judge.RESTART:
            memory.restarting = True
            self._save()
            kind.stop(name)
        try:
            kind.start(name)
        except EngineError as error:
            memory.restarting = False
            self._failed(name, str(error))
            return
        memory.restarting, memory.worked, memory.trouble_since, memory.ties = False, False, 0.0, {}
        memory.started_at = memory.own_start = kind.seen(kind.find(name), self._now()).started_at
        memory.state, memory.message = _memory.STARTING, f"the watch started it: {verdict.message}"
        if memory.fell == seen.started_at:
            memory.last_fall["action"] = "the watch restarted it"

    def _failed(self, name: str, error: str) -> None:
        """Note that its keeper refused to start it."""
        memory, seen = self._memories[name], self._looks[name].seen
        diagnosis = self._kind(name).refused(name, error)
        memory.given_up = not _cures.is_curable(diagnosis.id) and diagnosis.id not in _cures.PASSING
        memory.state, memory.message = _memory.STOPPED, f"{diagnosis.cause}. What to do: {diagnosis.fix}"
        self._note(name, diagnosis, f"{seen.keeper} refused to start it", seen.started_at)


def _refuse(*_holder: t.Any) -> None:
    raise _AtWork
