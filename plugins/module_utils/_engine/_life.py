# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one life of a container: look, plan, set aside, create, start, prove, keep or put back, resume after a kill.

A container that is replaced is kept, stopped, as ``<name>.previous`` until the new one is proven. When the new one is
not proven, the previous one takes its name back with its data, is started, and is proven again. These two names are the
journal: whatever a killed run leaves behind, the next run recognizes by them and goes on from there.

What differs between products is in `Hooks`. This is the order in which a replacement calls them::

    resume(True)                  only when an earlier run was cut off
    drain(old)                    only when it runs
      rename old to NAME.previous, switch its restart policy off, stop it
    prepare_data(old)             copy or change what the new container will work on
      create NAME from body(), start it
    prove(new, False)
      remove NAME.previous        from here on there is no way back
    keep_data()                   forget the copy

and when anything between the rename and the proof fails::

      remove NAME
    undo_data()                   bring the data back as prepare_data found it
      rename NAME.previous to NAME, start it
    prove(old, True)

Data are prepared only while NAME.previous is there, so who finds NAME.previous must undo, and who finds none must keep.
Everything here, the look included, must happen while the caller holds the object's lock (`_lock.hold`).
"""

from __future__ import annotations

import re
import time
import typing as t

from ._api import EngineError
from ._driver import Container, Driver

PREVIOUS_SUFFIX = ".previous"

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

# An engine that was killed or restarted may have lost the network of a container that runs on, which a rename looks up
# (moby, daemon/rename.go) and a stop does not.
_NETWORK_LOST = re.compile(r"\bsandbox\b.*\bnot found", re.IGNORECASE)

STOP_SECONDS = 10  # what the engine itself takes where a container says nothing


class ForeignContainerError(ValueError):
    """A container of this name exists, and is not ours to touch."""


class NotProven(ValueError):
    """The new container does not work; ``cause`` is the reason in few words, for a longer sentence."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause or message


class ChangeFailed(ValueError):
    """A change failed. ``error`` says why, ``ending`` what has become of the containers, in a sentence."""

    def __init__(self, error: Exception, ending: str, put_back: bool) -> None:
        super().__init__(f"{error}. {ending}")
        self.error = error
        self.ending = ending
        self.put_back = put_back


def previous_name(name: str) -> str:
    return name + PREVIOUS_SUFFIX


# --- look -------------------------------------------------------------------------------------------------------------


class Found(t.NamedTuple):
    """The object's containers before anything is done, and the name that the current one was given by hand."""

    current: Container | None
    previous: Container | None
    renamed: str = ""


def look(driver: Driver, name: str, is_ours: t.Callable[[Container], bool], name_label: str = "") -> Found:
    """Return what is there; ForeignContainerError when a container that is not ours has one of the two names.

    A container that somebody gave another name is found by the label ``name_label``, where one is given.
    """
    found = Found(driver.inspect(name), driver.inspect(previous_name(name)))
    if found.current is None and found.previous is None and name_label:
        found = _renamed(driver, name, is_ours, name_label)
    for wanted, container in ((name, found.current), (previous_name(name), found.previous)):
        if container is not None and not is_ours(container):
            image = (container.get("Config") or {}).get("Image")
            raise ForeignContainerError(
                f"a container called {wanted} exists and was not made by this collection (image {image}); "
                "choose another name, or remove it yourself: docker rm -f " + wanted
            )
    return found


def _renamed(driver: Driver, name: str, is_ours: t.Callable[[Container], bool], name_label: str) -> Found:
    """Return the container under its other name; the one that runs, where there are several."""
    rows = [
        row
        for row in driver.containers(stopped=True)
        if is_ours({"Config": {"Labels": row.get("Labels")}}) and (row.get("Labels") or {}).get(name_label) == name
    ]
    for row in sorted(rows, key=lambda row: row.get("State") != "running"):
        container = driver.inspect(str(row["Id"]))
        if container is not None:
            return Found(container, None, str(container.get("Name") or "").lstrip("/"))
    return Found(None, None)


# --- plan -------------------------------------------------------------------------------------------------------------


class Change(t.NamedTuple):
    """One option that differs."""

    option: str
    before: t.Any
    after: t.Any


class Plan(t.NamedTuple):
    """What has to be done, and why."""

    actions: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    @property
    def starts(self) -> bool:
        """Return whether a program will start and load."""
        return bool({START, UNPAUSE, RESTORE}.intersection(self.actions))

    @property
    def makes(self) -> bool:
        """Return whether a container will be made, so that its image must be there."""
        return bool({CREATE, RECREATE}.intersection(self.actions))


def is_running(container: Container) -> bool:
    state = container.get("State") or {}
    return bool(state.get("Running")) and not state.get("Paused")


def is_gone(container: Container | None) -> bool:
    """Return whether the container can never be started again: the engine was cut off while it removed it."""
    state = (container or {}).get("State") or {}
    return bool(state.get("Dead")) or state.get("Status") in ("dead", "removing")


def plan(
    state: str,
    found: Found,
    compare: t.Callable[[Container], t.Sequence[Change]],
    in_place: t.Collection[str] = (),
) -> Plan:
    """Return the steps from ``found`` to ``state``: started, stopped or absent.

    ``compare`` tells how a container differs from the declaration. Options ``in_place`` can change while it runs.
    """
    actions: list[str] = []
    current, previous = found.current, found.previous
    if found.renamed and state != "absent":
        actions.append(RENAME)
    if state == "absent":
        actions += [REMOVE] if current is not None else []
        actions += [DISCARD] if previous is not None else []
        return Plan(tuple(actions), ())
    if is_gone(previous):
        actions.append(DISCARD)
        previous = None
    if is_gone(current):
        actions.append(REMOVE)
        current = None
    changes = list(compare(current)) if current is not None else []
    if previous is not None:
        # A run was cut off while it replaced the container. The new one was never proven: it stays only when it is what
        # is wanted now, and is then proven by this run.
        if current is None or any(change.option not in in_place for change in changes):
            actions.append(RESTORE)
            current, changes = previous, list(compare(previous))
        else:
            actions.append(DISCARD)
    if current is None:
        return Plan((*actions, CREATE, *((START,) if state == "started" else ())), ())
    if any(change.option not in in_place for change in changes):
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
    # A restarting container is left to the engine; the proof reports the outcome.
    return [] if now.get("Running") or now.get("Restarting") else [START]


# --- carry out --------------------------------------------------------------------------------------------------------


class Hooks:
    """What differs between products; a product overrides what it needs. The module's docstring has the order.

    Any exception of `prepare_data` and `prove` puts the previous container back.
    """

    # Whether the previous container must not start before `undo_data` has succeeded.
    data_is_vital = False

    def body(self) -> t.Mapping[str, t.Any]:
        """Return what "create a container" takes for the wanted container."""
        raise NotImplementedError

    def resume(self, replacing: bool) -> None:
        """Take note that this run begins; the run before may have been killed at any point.

        With ``replacing``, NAME.previous is there: `undo_data` or `keep_data` will follow. Without it, data that an
        earlier run prepared belong to the container that is there: finish what `keep_data` began.
        """

    def prepare_data(self, old: Container | None) -> None:
        """Make data ready for the new container; ``old`` is stopped, and None when there was none."""

    def undo_data(self) -> None:
        """Bring the data back as `prepare_data` found them. Must bear being called again, and by another process."""

    def keep_data(self) -> None:
        """Forget what `undo_data` would have needed. Must bear being called again, and by another process."""

    def drain(self, container: Container) -> None:
        """Let a running container finish what it is doing, in limited time, before it is stopped."""

    def prove(self, container: Container, put_back: bool) -> dict[str, t.Any]:
        """Wait until the container works and return what that found out; NotProven when it does not.

        ``put_back`` says that it is the previous one, with its own data and secrets.
        """
        raise NotImplementedError

    def stop_seconds(self, container: Container) -> int:
        """Return how long the container may take to end by itself."""
        return int((container.get("Config") or {}).get("StopTimeout") or STOP_SECONDS)


class Life:
    """Carries out a plan for the object ``name``.

    Without ``rollback`` a replaced container is removed before the new one is made. ``waits`` says whether a container
    is proven. ``outage`` is for how many seconds nothing worked where something did before; None when that was not so.
    """

    def __init__(
        self,
        driver: Driver,
        name: str,
        hooks: Hooks,
        rollback: bool = True,
        waits: bool = True,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._name = name
        self._previous = previous_name(name)
        self._hooks = hooks
        self._rollback = rollback
        self._waits = waits
        self._clock = clock
        self._went_down = 0.0
        self._put_back = False
        self.outage: float | None = None

    def carry_out(self, plan: Plan, found: Found) -> dict[str, t.Any]:
        """Do what is planned and return what the proof found out; ChangeFailed when it does not end as planned.

        With nothing to do, what is there is proven all the same, and what a killed run left undone is done.
        """
        actions = plan.actions
        if RENAME in actions:
            self._driver.rename(found.renamed, self._name)
        if REMOVE in actions:
            self._driver.remove(self._name)
        if DISCARD in actions and plan.makes:
            self._driver.remove(self._previous)
        self._hooks.resume(RESTORE in actions or (DISCARD in actions and not plan.makes))
        if RESTORE in actions:
            self._restore()
        if RECREATE in actions:
            return self._replace(START in actions, RESTORE in actions)
        if UPDATE in actions:
            self._driver.set_restart_policy(self._name, self._wanted_policy())
        if STOP in actions:
            self._stop(self._driver.inspect(self._name), self._name)
        if UNPAUSE in actions:
            self._driver.unpause(self._name)
        result = self._bring_up(actions, found)
        if DISCARD in actions and not plan.makes:
            self._driver.remove(self._previous)
        if CREATE in actions or DISCARD in actions:
            self._hooks.keep_data()
        return result

    def remove(self, plan: Plan, found: Found) -> None:
        """Remove the object's containers."""
        if REMOVE in plan.actions:
            name = found.renamed or self._name
            if not is_gone(found.current):
                self._stop(found.current, name)
            self._driver.remove(name)
        if DISCARD in plan.actions:
            self._driver.remove(self._previous)

    # --- the steps ---

    def _wanted_policy(self) -> t.Mapping[str, t.Any]:
        policy = (self._hooks.body().get("HostConfig") or {}).get("RestartPolicy")
        return policy or {"Name": "no", "MaximumRetryCount": 0}

    def _restore(self) -> None:
        """Undo what a cut-off run began: the previous container takes its name back, as it is."""
        self._need_previous()
        self._driver.remove(self._name)
        self._hooks.undo_data()
        self._driver.rename(self._previous, self._name)

    def _need_previous(self) -> None:
        """Raise EngineError when the previous container is gone: nothing may be removed in favor of it then."""
        if self._driver.inspect(self._previous) is None:
            raise EngineError(
                f"the container {self._previous} is gone, so there is nothing to put back and {self._name} was left as "
                "it is; somebody else may be at work here, run again"
            )

    def _stop(self, container: Container | None, name: str) -> None:
        if container is not None:
            self._drain(container)
            self._driver.stop(name, self._hooks.stop_seconds(container))

    def _drain(self, container: Container) -> None:
        if is_running(container):
            self._hooks.drain(container)
            self._went_down = self._clock()

    def _prove(self, put_back: bool = False) -> dict[str, t.Any]:
        if not self._waits:
            return {}
        container = self._driver.inspect(self._name)
        if container is None:
            raise EngineError(f"the container {self._name} was removed by somebody else while it was starting")
        found = self._hooks.prove(container, put_back)
        if self._went_down:
            self.outage = round(self._clock() - self._went_down, 1)
        return found

    def _bring_up(self, actions: t.Collection[str], found: Found) -> dict[str, t.Any]:
        """Make, where nothing is there, start, and prove; there is no previous container to replace."""
        made = started = False
        try:
            if CREATE in actions:
                self._hooks.prepare_data(None)
                self._driver.create(self._name, self._hooks.body())
                made = True
            if START in actions:
                self._driver.start(self._name)
                started = True
            return self._prove()
        except Exception as error:
            raise ChangeFailed(error, self._end_badly(error, actions, made, started), self._put_back) from error

    def _end_badly(self, error: Exception, actions: t.Collection[str], made: bool, started: bool) -> str:
        """Leave something that makes sense behind a failed start, and say what that is."""
        refused = not isinstance(error, NotProven)
        try:
            if DISCARD in actions and CREATE not in actions:
                return self._go_back(self._wanted_policy(), start=True)
            if CREATE in actions and not started:
                if made:
                    self._driver.remove(self._name)
                self._hooks.undo_data()
                return "The container was removed, because it never ran." if made else "No container was made."
            if started and not refused:
                container = self._driver.inspect(self._name) or {}
                self._driver.stop(self._name, self._hooks.stop_seconds(container))
                return f"The container is stopped, and kept for its log: docker logs {self._name}."
        except (EngineError, OSError) as second:
            return f"The container {self._name} was left as it is: {second}."
        return "The container was left as it is."

    def _replace(self, start: bool, restored: bool) -> dict[str, t.Any]:
        """Put a new container in place of the one that is there, which is kept until the new one is proven."""
        driver = self._driver
        old = driver.inspect(self._name)
        if old is None:
            raise EngineError(f"the container {self._name} vanished while it was being replaced; run again")
        # One that is declared to run and does not was stopped by a run that was killed, or by hand: it is started, too.
        was_running = start or restored or bool((old.get("State") or {}).get("Running"))
        policy = (old.get("HostConfig") or {}).get("RestartPolicy") or {"Name": "no", "MaximumRetryCount": 0}
        if not self._rollback:
            self._stop(old, self._name)
            driver.remove(self._name)
            result = self._bring_up((CREATE, START) if start else (CREATE,), Found(None, None))
            self._hooks.keep_data()
            return result
        self._drain(old)
        self._set_aside(old)
        try:
            # Should the engine restart now, only the new container may come back.
            driver.set_restart_policy(self._previous, {"Name": "no", "MaximumRetryCount": 0})
            driver.stop(self._previous, self._hooks.stop_seconds(old))
            self._hooks.prepare_data(old)
            driver.create(self._name, self._hooks.body())
            if start:
                driver.start(self._name)
            result = self._prove() if start else {}
        except Exception as error:
            ending = self._go_back(self._wanted_policy() if restored else policy, was_running)
            raise ChangeFailed(error, ending, self._put_back) from error
        driver.remove(self._previous)
        self._hooks.keep_data()
        return result

    def _set_aside(self, old: Container) -> None:
        """Give the old container its second name; first stop it where the engine cannot do so while it runs."""
        try:
            self._driver.rename(self._name, self._previous)
        except EngineError as error:
            if not (is_running(old) and _NETWORK_LOST.search(str(error))):
                raise
            self._driver.stop(self._name, self._hooks.stop_seconds(old))
            try:
                self._driver.rename(self._name, self._previous)
            except EngineError:
                self._driver.start(self._name)
                raise

    def _go_back(self, policy: t.Mapping[str, t.Any], start: bool) -> str:
        """Put the previous container and its data back, serving if it did before, and say how that went."""
        data = ""
        try:
            self._need_previous()
            self._driver.remove(self._name)
            data = self._undo()
            if data and self._hooks.data_is_vital:
                return f"{data} The previous container was not started without them; it is {self._previous}. Run again."
            self._driver.set_restart_policy(self._previous, policy)
            self._driver.rename(self._previous, self._name)
            self._put_back = True
            if not start:
                return f"The previous container was put back, stopped as it was. {data}".rstrip()
            self._driver.start(self._name)
            self._prove(put_back=True)
        except NotProven as error:
            return f"The previous container was put back, but does not serve, either: {error.cause}. {data}".rstrip()
        except Exception as error:
            done = "was put back, but does not serve, either" if self._put_back else "could not be put back; run again"
            return f"The previous container {done}: {error}. {data}".rstrip()
        if not self._waits:
            return f"The previous container was put back and started. {data}".rstrip()
        ending = "The previous container was put back and serves again"
        ending += f"; the outage was {self.outage:.1f} seconds." if self.outage is not None else "."
        return f"{ending} {data}".rstrip()

    def _undo(self) -> str:
        """Bring the data back; returns a sentence when that failed."""
        try:
            self._hooks.undo_data()
        except Exception as error:
            return f"What belongs to it could not be brought back: {error}."
        return ""
