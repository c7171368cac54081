# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the life of a vLLM server's container has of its own: keys as its data, a token as its proof, a diagnosis.

The steps themselves, and how a run that was killed is gone on with, are in `_engine._life`.
"""

from __future__ import annotations

import time
import typing as t

from ..._engine import _life
from ..._engine._life import (
    CREATE,
    DISCARD,
    RECREATE,
    REMOVE,
    RENAME,
    RESTORE,
    START,
    STOP,
    UNPAUSE,
    UPDATE,
    Change,
    ForeignContainerError,
    Found,
    Plan,
    previous_name,
)
from ..container import _keys, _labels, _spec
from ..container._spec import ServerSpec
from ..diagnosis._diagnosis import Diagnosis, diagnose
from ._readiness import NotReadyError

if t.TYPE_CHECKING:
    from ..._engine._driver import Driver

Container = t.Mapping[str, t.Any]

__all__ = [
    "CREATE",
    "DISCARD",
    "RECREATE",
    "REMOVE",
    "RENAME",
    "RESTORE",
    "START",
    "STOP",
    "UNPAUSE",
    "UPDATE",
    "ForeignContainerError",
    "Found",
    "Hooks",
    "Lifecycle",
    "Plan",
    "StartError",
    "look",
    "plan",
    "previous_name",
]


def look(engine: Driver, name: str) -> Found:
    """Return the server's containers; ForeignContainerError when something else has the name."""
    return _life.look(engine, name, _labels.is_managed, _labels.LABEL_NAME)


def plan(state: str, found: Found, compare: t.Callable[[Container], t.Sequence[Change]]) -> Plan:
    """Return the steps from ``found`` to ``state``. ``compare`` tells how a container differs from the declaration."""
    return _life.plan(state, found, compare, _spec.IN_PLACE)


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


class _Server(_life.Hooks):
    """A vLLM server as a product with a life. What belongs to it on the host are the files with its keys."""

    def __init__(
        self, spec: ServerSpec, directory: str, files: t.Mapping[str, str], old: t.Mapping[str, str], hooks: Hooks
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._files = files
        self._old = old
        self._hooks = hooks

    def body(self) -> Container:
        return _spec.create_body(self._spec, _keys.fingerprint(self._files))

    def prepare_data(self, old: Container | None) -> None:
        _keys.write_directory(self._directory, self._files)

    def undo_data(self) -> None:
        _keys.write_directory(self._directory, self._old)

    def drain(self, container: Container) -> None:
        self._hooks.drain(_spec.spec_of(container), self._old)

    def prove(self, container: Container, put_back: bool) -> dict[str, t.Any]:
        spec, files = (_spec.spec_of(container), self._old) if put_back else (self._spec, self._files)
        try:
            return self._hooks.wait(spec, files)
        except NotReadyError as error:
            raise _life.NotProven(str(error), error.diagnosis.cause) from error


class Lifecycle:
    """Carries out a plan."""

    def __init__(
        self,
        engine: Driver,
        name: str,
        secrets_directory: str,
        files: t.Mapping[str, str],
        rollback: bool,
        waits: bool,
        hooks: Hooks,
    ) -> None:
        self._engine = engine
        self._name = name
        self._directory = secrets_directory
        self._files = files
        self._old_files = _keys.read_directory(secrets_directory)
        self._rollback = rollback
        self._waits = waits
        self._hooks = hooks
        # Seconds for which clients had no server, where one was running before; None as long as there were none.
        self.outage: float | None = None

    def carry_out(self, plan: Plan, spec: ServerSpec, found: Found) -> dict[str, t.Any]:
        """Do what is planned, and wait; return what waiting found out."""
        if not plan.makes:
            # The contents are right, else a container would be made; a mode may not be.
            _keys.write_directory(self._directory, self._files)
        life = self._make_life(spec, self._waits)
        try:
            return life.carry_out(plan, found)
        except _life.ChangeFailed as failed:
            raise self._failure(failed) from failed.error
        finally:
            self.outage = life.outage

    def remove(self, plan: Plan, found: Found) -> None:
        """Remove the server, with what it kept secret."""
        spec = ServerSpec(self._name, "", "", (), 0, "")  # nothing is made from it
        self._make_life(spec, waits=False).remove(plan, found)
        _keys.write_directory(self._directory, {})

    def _make_life(self, spec: ServerSpec, waits: bool) -> _life.Life:
        server = _Server(spec, self._directory, self._files, self._old_files, self._hooks)
        return _life.Life(self._engine, self._name, server, self._rollback, waits, self._hooks.clock)

    def _failure(self, failed: _life.ChangeFailed) -> StartError:
        error = failed.error
        cause = error.__cause__
        if isinstance(error, _life.NotProven) and isinstance(cause, NotReadyError):
            diagnosis, log, begun = cause.diagnosis, cause.log, cause.begun
        else:
            said = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
            diagnosis, log, begun = diagnose([said], name=self._name), [said], time.time()
        return StartError(
            f"the vLLM server {self._name} did not become ready: {diagnosis.cause}. It said: {diagnosis.evidence}. "
            f"What to do: {diagnosis.fix}. {failed.ending}",
            diagnosis,
            log,
            begun,
            failed.put_back,
        )
