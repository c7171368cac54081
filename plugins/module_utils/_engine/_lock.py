# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lock for each object of a host, held from the look to the end of a change.

Locks are files in a folder that root alone can reach. The kernel opens a lock when its process ends, however that
happens. The holder writes into the file who it is and what it is doing, so that who waits can say for whom. A plan must
be made under the lock: what was seen before the wait may be gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
import typing as t

from .. import _paths

DIRECTORY = _paths.LOCKS
POLL = 0.5  # seconds
ATTEMPTS = 100  # to open a folder that a removal takes away at the same moment
NOTE_LIMIT = 4096  # bytes that are read of a holder's note

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class LockError(ValueError):
    """The folder of the locks is not root's alone, or cannot be made."""


class _FolderGone(Exception):
    """The folder was removed while it was opened."""


class Holder(t.NamedTuple):
    """Who holds a lock."""

    pid: int
    since: float
    doing: str

    def __str__(self) -> str:
        began = time.strftime("%H:%M:%S", time.localtime(self.since)) if self.since else "an unknown time"
        who = f"process {self.pid}, since {began}" if self.pid else "its process is not known"
        return f"another run on this host ({who}{': ' + self.doing if self.doing else ''})"


class Lock:
    """A lock that is held; `note` tells those who wait what the holder is doing."""

    def __init__(self, descriptor: int, doing: str) -> None:
        self._descriptor = descriptor
        self._since = time.time()
        self._last = ""
        self.note(doing)

    def note(self, doing: str) -> None:
        """Write down what the holder is doing; a full disk is no reason to stop."""
        if doing == self._last:
            return
        self._last = doing
        text = json.dumps({"pid": os.getpid(), "since": self._since, "doing": doing[:1000]}).encode("ascii")
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))


@contextlib.contextmanager
def hold(
    kind: str,
    name: str,
    doing: str = "",
    waiting: t.Callable[[Holder], None] = lambda holder: None,
    directory: str = DIRECTORY,
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.Iterator[Lock]:
    """Hold the lock of an object, such as the vllm_server qwen3; ``waiting`` is called as long as another holds it.

    Whoever needs several takes them with `hold_all`, so that no two runs wait for each other.
    """
    own = file_name(kind, name)
    folder, descriptor = _enter(directory, own, waiting, sleep)
    try:
        yield Lock(descriptor, doing)
    finally:
        # Whoever opened the file meanwhile sees that it has gone from the folder, and opens the next one.
        with contextlib.suppress(OSError):
            os.unlink(own, dir_fd=folder)
        os.close(descriptor)
        os.close(folder)


@contextlib.contextmanager
def hold_all(
    kind: str,
    names: t.Iterable[str],
    doing: str = "",
    waiting: t.Callable[[str, Holder], None] = lambda name, holder: None,
    directory: str = DIRECTORY,
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.Iterator[dict[str, Lock]]:
    """Hold the locks of several objects of a kind; everyone takes them in the order of their names."""
    with contextlib.ExitStack() as stack:
        locks = {}
        for name in sorted(set(names)):

            def wait(holder: Holder, name: str = name) -> None:
                waiting(name, holder)

            locks[name] = stack.enter_context(hold(kind, name, doing, wait, directory, sleep))
        yield locks


def holder_of(kind: str, name: str, directory: str = DIRECTORY) -> Holder | None:
    """Return who holds the lock of an object, without waiting and without making anything; None when nobody does."""
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        descriptor = os.open(file_name(kind, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _enter(
    directory: str, name: str, waiting: t.Callable[[Holder], None], sleep: t.Callable[[float], None]
) -> tuple[int, int]:
    """Open the folder and take the lock in it; a removal may take the folder away in between, for it is empty."""
    for _attempt in range(ATTEMPTS):
        with contextlib.suppress(_FolderGone):
            folder = _open_folder(directory)
            try:
                return folder, _take(folder, name, waiting, sleep)
            except BaseException:
                os.close(folder)
                raise
    raise LockError(f"the folder of the locks, {directory}, is removed again and again; find out by whom")


def _take(folder: int, name: str, waiting: t.Callable[[Holder], None], sleep: t.Callable[[float], None]) -> int:
    while True:
        descriptor = _open_file(folder, name)
        try:
            while not _locked(descriptor):
                waiting(_read(descriptor))
                sleep(POLL)
            if _is_there(folder, name, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(folder: int, name: str, descriptor: int) -> bool:
    """Return whether the file still has its name; the holder before may have removed it at its end."""
    try:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)


def _read(descriptor: int) -> Holder:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(os.pread(descriptor, NOTE_LIMIT, 0).decode("utf-8"))
        return Holder(int(found["pid"]), float(found["since"]), str(found["doing"]))
    return Holder(0, 0.0, "")


def file_name(kind: str, name: str) -> str:
    """Return the name of the file of an object in the folder of the locks."""
    plain = name if _PLAIN.fullmatch(name) else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{kind}.{plain}.lock"


def _open_file(folder: int, name: str) -> int:
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder)
    except FileNotFoundError as error:
        raise _FolderGone from error
    except OSError as error:
        raise LockError(f"the lock {name} cannot be taken: {error.strerror}; look at {DIRECTORY}") from error


def _open_folder(directory: str) -> int:
    """Open the folder, made where it is missing, every part of it without following a link below its first folder.

    LockError when another user could put something into it.
    """
    parent, name = os.path.split(os.path.abspath(directory))
    grandparent, middle = os.path.split(parent)
    try:
        os.makedirs(grandparent, exist_ok=True)
        outer = os.open(grandparent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            inner = _step(outer, middle, 0o755)
        finally:
            os.close(outer)
        try:
            folder = _step(inner, name, 0o700)
        finally:
            os.close(inner)
    except FileNotFoundError as error:
        raise _FolderGone from error
    except OSError as error:
        raise LockError(
            f"the folder of the locks, {directory}, cannot be used: {error.strerror or error}; it must "
            "be a folder of root; make room there, or remove what is in its place"
        ) from error
    if os.fstat(folder).st_mode & 0o077:
        os.fchmod(folder, 0o700)
    return folder


def _step(folder: int, name: str, mode: int) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=folder)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    found = os.fstat(descriptor)
    if found.st_uid not in (0, os.geteuid()) or (found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX):
        os.close(descriptor)
        raise OSError(errno.EPERM, f"{name} belongs to another user, or everyone can write there")
    return descriptor
