# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The place where a bundle is made: a folder that can be written, with room, in which no other run works."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import typing as t

from .. import _units
from .._hub._source import is_full_disk
from ._index import BundleError

# File systems of memory sticks keep no links; a copy serves as well.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def nearest(path: str) -> str:
    """Return the folder itself, or the nearest one above it that is there."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def check_place(path: str) -> None:
    """Raise BundleError where no folder can be made or written, with what to do."""
    there = nearest(path)
    if not os.path.isdir(there):
        what = "a link to nothing" if os.path.islink(there) else "not a folder"
        raise BundleError(f"no bundle can be made at {path}: {there} is {what}; remove it, or name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BundleError(
            f"no bundle can be made at {path}: whoever runs this cannot write {there}; change that, or name another "
            "folder"
        )


def check_room(path: str, needed: int) -> None:
    """Raise BundleError where a file system has less room than is needed; in bytes."""
    there = nearest(path)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise BundleError(
            f"{path} still needs {_units.size(needed)}, and its file system has {_units.size(free)} free ({there}); "
            "make room, or name a folder on a larger one"
        )


def explain(error: OSError) -> str:
    """Return why a file of a bundle could not be read or written, with what to do where that is known."""
    again = "then run again, which goes on from what was fetched"
    if is_full_disk(error):
        return f"{error}: the file system became full; make room, {again}"
    if error.errno == errno.EFBIG:
        return f"{error}: the file system keeps no file as large as this one, such as FAT32; name a folder on another"
    if error.errno == errno.EACCES:
        return f"{error}: whoever runs Ansible must be able to read all of the bundle, and to write where one is made"
    return str(error)


@contextlib.contextmanager
def held(path: str) -> t.Iterator[None]:
    """Keep other runs out of a folder; BundleError when one is in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleError(
                f"another run makes the bundle {path} now; wait until it has ended, then run again"
            ) from error
        except OSError:
            pass  # NFS locks no folder; runs of the playbook are kept apart before this
        yield
    finally:
        os.close(descriptor)


def link(target: str, path: str) -> None:
    """Have a link at a path; where the file system keeps none, a copy."""
    if os.path.islink(path) and os.readlink(path) == target:
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    try:
        os.symlink(target, temporary)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(os.path.join(os.path.dirname(path), target), temporary)
    os.replace(temporary, path)
