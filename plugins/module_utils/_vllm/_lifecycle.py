# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""From the server that is there to the server that is wanted, one safe step after another.

A replaced container is kept, stopped, under the name ``<name>.previous`` until the new one has generated a token; when
it does not, the previous one takes its name back and is started again. Whatever a killed run leaves behind, the next
run recognizes by these two names and goes on from there.
"""

from __future__ import annotations

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
    """The server's containers on the host before anything is done."""

    current: Container | None
    previous: Container | None


def look(engine: Engine, name: str) -> Found:
    """What is there; ForeignContainerError when something else has the name."""
    found = Found(engine.inspect(name), engine.inspect(previous_name(name)))
    for wanted, container in ((name, found.current), (previous_name(name), found.previous)):
        if container is not None and not _container.is_managed(container):
            image = (container.get("Config") or {}).get("Image")
            raise ForeignContainerError(
                f"a container called {wanted} exists and was not made by this collection (image {image}); "
                "choose another name, or remove it yourself: docker rm -f " + wanted
            )
    return found


# What can be done, in the words of the result.
CREATE, RECREATE, UPDATE, START, UNPAUSE, STOP, REMOVE, RESTORE, DISCARD = (
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
    current, previous = found
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

    def __init__(self, message: str, diagnosis: Diagnosis, log_tail: t.Sequence[str], rolled_back: bool) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis
        self.log_tail = list(log_tail)
        self.rolled_back = rolled_back


class Lifecycle:
    """Carries out a plan."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        secrets_directory: str,
        files: t.Mapping[str, str],
        rollback: bool,
        wait: t.Callable[[], dict[str, t.Any]],
    ) -> None:
        self._engine = engine
        self._name = name
        self._previous = previous_name(name)
        self._directory = secrets_directory
        self._files = files
        self._old_files = _keys.read_directory(secrets_directory)
        self._rollback = rollback
        self._wait = wait

    def carry_out(self, plan: Plan, spec: ServerSpec) -> dict[str, t.Any]:
        """Do what is planned, and wait; returns what waiting found out."""
        actions = plan.actions
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
            self._engine.stop(self._name, spec.stop_timeout)
        if UNPAUSE in actions:
            self._engine.unpause(self._name)
        result = self._bring_up(actions, spec)
        if DISCARD in actions:
            self._engine.remove(self._previous)
        return result

    def remove(self, plan: Plan, stop_timeout: int) -> None:
        """The server goes, with what it kept secret."""
        if REMOVE in plan.actions:
            self._engine.stop(self._name, stop_timeout)
            self._engine.remove(self._name)
        if DISCARD in plan.actions:
            self._engine.remove(self._previous)
        _keys.write_directory(self._directory, {})

    # --- the steps ---

    def _bring_up(self, actions: t.Collection[str], spec: ServerSpec) -> dict[str, t.Any]:
        """Start what is there, and wait for it."""
        try:
            if START in actions:
                self._engine.start(self._name)
            return self._wait()
        except (NotReadyError, EngineError) as error:
            refused = isinstance(error, EngineError)
            if DISCARD in actions:
                self._put_back(spec.restart_policy, start=True)
                ending = "The previous container was put back and started."
            elif refused and CREATE in actions:
                self._engine.remove(self._name)
                ending = "The container was removed, for it never ran."
            elif START in actions and not refused:
                self._engine.stop(self._name, spec.stop_timeout)
                ending = f"The container is stopped, and kept for its log: docker logs {self._name}."
            else:
                ending = "The container was left as it is."
            raise self._failure(error, ending, DISCARD in actions) from error

    def _replace(self, spec: ServerSpec, start: bool, restored: bool) -> dict[str, t.Any]:
        """A new container in place of the one that is there, which is kept until the new one has proven itself."""
        engine = self._engine
        old = engine.inspect(self._name)
        if old is None:
            raise EngineError(f"the container {self._name} vanished while it was being replaced")
        was_running = restored or bool((old.get("State") or {}).get("Running"))
        policy = ((old.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
        engine.stop(self._name, int((old.get("Config") or {}).get("StopTimeout") or _container.STOP_GRACE))
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
            result = self._wait()
        except (NotReadyError, EngineError) as error:
            self._put_back(spec.restart_policy if restored else policy, was_running)
            ending = "The previous container was put back" + (
                " and started." if was_running else ", stopped as it was."
            )
            raise self._failure(error, ending, True) from error
        engine.remove(self._previous)
        return result

    def _put_back(self, policy: str, start: bool) -> None:
        _keys.write_directory(self._directory, self._old_files)
        self._engine.remove(self._name)
        self._engine.rename(self._previous, self._name)
        self._engine.set_restart_policy(self._name, _container.restart_policy_body(policy))
        if start:
            self._engine.start(self._name)

    def _failure(self, error: NotReadyError | EngineError, ending: str, rolled_back: bool) -> StartError:
        if isinstance(error, NotReadyError):
            diagnosis, log_tail = error.diagnosis, error.log_tail
        else:
            diagnosis, log_tail = diagnose([str(error)], name=self._name), [str(error)]
        return StartError(
            f"the vLLM server {self._name} did not become ready: {diagnosis.cause}. It said: {diagnosis.evidence}. "
            f"What to do: {diagnosis.fix}. {ending}",
            diagnosis,
            log_tail,
            rolled_back,
        )
