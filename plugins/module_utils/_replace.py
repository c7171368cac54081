# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a file of a host's configuration in place in one step: whole and on the disk, or not at all.

The new content is written beside the file under a name of its own, so a full disk or the end of the process leaves the
old file as it was. What a process that was killed left behind is removed by the next one; a lock must keep two from
writing one file at a time.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time

from ._regular import regular

MARK = ".private_llm-"
LEFT_BEHIND = 3600.0  # seconds after which nobody is still writing a draft


class ReplaceError(ValueError):
    """The file cannot be written; it is as it was."""


def read_file(path: str, limit: int) -> bytes | None:
    """Return what is in a file; None where there is none. ReplaceError for what is no file, or too large for one."""
    try:
        descriptor = regular(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ReplaceError(f"{path} cannot be read: {_reason(error)}") from error
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ReplaceError(f"{path} is larger than {limit // 1024} KiB, which no such file is; look at it")
    return content


class Draft:
    """A new content of a file, beside it on the disk. Used in a with statement, which removes what is not published."""

    def __init__(self, path: str, content: bytes, mode: int) -> None:
        """Write the draft. A file that is there gives it its owner; ``mode`` is that of the new file."""
        self.target = path
        folder = os.path.dirname(path)
        self.path = ""
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            sweep(path)
            handle, self.path = tempfile.mkstemp(prefix=_prefix(path), suffix=os.path.splitext(path)[1], dir=folder)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                _take_over(stream.fileno(), path)
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
        except (OSError, ValueError) as error:
            self._remove()
            raise ReplaceError(
                f"{path} cannot be written: {_reason(error)}; it was left as it is. "
                f"Make room, or give rights, in {folder}"
            ) from error

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *unused: object) -> None:
        self._remove()

    def publish(self) -> None:
        """Make the draft the file."""
        try:
            os.replace(self.path, self.target)
        except OSError as error:
            raise ReplaceError(f"{self.target} cannot be replaced: {_reason(error)}; it was left as it is") from error
        self.path = ""
        # After a power failure the folder must know the new file, too; where that cannot be had, the file is whole.
        with contextlib.suppress(OSError):
            folder = os.open(os.path.dirname(self.target), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _remove(self) -> None:
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.path = ""


def sweep(path: str) -> list[str]:
    """Remove the drafts of a file that killed processes left beside it; return their paths."""
    folder, prefix = os.path.dirname(path), _prefix(path)
    swept = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.startswith(prefix):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
                swept.append(os.path.join(folder, name))
    return swept


def write_text(path: str, text: str, mode: int) -> None:
    """Write a file of our own in one step, so that no reader sees half of it, and raise OSError where that fails.

    No lock is needed, and nobody waits for the disk. The folder is made where it is missing. It may be another user's,
    such as node_exporter's, who could put a link in the draft's place.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    _sweep_old(folder)
    descriptor, temporary = tempfile.mkstemp(prefix=MARK, dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _sweep_old(folder: str) -> None:
    """Remove the drafts that were left behind when a process was killed or the host lost its power."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if name.startswith(MARK) and time.time() - os.lstat(path).st_mtime > LEFT_BEHIND:
                os.unlink(path)


def mode_of(path: str, default: int = 0o644) -> int:
    """Return the mode of a file, or the default where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return default


def _prefix(path: str) -> str:
    return f".{os.path.basename(path)}{MARK}"


def _take_over(descriptor: int, path: str) -> None:
    """Give the draft the owner and, with SELinux, the label of the file that it replaces."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    with contextlib.suppress(OSError):
        os.setxattr(descriptor, "security.selinux", os.getxattr(path, "security.selinux"))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
