# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what a run wants: which files, of which commit, and which of its sources says so."""

from __future__ import annotations

import dataclasses
import typing as t

from ._candidates import Candidate
from ._files import HubError, HubUnavailable, Selection, check_entries, check_revision, digest_of, given_entries
from ._kinds import KINDS
from ._manifest import Origin
from ._plan import Target
from ._source import MissingProgram, Resolution
from ._store import ModelStore


class Unlisted(MissingProgram):
    """In check mode, the files of a commit cannot be told."""

    def __init__(self, candidate: Candidate, resolution: Resolution, reason: HubError) -> None:
        super().__init__(str(reason))
        self.candidate = candidate
        self.resolution = resolution


class Finder:
    """Asks the store and the sources of one run."""

    def __init__(
        self,
        store: ModelStore,
        candidates: t.Sequence[Candidate],
        selection: Selection,
        *,
        check: bool,
        require_hub: bool,
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._selection = selection
        self._check = check
        self._require_hub = require_hub
        # Why the hub could not be asked, when the run goes on with what is on the host.
        self.unchecked: HubUnavailable | None = None

    def find(self) -> tuple[Candidate, Target]:
        """Return the first candidate that says what is wanted: at once from what is on the host, else by asking."""
        for candidate in self._candidates:
            pinned = candidate.pin()
            known = pinned and self._known(candidate, pinned)
            if known:
                return candidate, known
        reasons = []
        for candidate in self._candidates:
            asked = self._ask(candidate)
            if isinstance(asked, Target):
                return candidate, asked
            reasons.append(asked)
        for candidate, reason in zip(self._candidates, reasons):
            held = isinstance(reason, HubUnavailable) and self._held(candidate)
            if held:
                self.unchecked = t.cast(HubUnavailable, reason)
                return candidate, held
        if len(reasons) == 1 or isinstance(reasons[0], Unlisted):
            raise reasons[0]
        raise HubError("no source has it: " + "; then ".join(map(str, reasons)))

    def told(self, listed: t.Mapping[str, t.Any]) -> tuple[Candidate, Target]:
        """Return the target as another host of this run was told it, and the candidate that said so."""
        where = f"listed, {self._store.repo}"
        entries = tuple(check_entries(given_entries(listed["files"]), where))
        if digest_of(entries) != listed["digest"]:
            raise HubError(f"{where}: the files are not those of the release {listed['digest']!r}")
        said = (listed["source"], listed["endpoint"])
        candidate = next((one for one in self._candidates if (one.source.name, one.endpoint) == said), None)
        if candidate is None:
            raise HubError(f"{where}: {said[0]} at {said[1]} is none of the sources of this host")
        resolution = Resolution(check_revision(listed["revision"]) or "", listed["commit"])
        origin = self._origin(candidate, resolution)
        return candidate, Target(resolution, origin, listed["digest"], entries, alias=_alias(candidate, origin))

    def _held(self, candidate: Candidate) -> Target | None:
        """Return the target, when a release on the host was what is asked for when its hub answered last."""
        if self._require_hub:
            return None
        found = self._store.last_known(self._origin(candidate, Resolution(candidate.revision or "", None)))
        if found is None or found[0].manifest is None:
            return None
        release, origin = found
        resolution = Resolution(candidate.revision or origin.revision, origin.commit)
        return Target(resolution, origin, release.digest, tuple(found[0].manifest.entries))

    def _ask(self, candidate: Candidate) -> Target | HubError:
        """Return what a candidate says is wanted, or why it does not say so."""
        try:
            resolution = candidate.resolve()
            return self._known(candidate, resolution) or self._listed(candidate, resolution)
        except HubError as error:
            return error

    def _origin(self, candidate: Candidate, resolution: Resolution) -> Origin:
        return Origin(
            source=candidate.source.name,
            # Where something lay that is no hub says nothing later.
            endpoint=candidate.endpoint if KINDS[candidate.source.name].endpoint else "",
            repo=candidate.repo,
            revision=resolution.revision,
            commit=resolution.commit,
            include=self._selection.include,
            exclude=self._selection.exclude,
        )

    def _known(self, candidate: Candidate, resolution: Resolution) -> Target | None:
        """Return the target, when a release on the host is known to be what the resolution means."""
        origin = self._origin(candidate, resolution)
        known = self._store.find(origin)
        if known is None or known.manifest is None:
            return None
        return Target(resolution, origin, known.digest, tuple(known.manifest.entries), alias=_alias(candidate, origin))

    def _listed(self, candidate: Candidate, resolution: Resolution) -> Target:
        """Return the target, by the list of files that the candidate gives."""
        where = candidate.where(resolution)
        try:
            listed = candidate.source.entries(resolution, self._selection)
        except MissingProgram as error:
            if self._check:
                raise Unlisted(candidate, resolution, error) from error
            raise
        # What is not wanted may be odd; it is chosen first and looked at then.
        entries = tuple(check_entries(self._selection.of(listed, where) if listed else listed, where))
        digest = digest_of(entries)
        origin = self._origin(candidate, resolution)
        known_as = candidate.source.known_as(digest)
        return Target(resolution, origin, digest, entries, known_as, _alias(candidate, origin))


def _alias(candidate: Candidate, origin: Origin) -> Origin | None:
    """Return the default branch under the name that is known before its source is asked, if it has another by then."""
    name = KINDS[candidate.source.name].default_revision
    if candidate.revision is not None or not name or name == origin.revision:
        return None
    return dataclasses.replace(origin, revision=name)
