# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup: one compressed tar file whose last member is a manifest with the SHA-256 sum of every other one.

data/...               the data folder
config/...             files of secrets, one level deep
database.dump          a dump by PostgreSQL's own tool, where the database is not a file of the data folder
manifest.json
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import posixpath
import re
import tarfile
import typing as t
import zlib

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._data import DataError

FORMAT = 1
MANIFEST = "manifest.json"
DATA = "data"
CONFIG = "config"
DUMP = "database.dump"

# Text compresses well at once; what people upload is mostly compressed already.
_LEVEL = 3
_BLOCK = 1 << 20
_NAME = re.compile(r"open-webui-(?P<when>\d{8}T\d{6}Z)(-[0-9A-Za-z.]+)?\.tar\.gz")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A member as the manifest describes it."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a backup says about itself."""

    created: str
    host: str
    webui_version: str
    database: str
    schema: str
    entries: t.Mapping[str, Entry]

    @classmethod
    def parse(cls, text: bytes, where: str) -> Manifest:
        """Read a manifest; one of another make is refused."""
        try:
            raw = json.loads(text.decode())
            number = raw.pop("format")
            if number != FORMAT:
                raise DataError(f"{where} is a backup of format {number}; this collection reads format {FORMAT}")
            entries = {name: Entry(**about) for name, about in raw.pop("entries").items()}
            return cls(entries=entries, **raw)
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{where} is no backup of Open WebUI: its manifest cannot be read") from error

    def serialize(self) -> bytes:
        """The text of the manifest."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode()


class _Hashing:
    """A file that remembers the sum of what was read from it."""

    def __init__(self, handle: t.BinaryIO) -> None:
        self._handle = handle
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._handle.read(size)
        self.digest.update(data)
        return data


class Writer:
    """Writes a backup, member by member."""

    def __init__(self, path: str) -> None:
        self._stack = contextlib.ExitStack()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._handle = self._stack.enter_context(os.fdopen(descriptor, "wb"))
        self._tar = self._stack.enter_context(
            tarfile.open(fileobj=self._handle, mode="w:gz", compresslevel=_LEVEL)  # noqa: SIM115  # the stack closes it
        )
        self.entries: dict[str, Entry] = {}

    def add(self, name: str, source: str) -> None:
        """Add a file, a folder or a link; one that is gone by now was removed while the backup was made."""
        try:
            about = os.stat(source, follow_symlinks=False)
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid = about.st_mode & 0o7777, about.st_uid, about.st_gid
            info.mtime = int(about.st_mtime)
            entry = Entry("file", info.mode, info.uid, info.gid, int(info.mtime))
            if os.path.islink(source):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(source)
                self._tar.addfile(info)
                entry = dataclasses.replace(entry, kind="link", target=info.linkname)
            elif os.path.isdir(source):
                info.type = tarfile.DIRTYPE
                self._tar.addfile(info)
                entry = dataclasses.replace(entry, kind="folder")
            else:
                with open(source, "rb") as handle:
                    # What a log grows by from here on is left out.
                    info.size = os.fstat(handle.fileno()).st_size
                    reader = _Hashing(handle)
                    self._tar.addfile(info, t.cast("t.IO[bytes]", reader))
                entry = dataclasses.replace(entry, size=info.size, sha256=reader.digest.hexdigest())
        except FileNotFoundError:
            return
        self.entries[name] = entry

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, and see to it that all is on the disk."""
        text = manifest.serialize()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(text), 0o600
        self._tar.addfile(info, io.BytesIO(text))
        self._tar.close()
        self._handle.flush()
        os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._stack.close()


def _checked_name(name: str, where: str) -> str:
    inside = name == DUMP or name.startswith((DATA + "/", CONFIG + "/"))
    if not inside or posixpath.normpath(name) != name or name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"{where} holds {name!r}, which no backup of Open WebUI holds; nothing was restored")
    return name


def _checked_link(name: str, target: str, where: str) -> str:
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if target.startswith("/") or aim.split("/", 1)[0] != name.split("/", 1)[0]:
        raise DataError(f"{where} holds {name!r}, a link that leads out of the data; nothing was restored")
    return target


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> t.IO[bytes]:
    return t.cast("t.IO[bytes]", tar.extractfile(member))


def _unpack(source: t.IO[bytes], target: str | None) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(target or os.devnull, "wb") as copy:
        while True:
            block = source.read(_BLOCK)
            if not block:
                return size, digest.hexdigest()
            digest.update(block)
            copy.write(block)
            size += len(block)


def _read(path: str, target: str | None) -> tuple[Manifest, dict[str, tuple[str, int, str]]]:
    """Read an archive to its end; unpack its files and folders into a folder where one is given."""
    seen: dict[str, tuple[str, int, str]] = {}
    manifest: Manifest | None = None
    with tarfile.open(path, "r|gz") as tar:
        for member in tar:
            if manifest:
                raise DataError(f"{path} goes on after its manifest; nothing was restored")
            if member.name == MANIFEST and member.isreg():
                manifest = Manifest.parse(_content(tar, member).read(), path)
                continue
            name = _checked_name(member.name, path)
            place = os.path.join(target, name) if target else None
            if place:
                os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            if member.isdir():
                seen[name] = ("folder", 0, "")
                if place:
                    os.makedirs(place, mode=0o700, exist_ok=True)
            elif member.issym():
                # Made after everything else, so that nothing is ever written through one.
                seen[name] = ("link", 0, _checked_link(name, member.linkname, path))
            elif member.isreg():
                size, digest = _unpack(_content(tar, member), place)
                seen[name] = ("file", size, digest)
            else:
                raise DataError(f"{path} holds {name!r}, which is neither file nor folder; nothing was restored")
    if manifest is None:
        raise DataError(f"{path} is cut off: it has no manifest at its end; nothing was restored")
    return manifest, seen


def _finish_tree(target: str, manifest: Manifest) -> None:
    """Make the links, then give everything its owner and its mode, folders after what is in them."""
    for name, entry in sorted(manifest.entries.items(), reverse=True):
        place = os.path.join(target, name)
        if entry.kind == "link":
            os.symlink(entry.target, place)
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
            continue
        os.chown(place, entry.uid, entry.gid)
        os.chmod(place, entry.mode)
        os.utime(place, (entry.mtime, entry.mtime))


def check(path: str, target: str | None = None) -> Manifest:
    """Hold every byte of a backup against its manifest, and unpack it where a folder is given."""
    try:
        manifest, seen = _read(path, target)
    except FileNotFoundError as error:
        raise DataError(f"there is no backup {error.filename}") from error
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{path} is damaged: {error or 'it ends too early'}; nothing was restored") from error
    except OSError as error:
        if error.filename or error.errno:
            raise
        raise DataError(f"{path} is damaged: {error}; nothing was restored") from error
    stated = {
        name: (entry.kind, entry.size, entry.target if entry.kind == "link" else entry.sha256)
        for name, entry in manifest.entries.items()
    }
    if seen != stated:
        wrong = sorted(name for name in seen.keys() | stated.keys() if seen.get(name) != stated.get(name))
        raise DataError(f"{path} is damaged: {', '.join(wrong[:3])} is not as its manifest says; nothing was restored")
    if target:
        _finish_tree(target, manifest)
    return manifest


def name_for(when: str, label: str = "") -> str:
    """The file name of a backup; names sort by time."""
    return f"open-webui-{when}{'-' + label if label else ''}.tar.gz"


def surplus(names: t.Iterable[str], keep: int) -> list[str]:
    """The backups that are too many, oldest first; other files are nobody's business. C(0) keeps all."""
    found = sorted(name for name in names if _NAME.fullmatch(name))
    return found[: max(0, len(found) - keep)] if keep else []
