# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several sources of one model: the next one is tried when one fails, and goes on with what is there."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ._files import (
    Entry,
    HubError,
    Selection,
    check_entries,
)
from ._source import (
    FetchError,
    Resolution,
    Source,
    absent_from,
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A source that may have the model, and what to ask it for."""

    source: Source
    endpoint: str
    repo: str
    revision: str | None

    def pin(self) -> Resolution | None:
        """Return the resolution of what is asked for, when that needs no request."""
        return self.source.pin(self.revision)

    def resolve(self) -> Resolution:
        """Return the resolution of what is asked for, with a request when it needs one."""
        return self.pin() or self.source.resolve(self.revision)

    def where(self, resolution: Resolution) -> str:
        """Name the place for a person."""
        return f"{self.repo} at {self.endpoint}, revision {resolution.revision}"


class Nearer(t.Protocol):
    """Whoever brings the very files of a list from nearby, or says why not."""

    @property
    def verifies(self) -> bool:
        """Say whether it compares every file with its SHA-256 as it arrives."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files; returns the bytes that came."""


class Fetcher:
    """Fetches from the candidate whose list of files is to be had, and what that one cannot bring from the others.

    Where there is something nearer than all of them, that is asked first.

    A file is its size and SHA-256, wherever it comes from; another candidate is asked only for files that it lists so.
    """

    def __init__(
        self,
        chosen: Candidate,
        candidates: t.Sequence[Candidate],
        selection: Selection,
        nearer: Nearer | None = None,
    ) -> None:
        self._chosen = chosen
        self._nearer = nearer
        self._others = [candidate for candidate in candidates if candidate is not chosen]
        self._selection = selection
        self._used: list[Source | Nearer] = []
        # Bytes that came from sources, and not from hosts nearby, and the seconds that they took.
        self.line_bytes = 0
        self.line_seconds = 0.0

    @property
    def verifies(self) -> bool:
        """Say whether all files were compared with their SHA-256 as they arrived."""
        return all(source.verifies for source in self._used)

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files into a folder. Returns how many bytes came; raises FetchError when some did not come at all."""
        fetched, passing, reasons = 0, False, []
        if self._nearer is not None:
            self._used.append(self._nearer)
            try:
                fetched = self._nearer.fetch(resolution, entries, folder, seen)
            except FetchError as error:
                fetched = error.fetched
                reasons.append(str(error))
        for candidate in (self._chosen, *self._others):
            if not absent_from(folder, entries):
                return fetched
            wanted = absent_from(folder, entries)
            try:
                if candidate is not self._chosen:
                    resolution = candidate.resolve()
                    wanted = self._shared(candidate, resolution, wanted)
                if wanted:
                    self._used.append(candidate.source)
                    fetched += self._measured(candidate.source, resolution, wanted, folder, seen)
            except FetchError as error:
                fetched, passing = fetched + error.fetched, passing or error.passing
                reasons.append(str(error))
            except HubError as error:
                reasons.append(str(error))
        if not absent_from(folder, entries):
            return fetched
        if not reasons:
            raise HubError(f"{self._chosen.where(resolution)} did not bring all files, without saying why")
        raise FetchError("; then ".join(reasons), passing, fetched)

    def _measured(
        self,
        source: Source,
        resolution: Resolution,
        entries: t.Sequence[Entry],
        folder: str,
        seen: t.Callable[[int], None],
    ) -> int:
        """Fetch files from a source; an archive is beside the host, and says nothing of the line."""
        began, came = time.monotonic(), 0
        try:
            came = source.fetch(resolution, entries, folder, seen)
            return came
        except FetchError as error:
            came = error.fetched
            raise
        finally:
            if came and source.name != "archive":
                self.line_bytes += came
                self.line_seconds += time.monotonic() - began

    def _shared(self, candidate: Candidate, resolution: Resolution, wanted: t.Sequence[Entry]) -> list[Entry]:
        where = candidate.where(resolution)
        listed = set(check_entries(candidate.source.entries(resolution, self._selection), where))
        shared = [entry for entry in wanted if entry in listed]
        if not shared:
            raise HubError(f"{where} has other contents in the files that are missing")
        return shared
