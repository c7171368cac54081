# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of what a bundle holds. The same content is the same bytes, so that their SHA-256 names the bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

from .._hub._files import Entry, HubError, check_entries, unsafe_because

VERSION = 1
KINDS = ("collections", "image", "model", "packages", "wheels")

# The list of a bundle with ten thousand files has about 2 MB.
INDEX_LIMIT = 256 * 1024 * 1024


class BundleError(ValueError):
    """Something about a bundle is not as it must be; the text says what and what to do."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing in a bundle: an image, a model, the packages of a platform."""

    kind: str
    name: str
    files: tuple[Entry, ...]
    about: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Return the bytes of its files, as they are outside of a bundle."""
        return sum(file.size for file in self.files)

    @property
    def described(self) -> dict[str, str]:
        """Return what is known of it besides its files."""
        return dict(self.about)

    def below(self, folder: str) -> list[Entry]:
        """Return the files in one of its folders, by their paths in there."""
        inside = (file for file in self.files if file.path.startswith(f"{folder}/"))
        return [dataclasses.replace(file, path=file.path[len(folder) + 1 :]) for file in inside]


@dataclasses.dataclass(frozen=True)
class Index:
    """All that a bundle holds."""

    items: tuple[Item, ...]

    def item(self, kind: str, name: str) -> Item | None:
        """Return one thing of it; None when the bundle lacks it."""
        return next((item for item in self.items if (item.kind, item.name) == (kind, name)), None)

    def blobs(self) -> dict[str, int]:
        """Return the SHA-256 of each blob, with its size."""
        return {file.sha256: file.size for item in self.items for file in item.files}

    def to_bytes(self) -> bytes:
        """Return the text of the file, in the one form that it has."""
        items = [
            {
                "kind": item.kind,
                "name": item.name,
                "about": dict(item.about),
                "files": [dataclasses.asdict(file) for file in sorted(item.files, key=lambda file: file.path)],
            }
            for item in sorted(self.items, key=lambda item: (item.kind, item.name))
        ]
        return (json.dumps({"version": VERSION, "items": items}, indent=1, sort_keys=True) + "\n").encode("ascii")

    @property
    def root(self) -> str:
        """Return the hash that names the bundle."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, text: bytes, where: str) -> Index:
        """Read the file; raise BundleError when it is not one, or names what must not be written below a folder."""
        try:
            document = json.loads(text.decode("utf-8"))
            if document["version"] != VERSION:
                raise BundleError(
                    f"{where} has version {document['version']!r}, and this collection knows {VERSION}; "
                    "use the collection that is in the bundle"
                )
            items = tuple(_item(raw, where) for raw in document["items"])
        except BundleError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise BundleError(
                f"{where} is not the index of a bundle ({type(error).__name__}: {error}); copy it again or make the "
                "bundle anew"
            ) from error
        index = cls(items)
        names = [(item.kind, item.name) for item in items]
        if len(set(names)) != len(names):
            raise BundleError(f"{where} names something twice; make the bundle anew")
        if index.to_bytes() != text:
            raise BundleError(f"{where} is not written as a bundle's index is; copy it again or make the bundle anew")
        return index


def _item(raw: t.Mapping[str, t.Any], where: str) -> Item:
    kind, name = str(raw["kind"]), str(raw["name"])
    if kind not in KINDS or not name.isprintable() or not name:
        raise BundleError(f"{where} names {kind!r} {name!r}, which this collection does not know")
    # Things are laid out as folders of their names.
    if unsafe_because(name):
        raise BundleError(
            f"{where} names {kind} {name!r}, which is refused because {unsafe_because(name)}; take it only from "
            "somebody you trust, or make the bundle anew"
        )
    files = tuple(Entry(str(one["path"]), int(one["size"]), str(one["sha256"])) for one in raw["files"])
    try:
        checked = tuple(check_entries(files, f"{where}, {kind} {name},"))
    except HubError as error:
        raise BundleError(str(error)) from error
    about = tuple(sorted((str(key), str(value)) for key, value in raw["about"].items()))
    return Item(kind, name, checked, about)


def check_sha256(text: str) -> str:
    """Return the text when it is a SHA-256 in small hexadecimal digits; else raise."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise BundleError(f"{text!r} is not a SHA-256")
    return text
