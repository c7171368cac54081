# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let a function go on in a process of its own, which has nothing of the one that started it but what it is given."""

from __future__ import annotations

import contextlib
import os
import typing as t


def go_on(work: t.Callable[[], None], keep: t.Iterable[int]) -> None:
    """Do the work in a process that belongs to no session; of the open files it keeps those that are named."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    status = 1
    try:
        os.setsid()
        if os.fork():
            status = 0
        else:
            _leave_behind(set(keep))
            work()
            status = 0
    finally:
        # Nothing of the module may run here: neither its clean-up nor what it would print.
        os._exit(status)


def _leave_behind(keep: set[int]) -> None:
    os.chdir("/")
    os.umask(0o077)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # the one that listed them is closed already
                os.close(descriptor)
