# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which run this is, among all runs on all controllers, and whether another run on this controller has ended."""

from __future__ import annotations

import os
import platform
import typing as t

PROC = "/proc"


class Process(t.NamedTuple):
    """A process of this machine; a number is used again, but not with the same start."""

    pid: int
    start: str
    parent: int
    command: tuple[str, ...]


def this_run(proc: str = PROC, pid: int | None = None) -> str:
    """Return the name of this run: its controller, and the process that was called there.

    Ansible forks for each task, so the process of the run is the first one of Ansible above this one.
    """
    here = look(os.getpid() if pid is None else pid, proc)
    if here is None:
        return f"{_place(proc)}/0"
    while True:
        above = look(here.parent, proc)
        if above is None or not any(os.path.basename(word).startswith("ansible") for word in above.command[:2]):
            return f"{_place(proc)}/{here.pid}.{here.start}"
        here = above


def has_ended(run: str, proc: str = PROC) -> bool:
    """Say whether a run is one of this controller, and not there any more; False where nobody can tell."""
    place, _slash, process = run.rpartition(" ")[2].rpartition("/")
    pid, _dot, start = process.partition(".")
    if place != _place(proc) or not start or not pid.isdigit():
        return False
    there = look(int(pid), proc)
    return there is None or there.start != start


def look(pid: int, proc: str = PROC) -> Process | None:
    """Return a process; None where there is none, or this machine does not tell."""
    try:
        with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The second field is a name in parentheses, which may hold anything.
            fields = stream.read().rpartition(")")[2].split()
        with open(f"{proc}/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
            command = tuple(stream.read().split("\0"))
        return None if fields[0] == "Z" else Process(pid, fields[19], int(fields[1]), command)
    except (OSError, ValueError, IndexError):
        return None


def _place(proc: str) -> str:
    """Return this controller and its start; containers on one machine have processes of their own."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()[:8]
        space = os.readlink(f"{proc}/self/ns/pid").strip("pid:[]")
    except OSError:
        return platform.node()
    return f"{platform.node()}/{boot}/{space}"
