# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""From the server that is there to the server that is wanted, one safe step after another.

A replaced container is kept, stopped, under the name ``<name>.previous`` until the new one has generated a token; when
it does not, the previous one takes its name back, is started again, and is waited for. Whatever a killed run leaves
behind, the next run recognizes by these two names and goes on from there; a container that somebody gave another name
is recognized by its label.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm import _container, _keys
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._container import Change, ServerSpec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._diagnosis import Diagnosis, diagnose
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._instances import PREVIOUS_SUFFIX
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._readiness import NotReadyError

if t.TYPE_CHECKING:
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import Engine

Container = t.Mapping[str, t.Any]


class ForeignContainerError(ValueError):
    """A container of this name exists, and it is not ours to touch."""


def previous_name(name: str) -> str:
    return name + PREVIOUS_SUFFIX


class Found(t.NamedTuple):
    """The server's containers on the host before anything is done, and the name that the current one was given."""

    current: Container | None
    previous: Container | None
    renamed: str = ""


def look(engine: Engine, name: str) -> Found:
    """What is there; ForeignContainerError when something else has the name."""
    found = Found(engine.inspect(name), engine.inspect(previous_name(name)))
    if found.current is None and found.previous is None:
        found = _renamed(engine, name)
    for wanted, container in ((name, found.current), (previous_name(name), found.previous)):
        if container is not None and not _container.is_managed(container):
            image = (container.get("Config") or {}).get("Image")
            raise ForeignContainerError(
                f"a container called {wanted} exists and was not made by this collection (image {image}); "
                "choose another name, or remove it yourself: docker rm -f " + wanted
            )
    return found


def _renamed(engine: Engine, name: str) -> Found:
    """The server's container under a name that somebody else gave it; the one that runs, where there are several."""
    rows = [
        row
        for row in engine.containers(stopped=True)
        if _container.is_managed({"Config": {"Labels": row.get("Labels")}})
        and row["Labels"].get(_container.LABEL_NAME) == name
    ]
    for row in sorted(rows, key=lambda row: row.get("State") != "running"):
        container = engine.inspect(str(row["Id"]))
        if container is not None:
            return Found(container, None, str(container.get("Name") or "").lstrip("/"))
    return Found(None, None)


# What can be done, in the words of the result.
RENAME, CREATE, RECREATE, UPDATE, START, UNPAUSE, STOP, REMOVE, RESTORE, DISCARD = (
    "rename",
    "create",
    "recreate",
    "update",
    "start",
    "unpause",
    "stop",
    "remove",
    "restore_previous",
    "remove_previous",
)


class Plan(t.NamedTuple):
    """What has to be done, and why."""

    actions: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    @property
    def starts(self) -> bool:
        """Whether a server will load its model: one that shares its GPUs must not do so at the same time."""
        return bool({START, UNPAUSE, RESTORE}.intersection(self.actions))


def is_running(container: Container) -> bool:
    state = container.get("State") or {}
    return bool(state.get("Running")) and not state.get("Paused")


def plan(
    state: str,
    found: Found,
    compare: t.Callable[[Container], t.Sequence[Change]],
) -> Plan:
    """The steps from ``found`` to ``state``. ``compare`` tells how a container differs from the declaration."""
    actions: list[str] = []
    current, previous = found.current, found.previous
    if found.renamed and state != "absent":
        actions.append(RENAME)
    if state == "absent":
        actions += [REMOVE] if current is not None else []
        actions += [DISCARD] if previous is not None else []
        return Plan(tuple(actions), ())
    changes = list(compare(current)) if current is not None else []
    if previous is not None:
        # A run was cut off while it replaced the server. The new container was never proven: it stays only when it is
        # what is wanted now, and is then proven by this run.
        if current is None or any(change.option not in _container.IN_PLACE for change in changes):
            actions.append(RESTORE)
            current, changes = previous, list(compare(previous))
        else:
            actions.append(DISCARD)
    if current is None:
        return Plan((CREATE,) if state == "stopped" else (CREATE, START), ())
    if any(change.option not in _container.IN_PLACE for change in changes):
        return Plan((*actions, RECREATE, *((START,) if state == "started" else ())), tuple(changes))
    if changes:
        actions.append(UPDATE)
    actions += _run_state(state, current)
    return Plan(tuple(actions), tuple(changes))


def _run_state(state: str, current: Container) -> list[str]:
    now = current.get("State") or {}
    if state == "stopped":
        return [STOP] if now.get("Running") or now.get("Restarting") else []
    if now.get("Paused"):
        return [UNPAUSE]
    # A container in the middle of a restart is the engine's business; waiting for it will tell how it ends.
    return [] if now.get("Running") or now.get("Restarting") else [START]


class StartError(ValueError):
    """The server did not come up; says why, and what has become of the previous one."""

    def __init__(
        self,
        message: str,
        diagnosis: Diagnosis,
        log: t.Sequence[str],
        begun: float,
        rolled_back: bool,
    ) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis
        self.log = list(log)
        self.begun = begun
        self.rolled_back = rolled_back


class Hooks(t.NamedTuple):
    """What carrying out a plan needs beside the engine; both take a specification and the files with its keys."""

    wait: t.Callable[[ServerSpec, t.Mapping[str, str]], dict[str, t.Any]]
    drain: t.Callable[[ServerSpec, t.Mapping[str, str]], object]
    clock: t.Callable[[], float] = time.monotonic


class Lifecycle:
    """Carries out a plan."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        secrets_directory: str,
        files: t.Mapping[str, str],
        rollback: bool,
        waits: bool,
        hooks: Hooks,
    ) -> None:
        self._engine = engine
        self._name = name
        self._previous = previous_name(name)
        self._directory = secrets_directory
        self._files = files
        self._old_files = _keys.read_directory(secrets_directory)
        self._rollback = rollback
        self._waits = waits
        self._hooks = hooks
        self._went_down = 0.0
        self._put_back = False
        # Seconds for which clients had no server, where one was running before; None as long as there were none.
        self.outage: float | None = None

    def carry_out(self, plan: Plan, spec: ServerSpec, found: Found) -> dict[str, t.Any]:
        """Do what is planned, and wait; returns what waiting found out."""
        actions = plan.actions
        if RENAME in actions:
            self._engine.rename(found.renamed, self._name)
        if RESTORE in actions:
            # Undo what a cut-off run began: the previous container takes its name back, as it is.
            self._engine.remove(self._name)
            self._engine.rename(self._previous, self._name)
        _keys.write_directory(self._directory, self._files)
        if RECREATE in actions:
            return self._replace(spec, START in actions, RESTORE in actions)
        if CREATE in actions:
            self._engine.create(self._name, _container.create_body(spec))
        if UPDATE in actions:
            self._engine.set_restart_policy(self._name, _container.restart_policy_body(spec.restart_policy))
        if STOP in actions:
            self._stop(self._engine.inspect(self._name), self._name)
        if UNPAUSE in actions:
            self._engine.unpause(self._name)
        result = self._bring_up(actions, spec)
        if DISCARD in actions:
            self._engine.remove(self._previous)
        return result

    def remove(self, plan: Plan, found: Found) -> None:
        """The server goes, with what it kept secret."""
        if REMOVE in plan.actions:
            name = found.renamed or self._name
            self._stop(found.current, name)
            self._engine.remove(name)
        if DISCARD in plan.actions:
            self._engine.remove(self._previous)
        _keys.write_directory(self._directory, {})

    # --- the steps ---

    def _stop(self, container: Container | None, name: str) -> None:
        """Stop it once its requests are done, or their time is up."""
        if container is None:
            return
        spec = _container.spec_of(container)
        if is_running(container):
            self._hooks.drain(spec, self._old_files)
            self._went_down = self._hooks.clock()
        self._engine.stop(name, spec.stop_timeout)

    def _wait(self, spec: ServerSpec, files: t.Mapping[str, str]) -> dict[str, t.Any]:
        """What the ready server measured of itself, and how long clients had none."""
        if not self._waits:
            return {}
        ready = self._hooks.wait(spec, files)
        if self._went_down:
            self.outage = round(self._hooks.clock() - self._went_down, 1)
        return ready

    def _bring_up(self, actions: t.Collection[str], spec: ServerSpec) -> dict[str, t.Any]:
        """Start what is there, and wait for it."""
        try:
            if START in actions:
                self._engine.start(self._name)
            return self._wait(spec, self._files)
        except (NotReadyError, EngineError) as error:
            refused = isinstance(error, EngineError)
            if DISCARD in actions:
                ending = self._go_back(spec.restart_policy, start=True)
            elif refused and CREATE in actions:
                self._engine.remove(self._name)
                ending = "The container was removed, for it never ran."
            elif START in actions and not refused:
                self._engine.stop(self._name, spec.stop_timeout)
                ending = f"The container is stopped, and kept for its log: docker logs {self._name}."
            else:
                ending = "The container was left as it is."
            raise self._failure(error, ending) from error

    def _replace(self, spec: ServerSpec, start: bool, restored: bool) -> dict[str, t.Any]:
        """A new container in place of the one that is there, which is kept until the new one has proven itself."""
        engine = self._engine
        old = engine.inspect(self._name)
        if old is None:
            raise EngineError(f"the container {self._name} vanished while it was being replaced")
        was_running = restored or bool((old.get("State") or {}).get("Running"))
        policy = ((old.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
        self._stop(old, self._name)
        if not self._rollback:
            engine.remove(self._name)
            engine.create(self._name, _container.create_body(spec))
            return self._bring_up((CREATE, START) if start else (CREATE,), spec)
        engine.rename(self._name, self._previous)
        # Should the engine restart now, only the new container may come back.
        engine.set_restart_policy(self._previous, _container.restart_policy_body("no"))
        try:
            engine.create(self._name, _container.create_body(spec))
            if start:
                engine.start(self._name)
            result = self._wait(spec, self._files)
        except (NotReadyError, EngineError) as error:
            ending = self._go_back(spec.restart_policy if restored else policy, was_running)
            raise self._failure(error, ending) from error
        engine.remove(self._previous)
        return result

    def _go_back(self, policy: str, start: bool) -> str:
        """The previous container and its keys return, and serve if they did before; says how that went."""
        _keys.write_directory(self._directory, self._old_files)
        try:
            self._engine.remove(self._name)
            self._engine.rename(self._previous, self._name)
            self._put_back = True
            self._engine.set_restart_policy(self._name, _container.restart_policy_body(policy))
            if not start:
                return "The previous container was put back, stopped as it was."
            self._engine.start(self._name)
            old = self._engine.inspect(self._name)
            if old is not None:
                self._wait(_container.spec_of(old), self._old_files)
        except NotReadyError as error:
            return f"The previous container was put back, but does not serve, either: {error.diagnosis.cause}."
        except EngineError as error:
            done = "was put back, but does not serve, either" if self._put_back else "could not be put back; run again"
            return f"The previous container {done}: {error}."
        if not self._waits:
            return "The previous container was put back and started."
        ending = "The previous container was put back and serves again"
        return ending + (f"; the outage was {self.outage:.1f} seconds." if self.outage is not None else ".")

    def _failure(self, error: NotReadyError | EngineError, ending: str) -> StartError:
        if isinstance(error, NotReadyError):
            diagnosis, log, begun = error.diagnosis, error.log, error.begun
        else:
            diagnosis, log, begun = diagnose([str(error)], name=self._name), [str(error)], time.time()
        return StartError(
            f"the vLLM server {self._name} did not become ready: {diagnosis.cause}. It said: {diagnosis.evidence}. "
            f"What to do: {diagnosis.fix}. {ending}",
            diagnosis,
            log,
            begun,
            self._put_back,
        )
