# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every source of models can do: resolve a revision, list its files, fetch some of them."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time
import typing as t

from . import _files
from ._files import (
    EVERYTHING,
    Entry,
    HubError,
    Selection,
    is_commit,
)
from ._manifest import Origin

# Seconds that fetching may take as a whole. Stalled connections end much earlier; this only ends what nobody waits for.
FETCH_LIMIT = 7 * 24 * 3600

# All sources that can go on with half a file use this name, and so does the ModelScope SDK, so each of them goes on
# with what another has left.
PART = _files.PART


class Throttle:
    """Holds threads back so that all of them together move no more than so many bytes a second; 0 is no limit."""

    def __init__(
        self,
        rate: int,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def __call__(self, count: int) -> None:
        """Wait until so many bytes more may have come."""
        if not self.rate or count <= 0:
            return
        with self._lock:
            now = self._clock()
            # Time in which nothing came is lost, so that a pause is not made up for by a burst.
            self._free_at = max(self._free_at, now) + count / self.rate
            pause = self._free_at - now
        self._sleep(pause)


@dataclasses.dataclass(frozen=True)
class Access:
    """How to reach a hub."""

    endpoint: str
    repo: str
    token: str | None
    timeout: int
    retries: int
    workers: int
    ca_path: str | None
    throttle: Throttle = dataclasses.field(default_factory=lambda: Throttle(0))
    # How often a request for a list or a revision is made before the hub counts as one that does not answer.
    attempts: int = 4


@dataclasses.dataclass(frozen=True)
class Resolution:
    """What a revision is right now. ``commit`` is None where the hub does not tell."""

    revision: str
    commit: str | None


class FetchError(HubError):
    """Fetching ended early, after so many bytes; ``passing`` says that the reason may be gone by the next attempt."""

    def __init__(self, text: str, passing: bool, fetched: int = 0) -> None:
        super().__init__(text)
        self.passing = passing
        self.fetched = fetched


class MissingProgram(HubError):
    """This host lacks a program that the source needs."""


class Source(t.Protocol):
    """A place that models come from."""

    name: str
    # Whether ``fetch`` compares every file with its SHA-256 as it arrives. If not, it is read again afterwards.
    verifies: bool

    def pin(self, revision: str | None) -> Resolution | None:
        """Return the resolution of a revision that needs no request: a full commit id."""

    def resolve(self, revision: str | None) -> Resolution:
        """Ask what a revision is."""

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Return the files of a revision; a source may leave out those that are not wanted."""

    def prepare(self) -> None:
        """Make sure that ``fetch`` has what it needs; may start the module again in place of returning."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files into a folder; ``seen`` is told of bytes as they come. Returns how many came from the hub."""

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Return the content of a small file; None where the source does not tell it before the others come."""

    def known_as(self, digest: str) -> tuple[Origin, ...]:
        """Return where the release came from before it came to this source, as far as that is known."""


class Hub:
    """What all sources have in common that know their files by commits."""

    def pin(self, revision: str | None) -> Resolution | None:
        """Return a full commit id as its own resolution; None for other revisions."""
        return Resolution(revision, revision) if revision and is_commit(revision) else None

    def known_as(self, digest: str) -> tuple[Origin, ...]:
        """Return nothing: a hub is where a release came from."""
        return ()


def absent_from(folder: str, entries: t.Sequence[Entry]) -> list[Entry]:
    """Return the entries that are not yet there as a whole, as far as can be told without reading."""

    return [entry for entry in entries if size_of(os.path.join(folder, entry.path), none=-1) != entry.size]


def size_of(path: str, none: int = 0) -> int:
    """Return the size of a file in bytes; ``none`` when there is no file."""
    try:
        return os.path.getsize(path)
    except OSError:
        return none


def is_full_disk(error: BaseException) -> bool:
    """Say whether a failure is the want of space."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
