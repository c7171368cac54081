# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that share a GPU start one after another, each after the one before it is ready.

vLLM measures the free memory of its GPU while it starts; two that measure at the same time count each other's memory,
and both fail or take the wrong share. Servers on different GPUs do not wait for each other. Locks are files, so that a
second play on the same host keeps to the same order; the kernel opens them when a process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import typing as t

from ... import _paths
from ..._regular import regular

DIRECTORY = _paths.GPU_TURNS
CPU = "cpu"  # what servers without a GPU share: the memory and cores of the host
POLL = 1.0  # seconds


def devices_of(uuids: t.Sequence[str]) -> tuple[str, ...]:
    """Return the devices that a server on these GPUs measures while it starts."""
    return tuple(sorted(uuids)) or (CPU,)


@contextlib.contextmanager
def turn(
    devices: t.Sequence[str],
    waiting: t.Callable[[], None] = lambda: None,
    directory: str = DIRECTORY,
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.Iterator[None]:
    """Hold all of these devices; ``waiting`` is called as long as somebody else holds one of them.

    Whoever holds them waits for a server no longer than its time-out, so this wait ends as well. Devices are taken in
    one order by everyone.
    """
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"servers cannot take turns, because {directory} cannot be made: {error.strerror or error}"
        ) from error
    with contextlib.ExitStack() as stack:
        for device in sorted(devices):
            name = hashlib.sha256(device.encode("utf-8")).hexdigest()[:16]
            handle = stack.enter_context(_opened(os.path.join(directory, name)))
            while not _taken(handle.fileno()):
                waiting()
                sleep(POLL)
        yield


def _opened(path: str) -> t.TextIO:
    try:
        return open(path, "a", encoding="ascii", opener=regular)
    except OSError as error:
        raise ValueError(f"servers cannot take turns, because {path} cannot be opened: {error.strerror}") from error


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
