# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models from an archive: a release as a folder or tar file, with the manifest that says what must be in it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import typing as t

from .._regular import regular
from ._arriving import BLOCK, ArrivingFile, WrongContent
from ._files import (
    EVERYTHING,
    MANIFEST_NAME,
    Entry,
    HubError,
    Selection,
    digest_of,
)
from ._manifest import Manifest, Origin
from ._source import FetchError, Resolution, is_full_disk
from ._store import Release, sync

# A manifest is a list of names and sums; one of ten thousand files has about 4 MB.
MANIFEST_LIMIT = 256 * 1024 * 1024


class Archive:
    """A release that was exported, or copied, to a place on this host."""

    name = "archive"
    verifies = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._manifest: Manifest | None = None

    def pin(self, revision: str | None) -> Resolution | None:
        """Return None: only the manifest tells what is in an archive."""
        return None

    def resolve(self, revision: str | None) -> Resolution:
        """Return the revision that the archive holds; raise when another one is asked for."""
        manifest = self._read_manifest()
        for origin in manifest.origins:
            if revision in (None, origin.revision, origin.commit, manifest.digest):
                return Resolution(revision or origin.revision, origin.commit)
        if revision in (None, manifest.digest):
            return Resolution(revision or manifest.digest, None)
        known = sorted({o.revision for o in manifest.origins} | {o.commit for o in manifest.origins if o.commit})
        raise HubError(f"the archive {self._path} does not hold revision {revision!r} but {', '.join(known)}")

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Return the files of the archive."""
        return self._read_manifest().entries

    def known_as(self, digest: str) -> tuple[Origin, ...]:
        """Return where the release came from before it was put into the archive, when it is taken as a whole."""
        manifest = self._read_manifest()
        return manifest.origins if manifest.digest == digest else ()

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Return None: to read one file of a tar file may be to read all of it."""
        return None

    def prepare(self) -> None:
        """Do nothing: an archive needs only Python."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Copy files out of the archive, each compared with its SHA-256."""
        return sum(entry.size for entry in self._copied(entries, folder, seen))

    def files(self, entries: t.Sequence[Entry], folder: str) -> t.Iterator[tuple[Entry, str]]:
        """Copy files out one by one, compared with their SHA-256; each is gone again when the next one comes."""
        for entry in self._copied(entries, folder, lambda count: None):
            path = os.path.join(folder, entry.path)
            yield entry, path
            os.unlink(path)

    def _copied(self, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]) -> t.Iterator[Entry]:
        """Copy files out, and say which one is there."""
        # Whoever asks may have the entries from elsewhere. Only those of the manifest are known to stay in the folder.
        listed = set(self._read_manifest().entries)
        strange = sorted(entry.path for entry in entries if entry not in listed)
        if strange:
            raise HubError(f"the archive {self._path} does not list {strange[0]!r} as it is wanted; nothing was copied")
        wanted = {entry.path: entry for entry in entries}
        copied = 0
        try:
            with contextlib.closing(self._members()) as members:
                for path, stream in members:
                    if path in wanted:
                        entry = wanted.pop(path)
                        _copy(stream, entry, folder, seen)
                        copied += entry.size
                        yield entry
                    if not wanted:
                        break
        except WrongContent as error:
            raise FetchError(f"the archive {self._path} is damaged: {error}", False, copied) from error
        except (OSError, EOFError, tarfile.TarError) as error:
            what = "no space is left" if is_full_disk(error) else str(error)
            raise FetchError(f"the archive {self._path} could not be read to its end: {what}", False, copied) from error
        if wanted:
            raise FetchError(f"the archive {self._path} lacks {', '.join(sorted(wanted))}", False, copied)

    def _read_manifest(self) -> Manifest:
        if self._manifest is None:
            text = self.manifest_text()
            try:
                manifest = Manifest.from_json(text)
            except HubError as error:
                raise HubError(f"the archive {self._path} cannot be used: {error}") from error
            if digest_of(manifest.entries) != manifest.digest:
                raise HubError(f"the archive {self._path} cannot be used: its manifest was changed")
            self._manifest = manifest
        return self._manifest

    def manifest_text(self) -> str:
        """Return the manifest as it is in the archive."""
        try:
            with contextlib.closing(self._members()) as members:
                for path, stream in members:
                    if path == MANIFEST_NAME:
                        return stream.read(MANIFEST_LIMIT).decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError) as error:
            raise HubError(f"the archive {self._path} cannot be read: {error}") from error
        raise HubError(
            f"{self._path} holds no {MANIFEST_NAME}; an archive is a release as model_snapshot keeps or exports it"
        )

    def _members(self) -> t.Generator[tuple[str, t.IO[bytes]], None, None]:
        """Yield the plain files of the archive by their paths, in the order in which they can be read."""
        if os.path.isdir(self._path):
            names = [MANIFEST_NAME]
            if self._manifest:
                names += [entry.path for entry in self._manifest.entries]
            for name in names:
                path = os.path.join(self._path, name)
                if os.path.isfile(path):
                    with open(path, "rb", buffering=0, opener=regular) as stream:
                        yield name, stream
            return
        if os.path.exists(self._path) and not os.path.isfile(self._path):
            raise HubError(f"the archive {self._path} is neither a file nor a folder")
        with tarfile.open(self._path, "r:*") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name[2:] if member.name.startswith("./") else member.name, content


def _copy(stream: t.IO[bytes], entry: Entry, folder: str, seen: t.Callable[[int], None]) -> None:
    with ArrivingFile(folder, entry, seen) as file:
        file.seek(0)
        file.truncate()
        while True:
            block = stream.read(BLOCK)
            if not block:
                break
            file.write(block)
        file.finish()


def exported_digest(path: str) -> str | None:
    """Return the digest of the release in an exported tar file; None when the file is missing or of another kind."""
    try:
        return Archive(path)._read_manifest().digest
    except HubError:
        return None


def export(release: Release, path: str, seen: t.Callable[[int], None]) -> None:
    """Write a release into a tar file in one step, its manifest first; each file is compared with its SHA-256."""
    if release.manifest is None:
        raise HubError(f"{release.path} has no manifest, so it cannot be exported")
    temporary = f"{path}.{os.getpid()}{os.extsep}part"
    try:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            text = release.manifest.to_json().encode("utf-8")
            tar.addfile(_member(MANIFEST_NAME, len(text), release.manifest.published), io.BytesIO(text))
            for entry in release.manifest.entries:
                with open(os.path.join(release.path, entry.path), "rb", opener=regular) as stream:
                    hashed = _Hashed(stream, seen)
                    member = _member(entry.path, entry.size, release.manifest.published)
                    tar.addfile(member, t.cast(t.IO[bytes], hashed))
                if hashed.hexdigest() != entry.sha256:
                    raise HubError(f"{entry.path} in {release.path} is damaged; repair it with verify: full")
        sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise HubError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(os.path.dirname(path))


class _Hashed:
    """A file that hashes what is read from it."""

    def __init__(self, stream: t.IO[bytes], seen: t.Callable[[int], None]) -> None:
        self._stream = stream
        self._seen = seen
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        self._seen(len(block))
        return block

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _member(name: str, size: int, when: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(when), 0o644
    return member
