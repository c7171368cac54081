# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work as root in folders that a container can write to.

Everything here goes by descriptor, one name at a time, and never follows a link: what a path means can change between
a look and a use, what a descriptor means cannot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from .. import _units

# Deeper than this lies nothing that Open WebUI makes; each level costs a descriptor.
DEEPEST = 100

# What is being copied into a folder before it gets its name.
PARTIAL = ".private_llm.partial"

BLOCK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Room that is left to everybody else on the file system.
_SPARE_BYTES = 64 << 20


class DataError(ValueError):
    """Data, an archive or a database is not as it must be; the text says what and what to do."""


def limited_mode(mode: int) -> int:
    """Return a mode without setuid, setgid, sticky and the right of everybody to write."""
    return mode & 0o775


def is_plain(name: t.Any) -> bool:
    """Return whether this is the name of something directly in a folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


@contextlib.contextmanager
def opened_root(path: str) -> t.Iterator[int]:
    """Open a folder that an option names. A link in its path is the administrator's own, and followed."""
    descriptor = os.open(os.path.realpath(path), _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_folder(folder: int, name: str) -> t.Iterator[int]:
    """Open a folder in a folder; OSError for a link or anything else."""
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_parent(root: int, path: str) -> t.Iterator[tuple[int, str]]:
    """Open the folder that holds ``path``, step by step from ``root``, and give the last name of the path."""
    *folders, name = path.split("/")
    descriptor = os.open(".", _FOLDER, dir_fd=root)
    try:
        for folder in folders:
            following = os.open(folder, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor, name
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_file(root: int, path: str) -> t.Iterator[t.BinaryIO]:
    """Open a regular file below ``root`` to read it; OSError for a link, a device or anything else."""
    with opened_parent(root, path) as (folder, name):
        descriptor = os.open(name, _FILE, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise OSError(errno.EINVAL, "this is not a file", path)
        yield handle


def look(folder: int, name: str) -> os.stat_result | None:
    """Return what has a name in a folder, a link as itself; None when nothing has."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def private_folder(folder: int, name: str, where: str) -> t.Iterator[int]:
    """Make and open a folder for root alone; DataError when what has its name could be written by anybody else."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise DataError(
            f"{where} is kept for the work of this collection, and is not a folder: {error.strerror}; look at it, and"
            " remove it"
        ) from error
    try:
        refuse_foreign(os.fstat(descriptor), where)
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_foreign(found: os.stat_result, where: str) -> None:
    """Raise DataError when a user other than this one owns something, or may change it."""
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise DataError(
            f"{where} belongs to the user {found.st_uid} and has the mode {stat.S_IMODE(found.st_mode):04o}; only what"
            f" the user {os.geteuid()} alone can reach is trusted: look at it, and remove it; nothing was changed"
        )


def make_private(folder: int, name: str) -> None:
    """Make a folder in one that is root's alone, where it is not there yet."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)


def names(folder: int) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(os.listdir(folder))


def sync(folder: int) -> None:
    """Make sure that the names in a folder are on the disk."""
    os.fsync(folder)


def remove(folder: int, name: str) -> None:
    """Remove what has a name, and everything below it, however deep; nothing is done where there is nothing."""
    buried = 0
    waiting = [name]
    while waiting:
        one = waiting.pop()
        for deep, below in _remove(folder, one, 0):
            # Too deep to go down to at once: it comes up, and is next.
            raised = f"{PARTIAL}.{os.getpid()}.{buried}"
            buried += 1
            os.rename(deep, raised, src_dir_fd=below, dst_dir_fd=folder)
            waiting += [one, raised]


def _remove(folder: int, name: str, depth: int) -> t.Iterator[tuple[str, int]]:
    found = look(folder, name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        return
    if depth == DEEPEST:
        yield name, folder
        return
    with opened_folder(folder, name) as inside:
        for child in os.listdir(inside):
            yield from _remove(inside, child, depth + 1)
    os.rmdir(name, dir_fd=folder)


def move(source: int, name: str, target: int) -> None:
    """Move what has a name into another folder, under the same name, also on another file system.

    Cut off, it is in the source still, or in both folders and whole in the target.
    """
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    remove(target, PARTIAL)
    copy(source, name, target, PARTIAL)
    sync(target)
    os.rename(PARTIAL, name, src_dir_fd=target, dst_dir_fd=target)
    sync(target)
    remove(source, name)


def copy(source: int, name: str, target: int, new_name: str, depth: int = 0) -> None:
    """Copy a file, a link or a folder with everything in it; devices, sockets and pipes are left out."""
    found = look(source, name)
    if found is None:
        return
    if depth > DEEPEST:
        raise DataError(f"a folder called {name} lies more than {DEEPEST} folders deep, which is not Open WebUI's")
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), new_name, dir_fd=target)
        os.chown(new_name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISDIR(found.st_mode):
        os.mkdir(new_name, 0o700, dir_fd=target)
        with opened_folder(source, name) as inside, opened_folder(target, new_name) as made:
            for child in names(inside):
                copy(inside, child, made, child, depth + 1)
            give(made, os.fstat(inside))
    elif stat.S_ISREG(found.st_mode):
        with opened_file(source, name) as handle:
            copy_file(handle, target, new_name)


def copy_file(handle: t.BinaryIO, target: int, new_name: str) -> None:
    """Copy a file that is open, with its owner, mode and time, into a folder where nothing has its name yet."""
    about = os.fstat(handle.fileno())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new_name, flags, 0o600, dir_fd=target), "wb") as written:
        # What the file grows by from here on is left out.
        left = about.st_size
        while left:
            block = handle.read(min(left, BLOCK))
            if not block:
                break
            written.write(block)
            left -= len(block)
        written.flush()
        os.fsync(written.fileno())
        give(written.fileno(), about)


def give(descriptor: int, about: os.stat_result) -> None:
    """Give a copy that is open the owner, the limited mode and the times of the original."""
    os.fchown(descriptor, about.st_uid, about.st_gid)
    os.fchmod(descriptor, limited_mode(about.st_mode))
    os.utime(descriptor, ns=(about.st_atime_ns, about.st_mtime_ns))


def free_bytes(path: str) -> int:
    """Return how much may be written to the file system of a folder, which need not be there yet."""
    while not os.path.isdir(path):
        path = os.path.dirname(path.rstrip("/")) or "/"
    about = os.statvfs(path)
    return max(0, about.f_bavail * about.f_frsize - _SPARE_BYTES)


def need_room(path: str, size: int, what: str) -> None:
    """Raise DataError when there is no room for so many bytes."""
    free = free_bytes(path)
    if size > free:
        raise DataError(
            f"{what} needs {_units.size(size)} at {path}, where {_units.size(free)} are free; make room, or use a"
            " folder on a larger file system"
        )


# What a network keeps; SQLite's locks do not work there reliably.
_NETWORK = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.mfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    )
)


def mounts() -> list[str]:
    """Return the lines of /proc/self/mountinfo."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        return lines.readlines()


def network_warning(data_dir: str, mounts: t.Iterable[str]) -> str:
    """Return the warning of a database in a folder on a network file system; empty for one of the host's own.

    ``mounts`` are the lines of /proc/self/mountinfo.
    """
    kind = network_file_system(data_dir, mounts)
    if not kind:
        return ""
    return (
        f"{data_dir} is on a network file system ({kind}), where SQLite can lose or damage data; use a folder on a disk"
        " of this host (open_webui_data_dir), or PostgreSQL (open_webui_database_url)"
    )


def network_file_system(path: str, mounts: t.Iterable[str]) -> str:
    """Return the kind of the network file system that a folder is on; empty for one of the host's own.

    ``mounts`` are the lines of /proc/self/mountinfo.
    """
    place, best, kind = os.path.realpath(path), "", ""
    for line in mounts:
        fields, _dash, rest = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not rest:
            continue
        point = parts[4].encode("latin-1", "replace").decode("unicode_escape")
        below = place == point or place.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind if kind in _NETWORK else ""
