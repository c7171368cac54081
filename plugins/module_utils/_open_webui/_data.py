# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data folder of an Open WebUI: what is in it, and how to copy it while the server writes to it.

SQLite keeps the latest changes in a second file beside the database, so a database is copied through SQLite itself.
A vector index is several files that belong together; they are copied again when they changed meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sqlite3
import stat
import time
import typing as t

DATABASE = "webui.db"

# What only grows, a file at a time: neither an upgrade nor a migration writes into what is there already.
FILES_OF_USERS = ("uploads", "cache")

# Folders of this collection inside the data folder; never part of the data.
WORK = ".private_llm"

# Kept by SQLite beside a database that is open; a copy made through SQLite needs none of them.
SIDECARS = ("-wal", "-shm", "-journal")

_MAGIC = b"SQLite format 3\x00"
_BUSY_SECONDS = 60.0
_ATTEMPTS = 5
_PAUSE_SECONDS = 2.0


class DataError(ValueError):
    """Data, an archive or a database is not as it must be; the text says what and what to do."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Something in a data folder, by its path below it."""

    path: str
    kind: str
    mtime_ns: int = 0
    size: int = 0

    @property
    def is_of_users(self) -> bool:
        """Whether it is below a folder that only grows."""
        return self.path.split("/", 1)[0] in FILES_OF_USERS


def is_sqlite(path: str) -> bool:
    """Whether a file is a SQLite database."""
    with open(path, "rb") as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def _kind(root: str, path: str, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if not stat.S_ISREG(mode):
        return ""
    # What people upload is theirs, byte for byte, whatever it is.
    if path.split("/", 1)[0] not in FILES_OF_USERS and is_sqlite(os.path.join(root, path)):
        return "sqlite"
    return "file"


def _walk(root: str, below: str) -> t.Iterator[Found]:
    for entry in sorted(os.scandir(os.path.join(root, below)), key=lambda one: one.name):
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.name == WORK and not below:
            continue
        try:
            about = entry.stat(follow_symlinks=False)
            kind = _kind(root, path, about.st_mode)
        except FileNotFoundError:
            continue
        if kind:
            yield Found(path, kind, about.st_mtime_ns, about.st_size)
        if kind == "folder":
            yield from _walk(root, path)


def listing(root: str) -> list[Found]:
    """What belongs to the data: folders before what is in them; sockets and SQLite's own side files are left out."""
    found = list(_walk(root, ""))
    databases = {one.path for one in found if one.kind == "sqlite"}
    sidecars = {path + suffix for path in databases for suffix in SIDECARS}
    return [one for one in found if one.path not in sidecars]


def _open(path: str, query: str) -> sqlite3.Connection:
    return sqlite3.connect(pathlib.Path(path).absolute().as_uri() + query, uri=True, timeout=_BUSY_SECONDS)


def copy_sqlite(source: str, target: str) -> None:
    """Copy a database with all that was committed, while others write to it, and prove that the copy is whole."""
    try:
        with contextlib.closing(_open(source, "?mode=rw")) as live, contextlib.closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            said = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            # One file, without another beside it, wherever it is opened next.
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise DataError(f"{source} cannot be copied: SQLite says {error}") from error
    if said != "ok":
        raise DataError(f"{source} is damaged: SQLite says {said}; restore an earlier backup")


def _copy_set(root: str, found: t.Sequence[Found], target: str) -> None:
    for one in found:
        source, copy = os.path.join(root, one.path), os.path.join(target, one.path)
        if one.kind == "folder":
            os.makedirs(copy)
        elif one.kind == "sqlite":
            copy_sqlite(source, copy)
        else:
            shutil.copyfile(source, copy, follow_symlinks=False)
    # Folders after what is in them, which changes their time.
    for one in reversed(found):
        source, copy = os.path.join(root, one.path), os.path.join(target, one.path)
        about = os.stat(source, follow_symlinks=False)
        os.chown(copy, about.st_uid, about.st_gid, follow_symlinks=False)
        shutil.copystat(source, copy, follow_symlinks=False)


def _changed_in_place(root: str) -> list[Found]:
    return [one for one in listing(root) if not one.is_of_users]


def _settled(found: t.Sequence[Found]) -> list[tuple[str, int, int]]:
    """What must be the same before and after a copy; SQLite looks after its own files."""
    return [(one.path, one.mtime_ns, one.size) for one in found if one.kind == "file"]


def snapshot(root: str, target: str, pause: t.Callable[[float], None] = time.sleep) -> list[Found]:
    """Copy what an application changes in place, all as of one moment, and return what was copied.

    An index of vectors is read whole or not at all: a copy during which a file changed is made again.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            shutil.rmtree(target)
            pause(_PAUSE_SECONDS)
        os.makedirs(target, mode=0o700)
        before = _changed_in_place(root)
        try:
            _copy_set(root, before, target)
        except FileNotFoundError:
            continue
        # Logs at the top are written to all the time, and belong to nothing else.
        deep = [one for one in before if "/" in one.path]
        after = [one for one in _changed_in_place(root) if "/" in one.path]
        if _settled(deep) == _settled(after):
            return before
    raise DataError(
        f"files in {root} changed during each of {_ATTEMPTS} copies; try again when fewer documents are being added"
    )


def schema_of_sqlite(path: str) -> str:
    """The revision of a database's schema, as Alembic keeps it; empty for one that has none yet."""
    # Without a write-ahead log nothing is pending, and reading leaves no trace.
    query = "?mode=rw" if os.path.exists(path + "-wal") else "?immutable=1"
    try:
        with contextlib.closing(_open(path, query)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables:
                return ""
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read: SQLite says {error}") from error
    return str(row[0]) if row else ""
