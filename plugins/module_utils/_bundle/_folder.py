# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle on a disk: blobs named by their SHA-256, the index, and what was verified of them before."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import typing as t

from .._hub._arriving import BLOCK, ArrivingFile, WrongContent
from .._hub._files import Entry
from .._hub._hashing import hash_files, sha256_of
from .._hub._manifest import Stamp
from .._hub._source import PART, size_of
from .._regular import regular
from .._replace import ReplaceError, read_file
from ._index import INDEX_LIMIT, BundleError, Index, check_sha256

INDEX = "index.json"
SIGNATURE = "index.json.sig"
_WHOLE = "a bundle is a folder that playbooks/bundle.yml made, copied as a whole"
_READABLE = "whoever runs Ansible must be able to read all of the bundle"
BLOBS = os.path.join("blobs", "sha256")

Seen = t.Callable[[int], None]


def unseen(count: int) -> None:
    """Take no note of bytes."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a look at the blobs of a bundle found, each list in the order of their names."""

    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    extra: tuple[str, ...]
    read: int

    @property
    def whole(self) -> bool:
        """Say whether every blob is there and right."""
        return not self.missing and not self.wrong


class Folder:
    """The folder of a bundle."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.index_path = os.path.join(path, INDEX)
        self.signature_path = os.path.join(path, SIGNATURE)
        self._blobs = os.path.join(path, BLOBS)

    def read_index(self) -> Index:
        """Return the index; BundleError when there is none or it cannot be used."""
        return Index.from_bytes(self.index_bytes(), self.index_path)

    def index_bytes(self) -> bytes:
        """Return the bytes of the index; BundleError when there is none or it is no file."""
        try:
            text = read_file(self.index_path, INDEX_LIMIT)
        except (OSError, ReplaceError) as error:
            closed = isinstance(error.__cause__, PermissionError)
            raise BundleError(f"{error}; {_READABLE if closed else _WHOLE}") from error
        if text is None:
            raise BundleError(f"{self.index_path} cannot be read: {os.strerror(errno.ENOENT)}; {_WHOLE}")
        return text

    def blob(self, sha256: str) -> str:
        """Return the path of a blob."""
        return os.path.join(self._blobs, check_sha256(sha256))

    def has(self, sha256: str, size: int) -> bool:
        """Say whether a blob is there with its size; what was written here has been compared with its SHA-256."""
        return size_of(self.blob(sha256), none=-1) == size

    def to_come(self, missing: t.Mapping[str, int]) -> int:
        """Return the bytes of missing blobs less those that an interrupted run has left, which are gone on with."""
        return sum(max(0, size - size_of(self.blob(sha256) + PART)) for sha256, size in missing.items())

    def arriving(self, sha256: str, size: int, seen: Seen = unseen) -> ArrivingFile:
        """Return the blob as it arrives; it goes on where an interrupted run ended."""
        return ArrivingFile(self._blobs, Entry(check_sha256(sha256), size, sha256), seen)

    def add_file(self, path: str, size: int, sha256: str, seen: Seen = unseen) -> None:
        """Copy a file that must have this size and SHA-256, unless the blob is there."""
        if self.has(sha256, size):
            seen(size)
            return
        with open(path, "rb", buffering=0, opener=regular) as source, self.arriving(sha256, size, seen) as blob:
            source.seek(blob.tell())
            seen(blob.tell())
            while True:
                block = source.read(BLOCK)
                if not block:
                    break
                blob.write(block)
            try:
                blob.finish()
            except WrongContent as error:
                blob.discard()
                raise BundleError(f"{path} changed while it was copied: {error}; run again") from error

    def add_bytes(self, content: bytes, sha256: str) -> None:
        """Write a small blob."""
        if not self.has(sha256, len(content)):
            with self.arriving(sha256, len(content)) as blob:
                blob.seek(0)
                blob.truncate()
                blob.write(content)
                blob.finish()

    def write_index(self, index: Index) -> None:
        """Write the index in one step."""
        temporary = self.index_path + PART
        with open(temporary, "wb") as stream:
            stream.write(index.to_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.index_path)

    def prune(self, keep: t.Container[str]) -> None:
        """Remove blobs, and parts of blobs, that are not to be kept."""
        for name in self._names():
            if name not in keep:
                os.unlink(os.path.join(self._blobs, name))

    def check(self, index: Index, known: Known | None = None, seen: Seen = unseen) -> Checked:
        """Compare every blob with its name, all processors at work; blobs that are known are not read."""
        blobs, names = index.blobs(), set(self._names())
        there = sorted(sha256 for sha256 in blobs if sha256 in names)
        short = {sha256 for sha256 in there if not self.has(sha256, blobs[sha256])}
        stamps = {sha256: Stamp.of(self.blob(sha256)) for sha256 in there}
        reading = [s for s in there if s not in short and (known is None or not known.holds(s, stamps[s]))]
        sums = hash_files([self.blob(sha256) for sha256 in reading], seen)
        wrong = short | {sha256 for sha256 in reading if sums[self.blob(sha256)] != sha256}
        if known is not None:
            known.replace({sha256: stamp for sha256, stamp in stamps.items() if stamp and sha256 not in wrong})
        return Checked(
            tuple(sorted(set(blobs) - names)),
            tuple(sorted(wrong)),
            tuple(sorted(names - set(blobs))),
            sum(blobs[sha256] for sha256 in reading),
        )

    def _names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(os.listdir(self._blobs))
        return []


class Known:
    """Which blobs were read and found right, and how they looked then; kept in a file outside of the bundle.

    A copied file has another inode and another ctime, so nothing of a bundle from elsewhere counts as known.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamps: dict[str, list[int]] = {}
        # A record that cannot be read is as good as none: every blob is hashed again.
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            self._stamps = dict(json.loads(read_file(path, INDEX_LIMIT) or b"{}").items())

    def holds(self, sha256: str, stamp: Stamp | None) -> bool:
        """Say whether a blob looks as it did when it was right."""
        return stamp is not None and self._stamps.get(sha256) == list(dataclasses.astuple(stamp))

    def replace(self, stamps: t.Mapping[str, Stamp]) -> None:
        """Write down which blobs are right."""
        self._stamps = {sha256: list(dataclasses.astuple(stamp)) for sha256, stamp in stamps.items()}
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        temporary = f"{self._path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(self._stamps, stream)
        os.replace(temporary, self._path)


def entries_of(folder: str) -> list[Entry]:
    """Return every plain file below a folder with its size and SHA-256, links left out; all processors hash."""
    paths = [
        os.path.join(parent, name)
        for parent, _folders, names in os.walk(folder)
        for name in names
        if os.path.isfile(os.path.join(parent, name)) and not os.path.islink(os.path.join(parent, name))
    ]
    sums = hash_files(paths)
    found = (Entry(os.path.relpath(path, folder), os.path.getsize(path), sums[path]) for path in paths)
    return sorted(found, key=lambda entry: entry.path)


def entry_of(path: str, name: str) -> Entry:
    """Return a file under a name, with its size and SHA-256."""
    return Entry(name, os.path.getsize(path), sha256_of(path))
