# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which run of Ansible something belongs to, and whether that run still goes on."""

from __future__ import annotations


def name_of(pid: int) -> str:
    """Return the name of the run whose process this is; empty when there is no such process.

    The number of a process is given anew after its end, so the time at which it began belongs to the name.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ""
    # The name of its program comes in parentheses and may hold anything; what follows is fields, the state first.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{pid}-{fields[19]}"


def pid_of(run: str) -> int:
    """Return the number of a run's process; 0 when the text is not the name of a run."""
    number = run.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def goes_on(run: str) -> bool:
    """Say whether a run of this machine has not ended."""
    return bool(run) and name_of(pid_of(run)) == run
