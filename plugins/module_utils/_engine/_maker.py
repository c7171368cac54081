# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Name the process that made something, so that another one can tell whether the maker has ended."""

from __future__ import annotations

import os
import typing as t

_ENDED = ("Z", "X")  # states of a process that has ended and is still listed


class Maker(t.NamedTuple):
    """A process of this host, since this start of it; process numbers and times are used again."""

    place: str
    pid: str
    started: str

    def __str__(self) -> str:
        return " ".join(self) if self.place else "unknown"

    @classmethod
    def parse(cls, text: str) -> Maker | None:
        """Return the maker that a text names; None for another text."""
        words = text.split()
        return cls(*words) if len(words) == len(cls._fields) and words[1].isdigit() else None


def here() -> Maker:
    """Return this process."""
    pid = str(os.getpid())
    return Maker(_place(), pid, _started(pid))


def has_ended(text: str) -> bool:
    """Return whether the maker that a text names has ended for sure; False where this process cannot see it."""
    maker = Maker.parse(text)
    return maker is not None and maker.place == _place() and _started(maker.pid) != maker.started


def _place() -> str:
    """Return which start of which host this is, and which of its lists of processes, for containers have their own.

    Empty where the kernel does not say: nobody is sure of anything then.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: str) -> str:
    """Return when a process started, as the kernel counts; none where it is not there or has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return "none"
    return "none" if fields[0] in _ENDED else fields[19]
