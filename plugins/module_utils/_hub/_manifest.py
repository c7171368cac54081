# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record beside a release: its files, how they looked on disk when they were verified, where they came from."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import typing as t

from ._files import Entry, HubError, check_entries

VERSION = 1

# One release may be what many commits mean, when they differ in files that were not asked for.
ORIGINS_KEPT = 50


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a release came from: what was asked for, and what that was at the time."""

    source: str
    endpoint: str
    repo: str
    revision: str
    commit: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def same_content(self, other: Origin) -> bool:
        """Say whether both must be the same files: one selection from one commit, whatever mirror served it."""
        return self.commit is not None and (
            (self.source, self.repo, self.commit, self.include, self.exclude)
            == (other.source, other.repo, other.commit, other.include, other.exclude)
        )

    def same_question(self, other: Origin) -> bool:
        """Say whether both are answers to the same question, asked of the same hub or mirror."""
        return dataclasses.replace(self, commit=None) == dataclasses.replace(other, commit=None)


@dataclasses.dataclass(frozen=True)
class Stamp:
    """How a file looks without reading it. A change of content changes the ctime, which no tool can set back."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Stamp | None:
        """Return the stamp of a regular file; None when there is none."""
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a manifest file."""

    digest: str
    published: float
    origins: tuple[Origin, ...]
    files: tuple[tuple[Entry, Stamp], ...]

    @property
    def entries(self) -> list[Entry]:
        """Return the files without their stamps."""
        return [entry for entry, _stamp in self.files]

    def with_origin(self, origin: Origin) -> Manifest:
        """Return the same release with this origin among those that it is known to be."""
        if origin in self.origins:
            return self
        return dataclasses.replace(self, origins=(*self.origins[1 - ORIGINS_KEPT :], origin))

    def without_claim(self, origin: Origin) -> Manifest:
        """Return the same release, said to be only the commit that it was, no longer the revision of an origin.

        A branch moves, and a release that was its head before must not be taken for it when the hub cannot be asked.
        """
        origins = []
        for known in self.origins:
            if known.revision == known.commit or not known.same_question(origin) or known.commit == origin.commit:
                origins.append(known)
            elif known.commit is not None:
                origins.append(dataclasses.replace(known, revision=known.commit))
        return dataclasses.replace(self, origins=tuple(dict.fromkeys(origins)))

    def with_stamps(self, stamps: t.Mapping[str, Stamp]) -> Manifest:
        """Return the same release with other stamps for some of its files, by path."""
        return dataclasses.replace(
            self, files=tuple((entry, stamps.get(entry.path, stamp)) for entry, stamp in self.files)
        )

    def to_json(self) -> str:
        """Return the manifest as the text of its file."""
        document = {
            "version": VERSION,
            "digest": self.digest,
            "published": self.published,
            "origins": [dataclasses.asdict(origin) for origin in self.origins],
            "files": [{**dataclasses.asdict(entry), **dataclasses.asdict(stamp)} for entry, stamp in self.files],
        }
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read the text of the file; raises HubError when it is not one."""
        try:
            document = json.loads(text)
            if document["version"] != VERSION:
                raise HubError(f"the manifest has version {document['version']}, this collection knows {VERSION}")
            files = tuple(
                (
                    Entry(str(item["path"]), int(item["size"]), str(item["sha256"])),
                    Stamp(int(item["size"]), int(item["mtime_ns"]), int(item["ctime_ns"]), int(item["inode"])),
                )
                for item in document["files"]
            )
            origins = tuple(
                Origin(
                    source=str(item["source"]),
                    endpoint=str(item["endpoint"]),
                    repo=str(item["repo"]),
                    revision=str(item["revision"]),
                    commit=None if item["commit"] is None else str(item["commit"]),
                    include=tuple(str(pattern) for pattern in item["include"]),
                    exclude=tuple(str(pattern) for pattern in item["exclude"]),
                )
                for item in document["origins"]
            )
            manifest = cls(str(document["digest"]), float(document["published"]), origins, files)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise HubError(f"the manifest cannot be read: {error}") from error
        check_entries(manifest.entries, "the manifest")
        return manifest
