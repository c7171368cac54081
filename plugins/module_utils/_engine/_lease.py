# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A claim that a run holds on an object of a host from one of its tasks to the next, where no process holds a lock.

Read and write it under the object's lock (`_lock`). A run that was killed leaves its claim behind; the claim ends by
itself, or is broken by a run that knows that the other one has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from . import _lock

SECONDS = 900.0  # longer than any one task of a run, with its wait for a drain


class Lease(t.NamedTuple):
    """Which run claims an object, since when, and until when if nothing renews it."""

    run: str
    since: float
    until: float

    def __str__(self) -> str:
        began, ends = (time.strftime("%H:%M:%S", time.localtime(at)) for at in (self.since, self.until))
        return f"another run ({self.run}) is at work on it since {began}; its claim ends at {ends} at the latest"


def read(kind: str, name: str, directory: str = _lock.DIRECTORY, now: float | None = None) -> Lease | None:
    """Return who claims an object; None when nobody does, or no longer."""
    try:
        descriptor = os.open(_path(kind, name, directory), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        try:
            found = json.loads(stream.read(_lock.NOTE_LIMIT))
            lease = Lease(str(found["run"]), float(found["since"]), float(found["until"]))
        except (ValueError, KeyError, TypeError):
            return None
    moment = time.time() if now is None else now
    # A claim that ends later than any could was made before the clock was set back.
    return lease if moment < lease.until <= moment + SECONDS else None


def take(
    kind: str,
    name: str,
    run: str,
    breaks: str = "",
    directory: str = _lock.DIRECTORY,
    now: float | None = None,
) -> Lease | None:
    """Claim an object for a run, or renew its claim; returns the claim of another run that is in the way.

    ``breaks`` is a run that has ended; its claim is no more.
    """
    moment = time.time() if now is None else now
    there = read(kind, name, directory, moment)
    if there is not None and there.run not in (run, breaks):
        return there
    since = there.since if there is not None and there.run == run else moment
    text = json.dumps({"run": run, "since": since, "until": moment + SECONDS})
    path = _path(kind, name, directory)
    # In the folder of the locks, which root alone can write and which the caller's lock has made.
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(path + ".new", path)
    return None


def drop(kind: str, name: str, run: str, directory: str = _lock.DIRECTORY) -> None:
    """Give a claim back; that of another run stays."""
    there = read(kind, name, directory)
    if there is None or there.run == run:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(kind, name, directory))


def _path(kind: str, name: str, directory: str) -> str:
    return os.path.join(directory, _lock.file_name(kind, name)[: -len("lock")] + "lease")
