# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server's container is like now, without what does not matter to the watch."""

from __future__ import annotations

import typing as t

from .._engine._life import is_gone
from .._engine._logs import epoch
from .._vllm.container._spec import LABEL_MEMBER
from . import _ties
from ._probing import Probe

STOP_SECONDS = 10  # what the engine itself takes where a container says nothing
START_FAILED = 128  # the exit code of a container that the engine could not start


class Seen(t.NamedTuple):
    """One look at a server."""

    at: float
    present: bool = True
    running: bool = False
    restarting: bool = False
    paused: bool = False
    container: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    error: str = ""
    restart_count: int = 0
    policy: str = "unless-stopped"
    member: bool = False  # of a server over several hosts, which lives on all of them or on none
    worker: bool = False  # a member that serves nothing itself
    ties: t.Optional[_ties.Ties] = None  # noqa: UP045 - evaluated by Python 3.8; a member's connections to the others
    knock: str = _ties.THERE  # what a worker's attempt to connect to its head said
    stop_seconds: int = STOP_SECONDS
    devices: tuple[str, ...] = ()
    holder: str = ""  # who is at work on it
    probe: t.Optional[Probe] = None  # noqa: UP045 - evaluated by Python 3.8
    problem: str = ""  # why it could not be looked at
    broken_way: str = ""  # why it is not reached, though it is up
    keeper: str = "the engine"  # who starts it again when it ends

    @property
    def not_started(self) -> bool:
        """Return whether the engine tried to start the container, and could not."""
        return bool(self.error) or self.exit_code == START_FAILED


def seen_of(container: t.Mapping[str, t.Any] | None, at: float, devices: tuple[str, ...] = ()) -> Seen:
    """Return what the engine tells of a container; None is none."""
    if container is None or is_gone(container):
        return Seen(at, present=False)
    state = container.get("State") or {}
    host = container.get("HostConfig") or {}
    return Seen(
        at,
        running=bool(state.get("Running")) and not state.get("Restarting"),
        restarting=bool(state.get("Restarting")),
        paused=bool(state.get("Paused")),
        container=str(container.get("Id") or ""),
        started_at=epoch(str(state.get("StartedAt") or "")),
        finished_at=epoch(str(state.get("FinishedAt") or "")),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or ""),
        restart_count=int(container.get("RestartCount") or 0),
        policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        member=LABEL_MEMBER in ((container.get("Config") or {}).get("Labels") or {}),
        stop_seconds=int((container.get("Config") or {}).get("StopTimeout") or STOP_SECONDS),
        devices=devices,
    )
