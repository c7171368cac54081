# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done to a model's folder, decided before anything is done."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .. import _units
from ._files import Entry, total_size
from ._hashing import hash_files
from ._manifest import Origin
from ._source import Resolution
from ._store import ModelStore, left_over, stale_files

Seen = t.Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Target:
    """What was asked for: files of a resolved revision, and the digest that names them."""

    resolution: Resolution
    origin: Origin
    digest: str
    entries: tuple[Entry, ...]
    # Other origins that are known to be the same files.
    known_as: tuple[Origin, ...] = ()
    # Another name under which the source has this revision now.
    alias: Origin | None = None

    @property
    def claims(self) -> tuple[Origin, ...]:
        """Return the origins that the source answers with this release; no other release may claim them any more."""
        return (self.origin, self.alias) if self.alias else (self.origin,)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What has to be done."""

    # A release of that digest is there; only its broken files need work.
    published: bool
    # Files that the release lacks, or that are not what they were.
    broken: tuple[Entry, ...]
    # Of those, the ones that are nowhere on this host.
    missing: tuple[Entry, ...]
    # Sound files that look other than they did, so that the manifest needs their stamps.
    restamp: bool
    # The link names another release, or nothing.
    switch: bool
    # Releases that nobody needs any more.
    prune: tuple[str, ...]
    # Releases that would be removed if nothing had mounted them.
    held: tuple[str, ...]
    # The manifest does not say yet that the release is what was asked for, or something was left in the staging folder.
    untidy: bool = False
    # Files on this host that are copied, because somebody else could change them through a link.
    copied: tuple[Entry, ...] = ()
    # Of the broken ones, files of the release that somebody else can change.
    foreign: tuple[str, ...] = ()
    # Folders that somebody else can write.
    open_to_others: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Say whether anything that a user can see has to be done."""
        return bool(self.broken or self.switch or self.prune or self.open_to_others or not self.published)

    @property
    def settled(self) -> bool:
        """Say whether nothing at all has to be done, not even what nobody sees."""
        return not (self.changes or self.restamp or self.untidy)

    def actions(self, target: Target) -> list[str]:
        """Describe for a person what has to be done."""
        short = target.digest[:12]
        found = [f"let root alone write {path}" for path in self.open_to_others]
        if self.missing:
            found.append(f"download {_count(self.missing)}")
        reused = len(self.broken) - len(self.missing)
        if reused:
            found.append(f"take {reused} {'file' if reused == 1 else 'files'} from what is on this host")
        if not self.published:
            found.append(f"publish release {short}")
        elif self.broken:
            found.append(f"repair {_count(self.broken)} of release {short}")
        if self.switch:
            found.append(f"let current name release {short}")
        found.extend(f"remove release {digest[:12]}" for digest in self.prune)
        return found


def _count(entries: t.Sequence[Entry]) -> str:
    return f"{len(entries)} {'file' if len(entries) == 1 else 'files'}, {_units.size(total_size(entries))}"


def surplus(
    digests: t.Sequence[str], target: str, keep: int, in_use: t.Callable[[], t.Container[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the releases to remove, and those kept only because they are in use; ``digests`` has the newest first."""
    candidates = [digest for digest in digests if digest != target][keep:]
    used: t.Container[str] = in_use() if candidates else ()
    return tuple(d for d in candidates if d not in used), tuple(d for d in candidates if d in used)


def make_plan(
    store: ModelStore, target: Target, full: bool, keep: int, in_use: t.Callable[[], t.Container[str]], seen: Seen
) -> Plan:
    """Look at the disk and decide. Reads doubtful files, changes nothing."""
    release = store.release(target.digest)
    manifest = release.manifest if release else None
    restamp = False
    foreign: tuple[str, ...] = ()
    if release is None or manifest is None:
        broken = list(target.entries)
    else:
        stale = stale_files(release, full, store.owners_count)
        foreign = stale.foreign
        by_path = {entry.path: entry for entry in manifest.entries}
        paths = {os.path.join(release.path, path): path for path in stale.doubtful}
        hashes = hash_files(list(paths), seen)
        bad = {path for place, path in paths.items() if hashes[place] != by_path[path].sha256} | {
            *stale.missing,
            *foreign,
        }
        broken = [entry for entry in manifest.entries if entry.path in bad]
        restamp = bool(broken) or _stamps_differ(store, target.digest)
    missing, copied = _sources_of(store, target.digest, broken, foreign)
    prune, held = surplus([r.digest for r in store.releases()], target.digest, keep, in_use)
    return Plan(
        published=manifest is not None,
        broken=tuple(broken),
        missing=tuple(missing),
        restamp=restamp,
        switch=store.current() != target.digest,
        prune=prune,
        held=held,
        untidy=os.path.isdir(store.staging_root)
        or (manifest is not None and not {*target.claims, *target.known_as} <= set(manifest.origins))
        or bool(store.outdated(target.digest, target.claims)),
        copied=tuple(copied),
        foreign=foreign,
        open_to_others=tuple(store.open_to_others()),
    )


def _stamps_differ(store: ModelStore, digest: str) -> bool:
    release = store.release(digest)
    return release is not None and bool(stale_files(release, full=False).doubtful)


def _sources_of(
    store: ModelStore, digest: str, entries: t.Sequence[Entry], foreign: t.Container[str]
) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that must be fetched, and those that a copy on this host supplies, as told without reading."""
    if not entries:
        return [], []
    donors = store.donors({os.path.join(store.release_path(digest), entry.path) for entry in entries})
    names, leftovers = store.names(), store.leftovers()
    missing, copied = [], []
    for entry in entries:
        folders = [store.release_path(digest), *leftovers] if entry.path in foreign else leftovers
        place = donors.get((entry.sha256, entry.size)) or left_over(folders, entry)
        if place is None:
            missing.append(entry)
        elif not names.can_link(place):
            copied.append(entry)
    return missing, copied
