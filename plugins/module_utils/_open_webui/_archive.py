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
import errno
import hashlib
import io
import json
import os
import posixpath
import re
import stat
import tarfile
import typing as t
import zlib

from .. import _units
from .._regular import regular
from . import _tree

DataError = _tree.DataError

FORMAT = 1
MANIFEST = "manifest.json"
DATA = "data"
CONFIG = "config"
DUMP = "database.dump"

# Text compresses well at once; what people upload is mostly compressed already.
_LEVEL = 3
_BLOCK = 1 << 20
# Names are written as UTF-8 whatever the locale of the host is, and names that are none come back as they were.
_TEXT: t.Any = {"encoding": "utf-8", "errors": "surrogateescape"}

# What no backup comes near, and what a crafted one could fill the memory with.
_MANIFEST_LIMIT = 256 << 20
_HEADER_LIMIT = 1 << 20
_MOST_MEMBERS = 1_000_000
_LARGEST = 1 << 50
_MOST_LINKS = 40
_KINDS = ("file", "folder", "link")
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
            entries = {name: _entry(name, about) for name, about in raw.pop("entries").items()}
            for name in entries:
                _refuse_odd_parent(name, entries)
            if not all(isinstance(value, str) for value in raw.values()):
                raise TypeError("a text of the manifest is not a text")
            return cls(entries=entries, **raw)
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{where} is not a backup of Open WebUI: its manifest cannot be read: {error}") from error

    def serialize(self) -> bytes:
        """Return the text of the manifest."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode()


def _entry(name: str, about: t.Mapping[str, t.Any]) -> Entry:
    """Read what a manifest says about a member; ValueError or TypeError for anything that no backup says."""
    entry = Entry(**about)
    numbers = (entry.mode, entry.uid, entry.gid, entry.mtime, entry.size)
    if any(not isinstance(number, int) or isinstance(number, bool) for number in numbers) or entry.kind not in _KINDS:
        raise TypeError(f"{name!r} is described by something else than kinds and numbers")
    if not 0 <= entry.mode <= 0o7777 or not 0 <= entry.size <= _LARGEST or abs(entry.mtime) > _LARGEST:
        raise ValueError(f"{name!r} has a mode, a size or a time that nothing has")
    if not isinstance(entry.sha256, str) or not isinstance(entry.target, str):
        raise TypeError(f"{name!r} has a sum or a target that is not a text")
    return entry


def _refuse_odd_parent(name: str, entries: t.Mapping[str, Entry]) -> None:
    parent = posixpath.dirname(name)
    while parent:
        above = entries.get(parent)
        if above is not None and above.kind != "folder":
            raise ValueError(f"{name!r} lies in {parent!r}, which is not a folder")
        parent = posixpath.dirname(parent)


class _Header(tarfile.TarInfo):
    """A header of a member; one that announces a name too long for the memory is refused before it is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and header.size > _HEADER_LIMIT:
            raise DataError("a header in it is larger than any of a backup; nothing was restored")
        return header


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
            tarfile.open(fileobj=self._handle, mode="w:gz", compresslevel=_LEVEL, **_TEXT)  # noqa: SIM115  # the stack closes it
        )
        self.entries: dict[str, Entry] = {}

    def add(self, name: str, root: int, path: str) -> None:
        """Add a file, a folder or a link below a folder that is open.

        What is gone by now, or is something else than it was, changed while the backup was made, and is left out.
        """
        try:
            with _tree.opened_parent(root, path) as (folder, last):
                self._add(name, folder, last)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL):
                raise

    def _add(self, name: str, folder: int, last: str) -> None:
        about = os.stat(last, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(about.st_mode):
            info = self._info(name, about)
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(last, dir_fd=folder)
            self._tar.addfile(info)
            self._remember(name, "link", info, target=info.linkname)
        elif stat.S_ISDIR(about.st_mode):
            info = self._info(name, about)
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
            self._remember(name, "folder", info)
        else:
            with _tree.opened_file(folder, last) as handle:
                about = os.fstat(handle.fileno())
                info = self._info(name, about)
                # What a log grows by from here on is left out.
                info.size = about.st_size
                reader = _Hashing(handle)
                self._tar.addfile(info, t.cast("t.IO[bytes]", reader))
            self._remember(name, "file", info, sha256=reader.digest.hexdigest())

    @staticmethod
    def _info(name: str, about: os.stat_result) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode, info.uid, info.gid = _tree.limited_mode(about.st_mode), about.st_uid, about.st_gid
        info.mtime = int(about.st_mtime)
        return info

    def _remember(self, name: str, kind: str, info: tarfile.TarInfo, **more: str) -> None:
        self.entries[name] = Entry(kind, info.mode, info.uid, info.gid, int(info.mtime), info.size, **more)

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


def leads_out(name: str, links: t.Mapping[str, str]) -> bool:
    """Return whether a link of a data folder leads out of it, also through other links; paths begin with the folder."""
    top = name.split("/", 1)[0]
    done: list[str] = [top]
    waiting = name.split("/")[1:]
    followed = 0
    while waiting:
        part = waiting.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if len(done) == 1:
                return True
            done.pop()
            continue
        target = links.get("/".join([*done, part]))
        if target is None:
            done.append(part)
            continue
        followed += 1
        if target.startswith("/") or followed > _MOST_LINKS:
            return True
        waiting = target.split("/") + waiting
    return False


def _checked_name(name: str, where: str) -> str:
    inside = name == DUMP or name.startswith((DATA + "/", CONFIG + "/"))
    if not inside or posixpath.normpath(name) != name or name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"{where} holds {name!r}, which no backup of Open WebUI holds; nothing was restored")
    return name


def _refuse_odd_members(seen: t.Mapping[str, tuple[str, int, str]], where: str) -> None:
    links = {name: target for name, (kind, _size, target) in seen.items() if kind == "link"}
    for name in links:
        if leads_out(name, links):
            raise DataError(f"{where} holds {name!r}, a link that leads out of the data; nothing was restored")
    for name, (kind, _size, _sum) in seen.items():
        secret = name.startswith(CONFIG + "/")
        if (secret or name == DUMP) and (kind != "file" or name.count("/") > 1 or name.startswith(CONFIG + "/.")):
            raise DataError(f"{where} holds {name!r}, which no backup of Open WebUI holds; nothing was restored")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> t.IO[bytes]:
    return t.cast("t.IO[bytes]", tar.extractfile(member))


def _unpack(source: t.IO[bytes], target: str | None) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.devnull, "wb") if target is None else os.fdopen(os.open(target, flags, 0o600), "wb") as copy:
        while True:
            block = source.read(_BLOCK)
            if not block:
                return size, digest.hexdigest()
            digest.update(block)
            copy.write(block)
            size += len(block)


class Reader:
    """A backup that is open, so that what is unpacked is what was checked."""

    def __init__(self, handle: t.BinaryIO, path: str) -> None:
        self._handle, self._path = handle, path

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: str) -> t.Iterator[Reader]:
        """Open a backup."""
        try:
            handle = open(path, "rb", opener=regular)  # noqa: SIM115  # the with statement below closes it
        except FileNotFoundError as error:
            raise DataError(f"there is no backup {path}") from error
        with handle:
            yield cls(handle, path)

    def check(self, room: int | None = None) -> Manifest:
        """Hold every byte against the manifest and write nothing; with ``room``, refuse what needs more bytes."""
        manifest, seen = self._read(None, room)
        stated = {
            name: (entry.kind, entry.size, entry.target if entry.kind == "link" else entry.sha256)
            for name, entry in manifest.entries.items()
        }
        if seen != stated:
            wrong = sorted(name for name in seen.keys() | stated.keys() if seen.get(name) != stated.get(name))
            raise DataError(
                f"{self._path} is damaged: {', '.join(wrong[:3])} is not as its manifest says; nothing was restored"
            )
        _refuse_odd_members(seen, self._path)
        return manifest

    def unpack(self, target: str, manifest: Manifest, owner: tuple[int, int]) -> None:
        """Unpack what was checked into a new folder that nobody else reaches, with one owner for everything."""
        _again, seen = self._read(target, None)
        if {name: size for name, (_kind, size, _sum) in seen.items()} != {
            name: entry.size for name, entry in manifest.entries.items()
        }:
            raise DataError(f"{self._path} changed while it was unpacked; nothing was restored")
        _finish_tree(target, manifest, owner)

    def _read(self, target: str | None, room: int | None) -> tuple[Manifest, dict[str, tuple[str, int, str]]]:
        self._handle.seek(0)
        try:
            with tarfile.open(fileobj=self._handle, mode="r|gz", tarinfo=_Header, **_TEXT) as tar:
                return self._members(tar, target, room)
        except (tarfile.TarError, zlib.error, EOFError) as error:
            raise DataError(f"{self._path} is damaged: {error or 'it ends too early'}; nothing was restored") from error
        except OSError as error:
            if error.filename or error.errno:
                raise
            raise DataError(f"{self._path} is damaged: {error}; nothing was restored") from error

    def _members(
        self, tar: tarfile.TarFile, target: str | None, room: int | None
    ) -> tuple[Manifest, dict[str, tuple[str, int, str]]]:
        path = self._path
        seen: dict[str, tuple[str, int, str]] = {}
        manifest: Manifest | None = None
        total = 0
        for member in tar:
            if manifest:
                raise DataError(f"{path} goes on after its manifest; nothing was restored")
            if member.name == MANIFEST and member.isreg():
                if member.size > _MANIFEST_LIMIT:
                    raise DataError(f"{path} has a manifest of {member.size} bytes, too large to be one")
                manifest = Manifest.parse(_content(tar, member).read(_MANIFEST_LIMIT), path)
                continue
            name = _checked_name(member.name, path)
            if name in seen or len(seen) == _MOST_MEMBERS or member.issparse():
                raise DataError(f"{path} holds {name!r} twice, or too much; nothing was restored")
            total += member.size
            if room is not None and total > room:
                raise DataError(
                    f"{path} unpacks to more than the {_units.size(room)} that are free for it; nothing was restored"
                )
            seen[name] = self._member(tar, member, os.path.join(target, name) if target else None)
            # The list of a tar file that is only read once is of no use, and grows.
            tar.members = []  # type: ignore[attr-defined]  # an attribute that typeshed has not
        if manifest is None:
            raise DataError(f"{path} is cut off: it has no manifest at its end; nothing was restored")
        return manifest, seen

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, place: str | None) -> tuple[str, int, str]:
        if place:
            # Links are made after everything else, so that nothing is ever written through one.
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        if member.isdir():
            if place:
                os.makedirs(place, mode=0o700, exist_ok=True)
            return ("folder", 0, "")
        if member.issym():
            return ("link", 0, member.linkname)
        if not member.isreg():
            raise DataError(
                f"{self._path} holds {member.name!r}, which is neither file nor folder; nothing was restored"
            )
        size, digest = _unpack(_content(tar, member), place)
        return ("file", size, digest)


def _finish_tree(target: str, manifest: Manifest, owner: tuple[int, int]) -> None:
    """Make the links, then give everything its owner and its mode, folders after what is in them.

    No entry lies below a link, and nothing below the target can be changed by anybody else.
    """
    for name, entry in sorted(manifest.entries.items(), reverse=True):
        place = os.path.join(target, name)
        if entry.kind == "link":
            os.symlink(entry.target, place)
            os.chown(place, *owner, follow_symlinks=False)
            continue
        os.chown(place, *owner, follow_symlinks=False)
        os.chmod(place, 0o600 if name.startswith(CONFIG + "/") else _tree.limited_mode(entry.mode))
        os.utime(place, (entry.mtime, entry.mtime), follow_symlinks=False)


def check(path: str) -> Manifest:
    """Hold every byte of a backup against its manifest."""
    with Reader.opened(path) as reader:
        return reader.check()


def name_for(when: str, label: str = "") -> str:
    """Return the file name of a backup; names sort by time."""
    return f"open-webui-{when}{'-' + label if label else ''}.tar.gz"


def surplus(names: t.Iterable[str], made: str, keep: int) -> list[str]:
    """Return the backups that are too many beside the one just made, oldest first; leave other files alone.

    A backup with a later time in its name was made while the clock was ahead, so it is older. C(0) keeps all.
    """
    others = [name for name in names if _NAME.fullmatch(name) and name != made]
    others.sort(key=lambda name: (name < made, name))
    return others[: max(0, len(others) + 1 - keep)] if keep else []
