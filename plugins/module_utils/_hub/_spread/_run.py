# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server of models and the modules of the same run know of each other, in a folder that root alone can reach.

/run/private_llm/spread/<run>/server     the server holds its lock while it lives, and ends when the file is gone
/run/private_llm/spread/<run>/<digest>   whoever fetches the release holds its lock; the kernel opens it at his end
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import typing as t

from ... import _paths
from ..._regular import regular
from .._files import HubError
from .._store import is_ours

DIRECTORY = _paths.SPREAD
SERVER = "server"
# Seconds that a server gets to end after its file has gone.
END_LIMIT = 10.0

PENDING = "pending"
FETCHING = "fetching"
ENDED = "ended"


def run_name(token: str) -> str:
    """Return the name of a run, which everyone knows who has its token."""
    return hashlib.sha256(b"run\0" + token.encode("utf-8")).hexdigest()[:16]


def note_on(served: t.Any) -> str:
    """Return a note by which two servers can be told apart that serve something else."""
    return hashlib.sha256(json.dumps(served, sort_keys=True).encode("utf-8")).hexdigest()


class RunFolder:
    """The folder of one run on this host."""

    def __init__(self, token: str, directory: str = "") -> None:
        self.path = os.path.join(directory or DIRECTORY, run_name(token))
        self._server = os.path.join(self.path, SERVER)

    def make(self) -> None:
        """Make the folder, and those above it; raise when somebody else can change one of them."""
        above = os.path.dirname(self.path)
        os.makedirs(os.path.dirname(above), mode=0o755, exist_ok=True)
        for path in (above, self.path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        for path in (os.path.dirname(above), above, self.path):
            if not is_ours(path):
                raise HubError(f"{path} belongs to another user, or others can write it; remove it, then run again")

    # The server

    def take_server(self, note: str) -> int:
        """Become the server of the run; returns what keeps the lock. Its file holds a note on what is served."""
        descriptor = os.open(self._server, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode("utf-8"), 0)
        return descriptor

    def server_note(self) -> str | None:
        """Return the note of the server that lives; None when there is none."""
        with contextlib.suppress(OSError), open(self._server, encoding="utf-8", opener=regular) as stream:
            if _is_locked(stream.fileno()):
                return stream.read(4096)
        return None

    def is_wanted(self, descriptor: int) -> bool:
        """Return whether the server that holds the lock is to go on."""
        try:
            there, held = os.lstat(self._server), os.fstat(descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def stop_server(self) -> bool:
        """Let the server end and wait for that; returns whether there was one."""
        try:
            with open(self._server, "rb", opener=regular) as stream:
                lived = _is_locked(stream.fileno())
                os.unlink(self._server)
                deadline = time.monotonic() + END_LIMIT
                while lived and _is_locked(stream.fileno()):
                    if time.monotonic() > deadline:
                        raise HubError(f"the server of {self.path} did not end within {END_LIMIT:.0f} s")
                    time.sleep(0.05)
        except FileNotFoundError:
            return False
        self.remove()
        return lived

    def remove(self) -> None:
        """Remove the folder. Whoever still fetches holds his lock without it."""
        shutil.rmtree(self.path, ignore_errors=True)

    # Releases that are being fetched

    @contextlib.contextmanager
    def fetching(self, digest: str) -> t.Iterator[None]:
        """Say that a release is being fetched, where a server of this run might want to know."""
        try:
            descriptor = self._sign(digest)
        except OSError:  # nobody serves on this host
            yield
            return
        try:
            yield
        finally:
            os.close(descriptor)

    def _sign(self, digest: str) -> int:
        """Return what keeps the lock of a release. Its file is never seen without: that says that it has ended."""
        path = os.path.join(self.path, digest)
        descriptor, draft = tempfile.mkstemp(prefix="new-", dir=self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.link(draft, path)
        except OSError:
            os.close(descriptor)
            # It is there: of who fetched it before, or does so now.
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the server holds it for the moment of a look
        finally:
            os.unlink(draft)
        return descriptor

    def state(self, digest: str) -> str:
        """Return whether a release is still to be fetched, is being fetched, or whether that has ended."""
        try:
            descriptor = os.open(
                os.path.join(self.path, digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return PENDING
        try:
            return FETCHING if _is_locked(descriptor) else ENDED
        finally:
            os.close(descriptor)

    def is_busy(self) -> bool:
        """Return whether any release is being fetched on this host."""
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(self.path) if re.fullmatch("[0-9a-f]{64}", name)]
            return any(self.state(name) == FETCHING for name in names)
        return False


def _is_locked(descriptor: int) -> bool:
    """Return whether another process holds the lock of a file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
