# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out a plan: put files together in the staging folder, verify every one, publish them at once."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

from ._files import Entry, HubError, total_size
from ._hashing import hash_files
from ._manifest import Stamp
from ._plan import Plan, Target
from ._source import (
    PART,
    FetchError,
    Resolution,
    absent_from,
    size_of,
)
from ._store import (
    ModelStore,
    left_over,
    partial_size,
    put_in_place,
    refuse_links,
    sync,
    write_manifest,
)
from ._weights import problem_of

Report = t.Callable[[str, t.Optional[int], t.Optional[int]], None]


class Meter:
    """Counts bytes that several threads tell of, and reports the sum."""

    def __init__(self, text: str, total: int, report: Report, done: int = 0) -> None:
        self._text = text
        self._total = total
        self._report = report
        self._done = done
        self(0)

    def __call__(self, count: int) -> None:
        self._done += count
        self._report(self._text, max(0, min(self._done, self._total)), self._total)


class Supplier(t.Protocol):
    """Whatever brings files into a folder."""

    @property
    def verifies(self) -> bool:
        """Say whether it compares every file with its SHA-256 as it arrives."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files; returns the bytes that came."""


def _no_warning(text: str) -> None:
    """Say nothing."""


def apply_plan(
    store: ModelStore,
    source: Supplier,
    target: Target,
    plan: Plan,
    report: Report,
    warn: t.Callable[[str], None] = _no_warning,
) -> int:
    """Do what the plan says, under the lock of the model's folder. Returns the bytes that came from the hub.

    ``warn`` is told of what failed once the release was in use: the run has done what it was for.
    """
    store.take_over(plan.open_to_others)
    store.sweep()
    downloaded = 0
    if plan.broken or not plan.published:
        downloaded = _supply(store, source, target, plan, report)
        report("publishing", None, None)
        with store.links_changing():
            if plan.published:
                _repair(store, target, plan.broken)
            else:
                store.publish(target.digest, target.origin, target.entries)
    with _courtesy("noting what the release is known to be", warn):
        if plan.published and (plan.restamp or plan.broken):
            _restamp(store, target)
        _note_origin(store, target)
    if plan.switch:
        store.switch(target.digest)
    for digest in plan.prune:
        release = store.release(digest)
        if release:
            with _courtesy(f"removing release {digest[:12]}", warn):
                store.remove_release(release)
    with _courtesy(f"clearing {store.staging_root}", warn):
        store.clear_staging()
    return downloaded


@contextlib.contextmanager
def _courtesy(what: str, warn: t.Callable[[str], None]) -> t.Iterator[None]:
    """Let a failure be a warning: what is asked for is there without this, and the next run does it again."""
    try:
        yield
    except OSError as error:
        warn(f"{what} failed: {error}; the next run tries it again")


def needed_bytes(store: ModelStore, target: Target, missing: t.Sequence[Entry], copied: t.Sequence[Entry] = ()) -> int:
    """Return the space that fetching and copying take, less what an interrupted run has taken already."""
    staging = store.staging_path(target.digest)
    parts = sum(size_of(os.path.join(staging, entry.path + PART)) for entry in missing)
    return max(0, total_size(missing) - parts) + total_size(copied)


def _supply(store: ModelStore, source: Supplier, target: Target, plan: Plan, report: Report) -> int:
    """Have every entry in the staging folder, verified; return the bytes fetched. What this host has is not fetched."""
    staging, entries = store.staging_path(target.digest), plan.broken
    for folder in (staging, store.release_path(target.digest)):
        refuse_links(folder, store.path, [entry.path for entry in entries])
    store.make_staging(target.digest)
    store.check_free_space(needed_bytes(store, target, (), plan.copied))
    sound = _sound(staging, entries, report)
    donors = store.donors({os.path.join(store.release_path(target.digest), entry.path) for entry in entries})
    folders = [folder for folder in store.leftovers() if folder != staging]
    names = store.names()
    with store.links_changing():
        for entry in entries:
            own = [store.release_path(target.digest)] if entry.path in plan.foreign else []
            donor = donors.get((entry.sha256, entry.size)) or left_over([*own, *folders], entry)
            if entry not in sound and donor:
                names.take(donor, os.path.join(staging, entry.path))
    sound |= _sound(staging, [entry for entry in entries if entry not in sound], report)
    missing = [entry for entry in entries if entry not in sound]
    if not missing:
        return 0
    store.check_free_space(needed_bytes(store, target, missing))
    with Flusher(staging):
        downloaded = _fetch(store, source, target, missing, report)
    arrived = _whole(staging, missing) if source.verifies else _sound(staging, missing, report)
    broken = {entry.path for entry in missing} - {entry.path for entry in arrived}
    if broken:
        raise HubError(
            f"{', '.join(sorted(broken))} of {store.repo} came from {target.origin.endpoint} with other contents than "
            "its list of files says, and was thrown away; nothing was published. Run again, or use another endpoint"
        )
    return downloaded


def _fetch(store: ModelStore, source: Supplier, target: Target, missing: t.Sequence[Entry], report: Report) -> int:
    """Fetch files into the staging folder; after a failure that may pass, go on as long as each attempt brings more."""
    fetched = 0
    while True:
        before = partial_size(store.staging_root)
        ended = _attempt(store, source, target, missing, report)
        if not isinstance(ended, FetchError):
            return fetched + ended
        if not ended.passing or partial_size(store.staging_root) <= before:
            raise ended
        fetched += ended.fetched


def _attempt(
    store: ModelStore, source: Supplier, target: Target, missing: t.Sequence[Entry], report: Report
) -> int | FetchError:
    staging = store.staging_path(target.digest)
    wanted = absent_from(staging, missing)
    total = total_size(missing)
    meter = Meter(f"downloading {store.repo}", total, report, total - total_size(wanted))
    try:
        return source.fetch(target.resolution, wanted, staging, meter)
    except FetchError as error:
        return error


class Flusher:
    """Writes files through to the disk while others still come, so that publishing need not wait for all of them."""

    INTERVAL = 0.5  # seconds between two looks

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._flushed: set[tuple[str, int]] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flusher:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self.INTERVAL):
            for where, _folders, names in os.walk(self._folder):
                for name in names:
                    path = os.path.join(where, name)
                    # Whatever is wrong with a file now, publishing will tell.
                    with contextlib.suppress(OSError):
                        key = (path, os.stat(path).st_ino)
                        if not name.endswith(PART) and key not in self._flushed and not self._done.is_set():
                            sync(path)
                            self._flushed.add(key)


def _whole(folder: str, entries: t.Sequence[Entry]) -> set[Entry]:
    """Return the entries that are there, were hashed as they arrived, and can be what their names say."""
    whole = set()
    for entry in entries:
        path = os.path.join(folder, entry.path)
        stamp = Stamp.of(path)
        if stamp and stamp.size == entry.size:
            _refuse_unservable(path, entry)
            whole.add(entry)
    return whole


def _refuse_unservable(path: str, entry: Entry) -> None:
    problem = problem_of(path)
    if problem:
        raise HubError(
            f"{entry.path} is as its hub has it, but cannot be served: {problem}. Nothing was published; "
            "choose another revision, or leave the file out with exclude"
        )


def _sound(folder: str, entries: t.Sequence[Entry], report: Report) -> set[Entry]:
    """Return the entries whose files in the folder have the right content; remove other files of these names."""
    present = {}
    for entry in entries:
        path = os.path.join(folder, entry.path)
        stamp = Stamp.of(path)
        if stamp and stamp.size == entry.size:
            present[path] = entry
        elif os.path.lexists(path):
            os.unlink(path)
    hashes = hash_files(list(present), Meter("verifying", total_size(present.values()), report))
    sound = set()
    for path, entry in present.items():
        if hashes[path] != entry.sha256:
            os.unlink(path)
            continue
        _refuse_unservable(path, entry)
        sound.add(entry)
    return sound


def _repair(store: ModelStore, target: Target, broken: t.Sequence[Entry]) -> None:
    for entry in broken:
        put_in_place(
            os.path.join(store.staging_path(target.digest), entry.path),
            os.path.join(store.release_path(target.digest), entry.path),
        )


def _restamp(store: ModelStore, target: Target) -> None:
    """Note how the files of a release look, now that all of them are known to be sound."""
    release = store.release(target.digest)
    if release is None or release.manifest is None:
        return
    stamps = {entry.path: Stamp.of(os.path.join(release.path, entry.path)) for entry in release.manifest.entries}
    write_manifest(release.path, release.manifest.with_stamps({p: s for p, s in stamps.items() if s}))


def _note_origin(store: ModelStore, target: Target) -> None:
    """Remember that this release is also what this origin means, so that it is found next time without a list."""
    release = store.release(target.digest)
    if release is None or release.manifest is None:
        return
    manifest = release.manifest
    for origin in (*target.known_as, *reversed(target.claims)):
        manifest = manifest.with_origin(origin)
    if manifest != release.manifest:
        write_manifest(release.path, manifest)
    for path, changed in store.outdated(target.digest, target.claims).items():
        write_manifest(path, changed)
