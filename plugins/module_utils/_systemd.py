# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a systemd unit, and whether the unit was started before one of its files was written."""

from __future__ import annotations

import os
import stat
import time
import typing as t
from dataclasses import dataclass

PROPERTIES = (
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "ActiveEnterTimestampMonotonic",
    "FragmentPath",
    "DropInPaths",
    "Triggers",
)
RUNNING = frozenset({"active", "activating", "reloading"})
# States in which nothing is left to enable; a static unit has no [Install] section (systemctl(1), is-enabled).
ENABLED = frozenset({"enabled", "static", "alias", "indirect", "generated"})


@dataclass(frozen=True)
class Unit:
    """A unit as systemd has it; ``started`` is in seconds of the monotonic clock, 0 for one that never ran."""

    running: bool
    enabled: bool
    # A file of it is not as systemd has read it.
    unread: bool
    started: float
    # The files that define it.
    files: tuple[str, ...]
    # The units that it starts, as a timer does.
    triggers: tuple[str, ...]


def parse(text: str) -> Unit:
    """Read what ``systemctl show`` prints of one unit."""
    said = dict(line.partition("=")[::2] for line in text.splitlines())
    return Unit(
        running=said.get("ActiveState") in RUNNING,
        enabled=said.get("UnitFileState") in ENABLED,
        unread=said.get("NeedDaemonReload") == "yes",
        started=int(said.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
        files=(*said.get("FragmentPath", "").split(), *said.get("DropInPaths", "").split()),
        triggers=tuple(said.get("Triggers", "").split()),
    )


def is_outdated(unit: Unit, written: t.Iterable[float], now: float, uptime: float) -> bool:
    """Say whether a unit runs with what its files held before.

    ``written`` are the times at which its files were written, and ``now`` is the time on the same clock, both in
    seconds since 1970; ``uptime`` is the monotonic clock at that moment. It is by this one that systemd's times are
    read, for the other one may have been set since. A file from the future says nothing.
    """
    started = now - (uptime - unit.started)
    return unit.unread or any(started < one <= now for one in written)


def runs_old_files(unit: Unit, others: t.Iterable[str] = ()) -> bool:
    """Look at the files of a unit, and at others that it reads when it starts; one that is not there says nothing."""
    times = []
    for path in (*unit.files, *others):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            times.append(found.st_mtime)
    return is_outdated(unit, times, time.time(), time.monotonic())
