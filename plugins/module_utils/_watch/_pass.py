# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One pass over the servers of a host: look, judge, and restart what a restart can cure.

Looks are side by side, for a probe takes its time; what is done is done one after another, in the declared order.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .. import _paths
from .._engine import _lease, _lock
from .._engine._api import EngineError
from .._engine._logs import epoch
from .._vllm.api._probe import Server
from .._vllm.container import _host, _keys, _model_files, _spec, _timeouts
from .._vllm.lifecycle import _gpu_lock
from .._vllm.options._suggestions import whole_number
from . import _cures, _judge, _memory, _needs, _probing, _seen, _ties
from ._config import STARTED, Config
from ._judge import Verdict
from ._memory import Memory
from ._seen import Seen

if t.TYPE_CHECKING:
    from .._engine._client import Engine
    from .._vllm.diagnosis._diagnosis import Diagnosis

LOCK_KIND = "vllm_server"  # what the module vllm_server locks as well
SECRETS_ROOT = _paths.SERVER_SECRETS
AT_ONCE = 16  # servers that are asked side by side
STOP_SECONDS = 10  # for a server that does not work; one that does is never stopped


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


class Ways(t.NamedTuple):
    """How a pass learns of the other members of a server over several hosts; tests have other ways."""

    read: t.Callable[[int, bool], _ties.Ties] = _ties.read
    knock: t.Callable[[str, int], str] = _ties.knock


class Look(t.NamedTuple):
    """A server as it was found: its container, what matters of it, and how often the engine started it again."""

    container: t.Mapping[str, t.Any] | None
    seen: Seen
    again: int
    began: float  # when the start before this one began
    worked: bool = False  # in that start


class Pass:
    """One pass. ``save`` keeps the memories before something is done that must not be forgotten."""

    def __init__(
        self,
        engine: Engine,
        config: Config,
        memories: dict[str, Memory],
        save: t.Callable[[], None] = lambda: None,
        tell: t.Callable[[str], None] = say,
        now: t.Callable[[], float] = time.time,
        ask: t.Callable[..., _probing.Probe] = _probing.probe,
        place: Place = Place(),  # noqa: B008 - cannot be changed
        ways: Ways = Ways(),  # noqa: B008 - cannot be changed
    ) -> None:
        self._engine = engine
        self._config = config
        self._memories = memories
        self._save = save
        self._tell = tell
        self._now = now
        self._ask = ask
        self._place = place
        self._ways = ways
        self._looks: dict[str, Look] = {}

    def run(self) -> None:
        """Look at all servers and do what has to be done; the memories hold the outcome."""
        for name in set(self._memories) - set(self._config.servers):
            del self._memories[name]
        for name in self._config.servers:
            self._memories.setdefault(name, Memory())
        before = {name: (memory.state, memory.message) for name, memory in self._memories.items()}
        names = list(self._config.servers)
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

    # --- look ---

    def _look_safely(self, name: str) -> Look:
        """Return the look; one that fails, such as at a damaged key file, must not end the pass for the others."""
        try:
            return self._look(name)
        except (ValueError, OSError) as error:
            return Look(None, Seen(self._now(), problem=str(error)), 0, 0.0)

    def _look(self, name: str) -> Look:
        memory = self._memories[name]
        container = self._engine.inspect(name)
        if container is not None and not _spec.is_managed(container):
            container = None
        began, worked = memory.started_at, memory.worked
        if container is None:
            seen = _seen.seen_of(None, self._now())
            return Look(None, self._held(name, seen), _judge.recall(memory, seen), began)
        spec = _spec.spec_of(container)
        devices = _gpu_lock.devices_of([_host.uuid_of(device, ()) for device in spec.gpus])
        seen = self._held(name, _seen.seen_of(container, self._now(), devices))
        again = _judge.recall(memory, seen)
        if self._config.servers[name] != STARTED or not seen.running or seen.paused or seen.holder:
            return Look(container, seen, again, began, worked)
        if seen.member:
            seen = self._tied(seen, spec, joined=bool(memory.ties))
        if not seen.worker:
            server = self._server(name, spec)
            model = (spec.served_model_names or (name,))[0]
            probe = self._ask(server, model, self._config.limits, memory.requests)
            seen = seen._replace(probe=probe)
            if memory.worked and probe.outcome in (_probing.DEAF, _probing.DOWN):
                seen = seen._replace(broken_way=self._broken_way(name, container, server))
        return Look(container, seen, again, began, worked)

    def _tied(self, seen: Seen, spec: _spec.ServerSpec, joined: bool) -> Seen:
        """Return the look with what is known of the other members of a server over several hosts."""
        port = int(spec.engine.get("master_port") or _ties.DEFAULT_PORT)
        ties = self._ways.read(port, not spec.headless)
        knock = self._ways.knock(str(spec.engine.get("master_addr")), port) if spec.headless and joined else _ties.THERE
        replicas = (whole_number(spec.engine.get("data_parallel_size")) or 1) > 1
        return seen._replace(worker=spec.headless, replicas=replicas, ties=ties, knock=knock)

    def _held(self, name: str, seen: Seen) -> Seen:
        holder = _lock.holder_of(LOCK_KIND, name, self._place.locks) or (
            _lease.read(LOCK_KIND, name, self._place.locks, seen.at) if seen.member else None
        )
        return seen if holder is None else seen._replace(holder=str(holder))

    def _server(self, name: str, spec: _spec.ServerSpec) -> Server:
        key = None
        if spec.keys != _keys.NONE:
            files = _keys.read_directory(os.path.join(self._place.secrets, name))
            key = next(iter(_keys.parse_key_file(files.get(_keys.KEY_FILE, ""))), None)
        return Server(spec.bind, spec.port, key, tls=isinstance(spec.engine.get("ssl_certfile"), str))

    def _broken_way(self, name: str, container: t.Mapping[str, t.Any], server: Server) -> str:
        """Return why a server that is up in its container is not reached; empty where that is not so."""
        from .._vllm.lifecycle import _readiness

        finding = _readiness.examine(self._engine, name, container, server)
        return "" if finding.verdict is None else f"{finding.verdict.cause}. What to do: {finding.verdict.fix}"

    # --- judge ---

    def _judge(self, name: str) -> Verdict:
        look, memory = self._looks[name], self._memories[name]
        if look.again and look.container is not None:
            from . import _falls

            began = min(look.seen.started_at, look.began)
            diagnosis = _falls.ended(self._engine, name, look.container, look.seen, began, look.worked)
            self._note(name, diagnosis, "the engine started it again", began, look.again)
        limits = self._config.limits
        verdict = _judge.judge(look.seen, memory, self._config.servers[name], limits, self._start_limit(look))
        _judge.remember(memory, look.seen, verdict)
        if verdict.state == _memory.RESTARTING and memory.last_fall:
            memory.message = f"{verdict.message}: {memory.last_fall['text']}"
        return verdict

    def _start_limit(self, look: Look) -> float:
        declared = self._config.limits.start
        seen = look.seen
        if declared or look.container is None or seen.at - seen.started_at < _timeouts.BASE_SECONDS:
            return declared or _timeouts.BASE_SECONDS
        return _timeouts.time_limit(_model_files.weights_in(_spec.spec_of(look.container).model) or 0)

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
            with _lock.hold(LOCK_KIND, name, "server_watch: starting it", _refuse, self._place.locks), _gpu_lock.turn(
                look.seen.devices, _refuse, self._place.turns
            ):
                self._carry_out(name, verdict)
        except _AtWork:
            memory.state, memory.message = _memory.WAITING, "somebody else is at work on it, or on its GPU"

    def _fell(self, name: str, verdict: Verdict) -> str:
        """Return the cause of the fall, which is noted once."""
        from . import _falls

        look, memory = self._looks[name], self._memories[name]
        if memory.fell == look.seen.started_at:
            return verdict.cause or str(memory.last_fall.get("cause", ""))
        container = look.container or {}
        if look.seen.running:
            diagnosis = _falls.hung(self._engine, name, container, verdict.cause, verdict.message)
        else:
            began = look.seen.started_at
            diagnosis = _falls.ended(self._engine, name, container, look.seen, began, memory.worked)
        self._note(name, diagnosis, "", look.seen.started_at)
        memory.fell = look.seen.started_at
        # What hangs is cured by a restart, whatever was logged before.
        return verdict.cause or diagnosis.id

    def _note(self, name: str, diagnosis: Diagnosis, action: str, began: float, count: int = 1) -> None:
        """Remember a fall, and keep its log; a start that fails again for the same cause keeps the log of the first."""
        from . import _falls

        memory, at = self._memories[name], self._looks[name].seen.at
        repeated = _falls.again(diagnosis, memory.last_fall, memory.last_token)
        kept = str(memory.last_fall.get("log_file")) if repeated else _falls.keep(self._engine, name, began)
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
        return _needs.missing(self._engine, look.container or {})

    def _carry_out(self, name: str, verdict: Verdict) -> None:
        memory, seen = self._memories[name], self._looks[name].seen
        container = self._engine.inspect(name)
        now = _seen.seen_of(container, self._now())
        if (now.container, now.started_at, now.running) != (seen.container, seen.started_at, seen.running):
            raise _AtWork
        memory.attempts = [at for at in memory.attempts if seen.at - at < self._config.limits.window]
        memory.attempts.append(self._now())
        memory.restarts_total += 1
        if verdict.action == _judge.RESTART:
            memory.restarting = True
            self._save()
            self._engine.stop(name, STOP_SECONDS)
        try:
            self._engine.start(name)
        except EngineError as error:
            memory.restarting = False
            self._failed(name, str(error))
            return
        memory.restarting, memory.worked, memory.trouble_since, memory.ties = False, False, 0.0, {}
        state = (self._engine.inspect(name) or {}).get("State") or {}
        memory.started_at = memory.own_start = epoch(str(state.get("StartedAt") or ""))
        memory.state, memory.message = _memory.STARTING, f"the watch started it: {verdict.message}"
        if memory.fell == seen.started_at:
            memory.last_fall["action"] = "the watch restarted it"

    def _failed(self, name: str, error: str) -> None:
        """Note that the engine refused to start a server."""
        from . import _falls

        diagnosis = _falls.refused(name, error)
        memory = self._memories[name]
        memory.given_up = not _cures.is_curable(diagnosis.id) and diagnosis.id not in _cures.PASSING
        memory.state, memory.message = _memory.STOPPED, f"{diagnosis.cause}. What to do: {diagnosis.fix}"
        self._note(name, diagnosis, "the engine refused to start it", self._looks[name].seen.started_at)


def _refuse(*_holder: t.Any) -> None:
    raise _AtWork
