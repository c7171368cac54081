# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One member of a server over several hosts, step by step.

A member alone is not a server, so no member decides anything: all of them take a step, and whoever sees what each told
decides on the next. The order of a change is look, set aside, start, wait, keep; and where it fails: put back, start,
wait. The containers' names are the journal, as in `_engine._life`: the container of before is ``<name>.previous`` until
the group is proven. Each step can be taken again after a run that was killed.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..._engine import _lease, _life
from ..._engine._client import Engine
from ..container import _cache, _keys, _network, _spec
from ..diagnosis import _saved_logs
from ..diagnosis._diagnosis import Diagnosis
from . import _lifecycle, _measurements, _meeting, _readiness
from ._converge import LOCK_KIND, Server, _plainly
from ._result import container_facts

STEPS = ("look", "set_aside", "start", "wait", "keep", "put_back", "stop", "release", "listen", "reach")
READY, WAITING = "ready", "waiting"
WORKER_STOP_SECONDS = 5


class Member(Server):
    """One member, from its options to the result of one step."""

    def __init__(self, params: t.Mapping[str, t.Any], host: t.Any) -> None:
        super().__init__(params, host)
        self.previous = _life.previous_name(self.name)
        # The keys of before, for as long as the group may go back.
        self.kept_directory = self.directory + _life.PREVIOUS_SUFFIX
        self.result.update(
            name=self.name,
            step="",
            problem="",
            status="",
            holder="",
            previous=False,
            image_id="",
            release="",
            gpu_names=[],
            verdict="",
            waited=0.0,
            network="",
            address="",
            port=0,
        )

    def take(self, step: str, engine: Engine | None, seconds: float = 0.0) -> None:
        """Take one step. What goes wrong is in the result's `problem`, for the others have to know it, too.

        ``engine`` is None in check mode on a host that has none yet.
        """
        self.result["step"] = step
        try:
            if step == "listen":
                self.listen()
            elif step == "reach":
                self.reach()
            elif engine is None:
                self._foretell(step)
            else:
                self._take(step, engine, seconds)
        except _readiness.NotReadyError as error:
            self._tell(error.diagnosis, error.log, error.begun)
        except Exception as error:
            self.result["problem"] = _plainly(error)

    def claim(self, step: str, run: str, ended: str) -> bool:
        """Claim the member for this run, from its look to its release; False where another run is at work on it.

        The caller holds the member's lock. ``ended`` is a run that is known to have ended without a release.
        """
        if step == "release":
            _lease.drop(LOCK_KIND, self.name, run)
            return True
        other = _lease.take(LOCK_KIND, self.name, run, ended)
        if other is not None:
            self.result.update(step=step, holder=other.run, problem=str(other))
        return other is None

    def _take(self, step: str, engine: Engine, seconds: float) -> None:
        if step == "release":
            return
        if step == "look":
            self.look(engine)
        elif step == "wait":
            self.wait(engine, seconds)
        else:
            self.found = _lifecycle.look(engine, self.name)
            {
                "set_aside": self.set_aside,
                "start": self.start,
                "keep": self.keep,
                "put_back": self.put_back,
                "stop": self.stop,
            }[step](engine)

    def _foretell(self, step: str) -> None:
        """Say what the step would do on a host without an engine, and so without a container."""
        if step == "look":
            self.predict_on_bare_host()
        self.result["changed"] = step == "start"
        self.result["verdict"] = READY if step == "wait" else ""

    # --- the steps ---

    def listen(self) -> None:
        """Listen for the other nodes for a while, and say where."""
        self.result["address"] = address = self.place().address
        self.result["port"] = _meeting.listen(address)

    def reach(self) -> None:
        """Connect to where the other nodes listen."""
        found = _meeting.unreached(self.place().address, self.params["peers"])
        if found:
            self.result["problem"] = (
                f"it {' and '.join(found)}; open all TCP ports between the nodes, or set {_network.VARIABLE} to "
                "addresses at which they reach each other"
            )

    def look(self, engine: Engine) -> None:
        """Say what there is, and what would be done with a server of one host."""
        self.prepare(engine)
        self.result["changed"] = False
        self._describe(engine)

    def _describe(self, engine: Engine) -> None:
        current = self.found.current
        state = (current or {}).get("State") or {}
        running = current is not None and _life.is_running(current)
        self.result.update(
            status="running" if running else str(state.get("Status") or ""),
            previous=self.found.previous is not None,
            image_id=str((self.image or {}).get("Id") or ""),
            release=os.path.basename(self.spec.model) if self.spec is not None else "",
            gpu_names=[str(gpu["name"]) for gpu in self.gpus if gpu["uuid"] in self.host.claimed.get(self.name, ())],
        )
        if current is not None and not running:
            ended = _readiness.ended(engine, self.name, current)
            self.result["diagnosis"] = ended._asdict() if ended is not None else {}

    def set_aside(self, engine: Engine) -> None:
        """Let the member finish, give it its second name, and stop it; without a rollback it is removed."""
        current = self.found.current
        self.result["changed"] = current is not None
        if current is None or self.host.check_mode:
            return
        spec, old = _spec.spec_of(current), _keys.read_directory(self.directory)
        if _life.is_running(current):
            self.let_finish(spec, old)
        if not self.params["rollback"]:
            engine.stop(self.name, _stop_seconds(current))
            engine.remove(self.name)
            return
        _keys.write_directory(self.kept_directory, old)
        engine.rename(self.found.renamed or self.name, self.previous)
        engine.stop(self.previous, _stop_seconds(current))

    def start(self, engine: Engine) -> None:
        """Start the member; make it where there is none."""
        self.result["changed"] = True
        if self.host.check_mode:
            return
        if self.found.current is None:
            previous = self.found.previous
            self.found = _lifecycle.Found(None, None)
            self.prepare(engine)
            self.found = _lifecycle.Found(None, previous)
            if self.spec is None:
                return
            cache = next(one for one in self.spec.volumes if one.split(":")[1] == _spec.CACHE_MOUNT)
            _cache.make(cache.split(":")[0])
            _keys.write_directory(self.directory, self.files)
            engine.create(self.name, _spec.create_body(self.spec, _keys.fingerprint(self.files)))
        engine.start(self.name)

    def wait(self, engine: Engine, seconds: float) -> None:
        """Wait for a head until it generated a token, for so many seconds at most; see whether a worker runs."""
        container = engine.inspect(self.name)
        if self.host.check_mode:
            self.result["verdict"] = READY
            return
        if container is None:
            raise ValueError(f"there is no container {self.name}; somebody else removed it, so run again")
        spec = _spec.spec_of(container)
        self.result["network"] = _network.shown(spec.env)
        waiter = self.waiter(engine, spec, _keys.read_directory(self.directory))
        self.result["waited"] = round(time.time() - _readiness.started_at(container), 1)
        if spec.headless:
            waiter.check_runs()
            self.result["verdict"] = WAITING
            return
        ready = waiter.wait_some(seconds)
        self.result["waited"] = round(time.time() - _readiness.started_at(container), 1)
        self.result["verdict"] = WAITING if ready is None else READY
        self.result["key_file"] = "" if spec.keys == _keys.NONE else os.path.join(self.directory, _keys.KEY_FILE)
        if ready is not None:
            self.result["ready"] = ready
            self.result["container"] = facts = container_facts(container, self.image_env(engine, container))
            with self.courtesy("what it measured could not be kept for the next plan"):
                measured = _measurements.record(facts, ready, _readiness.started_at(container))
                if measured is not None:
                    _measurements.write(self.name, measured)

    def keep(self, engine: Engine) -> None:
        """Forget the member of before: from here on there is no way back."""
        self.result["changed"] = self.found.previous is not None
        if self.host.check_mode:
            return
        if self.found.previous is not None:
            engine.remove(self.previous)
        _keys.write_directory(self.kept_directory, {})

    def put_back(self, engine: Engine) -> None:
        """Bring back the member of before, stopped, and keep the log of the one that takes its leave.

        Without a member of before, the one that is there is stopped, and stays for its log.
        """
        self.stop(engine)
        if self.found.previous is None or self.host.check_mode:
            return
        engine.remove(self.name)
        kept = _keys.read_directory(self.kept_directory)
        if kept:
            _keys.write_directory(self.directory, kept)
        engine.rename(self.previous, self.name)
        _keys.write_directory(self.kept_directory, {})

    def stop(self, engine: Engine) -> None:
        """Stop the member, and say what its log tells of its end."""
        current = self.found.current
        self.result["changed"] = self.found.previous is not None or bool(
            current is not None and _life.is_running(current)
        )
        if current is None or self.host.check_mode:
            return
        self.result["network"] = _network.shown(_spec.spec_of(current).env)
        since = _readiness.log_since(current)
        lines = [line for line in engine.log(self.name, since) if line.at >= since]
        running = _life.is_running(current)
        state = current.get("State") or {}
        code = None if running else state.get("ExitCode")
        known = _readiness.diagnosis_of(current, lines, code, running)
        engine.stop(self.name, _stop_seconds(current))
        if not running or known.id != "unknown":
            self._tell(known, [line.text for line in lines], _readiness.started_at(current))

    def _tell(self, known: Diagnosis, log: t.Sequence[str], begun: float) -> None:
        self.result["problem"] = f"{known.cause}. It said: {known.evidence}. What to do: {known.fix}"
        self.result["diagnosis"] = known._asdict()
        self.result["log_tail"] = list(log)[-_readiness.LOG_TAIL :]
        with self.courtesy("its log could not be kept"):
            self.result["log_file"] = _saved_logs.keep(self.name, begun or time.time(), list(log))


def _stop_seconds(container: t.Mapping[str, t.Any]) -> int:
    """Return how long a member may take to stop; a worker has no requests, and would wait for its head in vain."""
    if _spec.spec_of(container).headless:
        return WORKER_STOP_SECONDS
    return int((container.get("Config") or {}).get("StopTimeout") or _life.STOP_SECONDS)
