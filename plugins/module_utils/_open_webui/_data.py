# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data folder of an Open WebUI: what is in it, and how to copy it while the server writes to it.

SQLite keeps the latest changes in a second file beside the database, so a database is copied through SQLite itself.
A vector index is several files that belong together; they are copied again when they changed meanwhile.

The server's container can write all of it at any moment. Files are read by descriptor, without following links. SQLite
opens by name, and removes what a journal beside the database names; so it works in a process that sees nothing but the
data folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import sqlite3
import stat
import time
import typing as t
import urllib.parse

from . import _tree

DataError = _tree.DataError

DATABASE = "webui.db"

# What only grows, a file at a time: neither an upgrade nor a migration writes into what is there already.
FILES_OF_USERS = ("uploads", "cache")

# Where this collection once worked inside the data folder; never part of the data.
WORK = ".private_llm"

# Kept by SQLite beside a database that is open; a copy made through SQLite needs none of them.
SIDECARS = ("-wal", "-shm", "-journal")

_MAGIC = b"SQLite format 3\x00"
_BUSY_SECONDS = 60.0
_ATTEMPTS = 5
_PAUSE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Found:
    """Something in a data folder, by its path below it."""

    path: str
    kind: str
    mtime_ns: int = 0
    size: int = 0
    target: str = ""

    @property
    def is_of_users(self) -> bool:
        """Return whether it is below a folder that only grows."""
        return self.path.split("/", 1)[0] in FILES_OF_USERS


def _is_sqlite(root: int, path: str) -> bool:
    with _tree.opened_file(root, path) as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def _kind(root: int, path: str, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    if not stat.S_ISREG(mode):
        return ""
    # What people upload is theirs, byte for byte, whatever it is.
    return "sqlite" if path.split("/", 1)[0] not in FILES_OF_USERS and _is_sqlite(root, path) else "file"


def _walk(root: int, folder: int, below: str, depth: int = 0) -> t.Iterator[Found]:
    if depth > _tree.DEEPEST:
        raise DataError(
            f"{below[:200]}... lies more than {_tree.DEEPEST} folders deep; Open WebUI did not make it, remove it"
        )
    for name in _tree.names(folder):
        path = f"{below}/{name}" if below else name
        if name == WORK and not below:
            continue
        try:
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            kind = _kind(root, path, about.st_mode)
            target = os.readlink(name, dir_fd=folder) if kind == "link" else ""
        except OSError:
            # It went, or became something else, since its name was read.
            continue
        if kind:
            yield Found(path, kind, about.st_mtime_ns, about.st_size, target)
        if kind == "folder":
            try:
                opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from _walk(root, opened, path, depth + 1)
            finally:
                os.close(opened)


def listing(root: str) -> list[Found]:
    """Return what belongs to the data, folders before what is in them, without sockets and SQLite's side files."""
    with _tree.opened_root(root) as folder:
        found = list(_walk(folder, folder, ""))
    databases = {one.path for one in found if one.kind == "sqlite"}
    sidecars = {path + suffix for path in databases for suffix in SIDECARS}
    return [one for one in found if one.path not in sidecars]


def has_database(root: str) -> bool:
    """Return whether there is a database of SQLite; DataError for something else in its place."""
    try:
        with _tree.opened_root(root) as folder:
            found = _tree.look(folder, DATABASE)
    except FileNotFoundError:
        return False
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise DataError(f"{os.path.join(root, DATABASE)} is not a file; put the database there, or restore a backup")
    return found is not None


def _confined(folder: int, work: t.Callable[[t.Callable[[], None]], t.Any]) -> t.Any:
    """Do some work in a process of its own that sees nothing but a folder, and return what it returns.

    ``work`` calls its argument to go in; the folder is where it is then. Only root can be confined, and only root has
    more to lose than the owner of the folder.
    """

    def enter() -> None:
        os.fchdir(folder)
        if os.geteuid() == 0:
            os.chroot(".")

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            # Nothing may be imported any more once the process is inside, codecs included.
            with os.fdopen(writing, "wb") as pipe:
                try:
                    said = json.dumps({"answer": work(enter)})
                except Exception as error:  # pylint: disable=broad-exception-caught  # the process ends with it
                    said = json.dumps({"error": str(error) or type(error).__name__})
                pipe.write(said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    if not said:
        raise DataError("a process that reads the database ended before its time; look at the log of the kernel")
    told = json.loads(said)
    if "error" in told:
        raise DataError(f"SQLite says {told['error']}")
    return told["answer"]


def _open(path: str, query: str) -> sqlite3.Connection:
    opened = sqlite3.connect("file:" + urllib.parse.quote(os.fsencode(path)) + query, uri=True, timeout=_BUSY_SECONDS)
    # What a database's own schema calls is not trusted, for who wrote it is not.
    opened.execute("PRAGMA trusted_schema=OFF")
    return opened


def copy_sqlite(root: str, path: str, target: str) -> None:
    """Copy a database with all that was committed, while others write to it, and prove that the copy is whole.

    The folder of the target must be this process's alone.
    """

    def copy(enter: t.Callable[[], None]) -> None:
        # Opened before the process sees the data folder only, and written to without anything beside it.
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as made:
            made.execute("PRAGMA journal_mode=OFF")
            made.execute("PRAGMA synchronous=OFF")
            enter()
            with contextlib.closing(_open(path, "?mode=rw")) as live:
                live.backup(made)

    def prove(enter: t.Callable[[], None]) -> str:
        enter()
        with contextlib.closing(_open(os.path.basename(target), "?mode=rw")) as made:
            # One file, without another beside it, wherever it is opened next.
            made.execute("PRAGMA journal_mode=DELETE")
            return str(made.execute("PRAGMA quick_check(1)").fetchone()[0])

    where = os.path.join(root, path)
    try:
        with _tree.opened_root(root) as folder:
            _confined(folder, copy)
        with _tree.opened_root(os.path.dirname(target)) as folder:
            said = _confined(folder, prove)
    except DataError as error:
        raise DataError(f"{where} cannot be copied: {error}") from error
    if said != "ok":
        raise DataError(f"{where} is damaged: SQLite says {said}; restore an earlier backup")


def _copy_set(root: str, found: t.Sequence[Found], target: str) -> None:
    """Copy what was found. The target is this process's alone, and holds nothing but what is copied here."""
    with _tree.opened_root(root) as source, _tree.opened_root(target) as made:
        for one in found:
            with _tree.opened_parent(made, one.path) as (place, name):
                if one.kind == "folder":
                    os.mkdir(name, 0o700, dir_fd=place)
                elif one.kind == "link":
                    os.symlink(one.target, name, dir_fd=place)
                elif one.kind == "sqlite":
                    copy_sqlite(root, one.path, os.path.join(target, one.path))
                else:
                    with _tree.opened_file(source, one.path) as handle:
                        _tree.copy_file(handle, place, name)
        # Folders after what is in them, which changes their time.
        for one in reversed(found):
            if one.kind in ("folder", "sqlite"):
                _give_alike(source, made, one.path)


def _give_alike(source: int, made: int, path: str) -> None:
    with _tree.opened_parent(source, path) as (place, name):
        about = os.stat(name, dir_fd=place, follow_symlinks=False)
    with _tree.opened_parent(made, path) as (place, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    try:
        _tree.give(descriptor, about)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed_in_place(root: str) -> list[Found]:
    return [one for one in listing(root) if not one.is_of_users]


def _settled(found: t.Sequence[Found]) -> list[tuple[str, int, int]]:
    """Return what must be the same before and after a copy; SQLite looks after its own files."""
    return [(one.path, one.mtime_ns, one.size) for one in found if one.kind == "file"]


def snapshot(root: str, target: str, pause: t.Callable[[float], None] = time.sleep) -> list[Found]:
    """Copy what an application changes in place, all as of one moment, and return what was copied.

    An index of vectors is read whole or not at all: a copy during which a file changed is made again.
    """
    _tree.need_room(os.path.dirname(target), sum(one.size for one in _changed_in_place(root)), f"a copy of {root}")
    for attempt in range(_ATTEMPTS):
        if attempt:
            shutil.rmtree(target)
            pause(_PAUSE_SECONDS)
        os.makedirs(target, mode=0o700)
        before = _changed_in_place(root)
        try:
            _copy_set(root, before, target)
        except OSError as error:
            # Something went, or became something else.
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL):
                raise
            continue
        # Logs at the top are written to all the time, and belong to nothing else.
        deep = [one for one in before if "/" in one.path]
        after = [one for one in _changed_in_place(root) if "/" in one.path]
        if _settled(deep) == _settled(after):
            return before
    raise DataError(
        f"files in {root} changed during each of {_ATTEMPTS} copies; try again when fewer documents are being added"
    )


def schema_of_sqlite(root: str) -> str:
    """Return the revision of the schema of a folder's database, as Alembic keeps it; empty when it has none yet."""

    def read(enter: t.Callable[[], None]) -> str:
        enter()
        # Without a write-ahead log nothing is pending, and reading leaves no trace.
        query = "?mode=rw" if os.path.lexists(DATABASE + "-wal") else "?immutable=1"
        with contextlib.closing(_open(DATABASE, query)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables:
                return ""
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0])[:100] if row else ""

    try:
        with _tree.opened_root(root) as folder:
            return str(_confined(folder, read))
    except DataError as error:
        raise DataError(f"{os.path.join(root, DATABASE)} cannot be read: {error}") from error
