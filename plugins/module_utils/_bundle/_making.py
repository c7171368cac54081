# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make a bundle: say what goes in and how large it is, bring what is not there, write the index at the end."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import typing as t

from .._hub._files import MANIFEST_NAME, Entry
from .._hub._manifest import Manifest, Stamp
from .._replace import read_file
from . import _place
from ._architecture import named
from ._folder import BLOBS, Folder, Seen, entries_of
from ._index import INDEX_LIMIT, BundleError, Index, Item
from ._registry import Found, Reference, Registry

# Where the files of a model are in its item, and the manifest that they belong to.
FILES = "files"
MANIFEST = "manifest.json"

Bring = t.Callable[[Folder, t.Container[str], Seen], None]


@dataclasses.dataclass(frozen=True)
class Part:
    """A thing that goes into a bundle, and the function that brings its blobs, except those that are elsewhere."""

    item: Item
    bring: Bring


def image_part(name: str, source: str, plain: bool, architecture: str) -> Part:
    """Return an image for an architecture as its registry has it now."""
    registry = Registry(Reference.parse(source), plain)
    found = registry.find(named(name, architecture), architecture)

    def bring(folder: Folder, elsewhere: t.Container[str], seen: Seen) -> None:
        files = tuple(file for file in found.item.files if file.sha256 not in elsewhere)
        texts = tuple((entry, text) for entry, text in found.texts if entry.sha256 not in elsewhere)
        registry.fetch(Found(dataclasses.replace(found.item, files=files), texts), folder, seen)

    return Part(found.item, bring)


def folder_part(kind: str, name: str, path: str) -> Part:
    """Return all files of a folder."""
    entries = entries_of(path)
    if not entries:
        raise BundleError(f"{path} holds no files for {kind} {name}")
    return Part(
        Item(kind, name, tuple(entries)), _copying({entry: os.path.join(path, entry.path) for entry in entries})
    )


def model_part(name: str, path: str) -> Part:
    """Return a release of a model, by the sums of its manifest."""
    try:
        content = read_file(os.path.join(path, MANIFEST_NAME), INDEX_LIMIT)
        if content is None:
            raise BundleError(f"it has no {MANIFEST_NAME}")
        manifest = Manifest.from_json(content.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not a release that model_snapshot keeps: {error}") from error
    # The same release is the same bytes in every bundle, wherever and whenever it was fetched.
    plain = dataclasses.replace(
        manifest, published=0.0, files=tuple((entry, Stamp(entry.size, 0, 0, 0)) for entry in manifest.entries)
    )
    text = plain.to_json().encode("utf-8")
    own = _entry_of(text)
    files = {dataclasses.replace(e, path=f"{FILES}/{e.path}"): os.path.join(path, e.path) for e in manifest.entries}
    copy = _copying(files)

    def bring(folder: Folder, elsewhere: t.Container[str], seen: Seen) -> None:
        if own.sha256 not in elsewhere:
            folder.add_bytes(text, own.sha256)
        copy(folder, elsewhere, seen)

    return Part(Item("model", name, (own, *files), (("digest", manifest.digest),)), bring)


def _entry_of(text: bytes) -> Entry:
    return Entry(MANIFEST, len(text), hashlib.sha256(text).hexdigest())


def _copying(sources: t.Mapping[Entry, str]) -> Bring:
    def bring(folder: Folder, elsewhere: t.Container[str], seen: Seen) -> None:
        for entry, path in sources.items():
            if entry.sha256 not in elsewhere:
                folder.add_file(path, entry.size, entry.sha256, seen)

    return bring


@dataclasses.dataclass(frozen=True)
class Made:
    """What a bundle is, or would be."""

    index: Index
    # Blobs that belong into this folder, with their sizes; those of an earlier bundle do not.
    own: t.Mapping[str, int]
    # Those of them that are still to come.
    missing: t.Mapping[str, int]
    changed: bool


def plan(parts: t.Sequence[Part], folder: Folder, earlier: Index | None) -> Made:
    """Return what the bundle would be, and what is still to come."""
    index = Index(tuple(part.item for part in parts))
    there = earlier.blobs() if earlier else {}
    own = {sha256: size for sha256, size in index.blobs().items() if sha256 not in there}
    missing = {sha256: size for sha256, size in own.items() if not folder.has(sha256, size)}
    try:
        same = folder.read_index().root == index.root
    except BundleError:
        same = False
    return Made(index, own, missing, bool(missing) or not same)


def earlier_index(folder: Folder, since: str) -> Index:
    """Return the index of an earlier bundle; BundleError where that is the folder itself, which would lose blobs."""
    if os.path.realpath(since) == os.path.realpath(folder.path):
        raise BundleError(
            f"since names {since}, where the bundle itself is made; name the folder of an earlier bundle, or another "
            "one for the new (fleet_bundle, fleet_bundle_since)"
        )
    return Folder(since).read_index()


def make(parts: t.Sequence[Part], folder: Folder, earlier: Index | None, seen: Seen) -> Made:
    """Bring the blobs, and write the index when all of them are there."""
    made = plan(parts, folder, earlier)
    if made.changed:
        _place.check_room(folder.path, folder.to_come(made.missing))
        os.makedirs(os.path.join(folder.path, BLOBS), exist_ok=True)
        elsewhere = set(earlier.blobs()) if earlier else set()
        for part in parts:
            part.bring(folder, elsewhere, seen)
        folder.write_index(made.index)
    folder.prune(made.own)
    return made


def lay_out(folder: Folder, index: Index, kind: str, links: str) -> dict[str, str]:
    """Lay out each thing of a kind as a folder of links to its blobs, and return the folders by their names.

    A model looks like a release then: what reads archives of models reads these as well.
    """
    layout = {}
    for item in index.items:
        if item.kind != kind:
            continue
        place = os.path.join(links, index.root, kind, item.name)
        wanted = {entry.path: entry.sha256 for entry in item.files}
        if kind == "model":
            wanted = {**{entry.path: entry.sha256 for entry in item.below(FILES)}, MANIFEST_NAME: wanted[MANIFEST]}
        for path, sha256 in wanted.items():
            _place.link(os.path.abspath(folder.blob(sha256)), os.path.join(place, path))
        layout[item.name] = place
    return layout


def link_files(folder: Folder, index: Index, kind: str) -> None:
    """Give the files of a kind their own names in the bundle, for those who have nothing yet that reads its index."""
    place = os.path.join(folder.path, kind)
    wanted = {entry.path: entry.sha256 for item in index.items if item.kind == kind for entry in item.files}
    if wanted:
        os.makedirs(place, mode=0o755, exist_ok=True)
    for path, sha256 in wanted.items():
        link = os.path.join(place, path)
        _place.link(os.path.relpath(folder.blob(sha256), os.path.dirname(link)), link)
    for name in os.listdir(place) if os.path.isdir(place) else []:
        there = os.path.join(place, name)
        if name not in wanted and (os.path.islink(there) or os.path.isfile(there)):
            os.unlink(there)
