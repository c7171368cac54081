# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who uses a folder: bind mounts of it in the mount tables of other processes, such as containers."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import typing as t


@dataclasses.dataclass(frozen=True)
class Mount:
    """A line of mountinfo: the device, the folder of it that is mounted, where, and the kind and options of it."""

    device: str
    root: str
    point: str
    kind: str = ""
    options: frozenset[str] = frozenset()


def parse_mountinfo(text: str) -> list[Mount]:
    """Parse the mounts of a process, from /proc/PID/mountinfo."""

    def plain(field: str) -> str:
        return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)

    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        # What comes after the dash is about the file system: its kind, its source and its options.
        kind, _source, options = [*line.partition(" - ")[2].split(" "), "", "", ""][:3]
        if len(fields) > 5:
            found = frozenset(options.split(",")) - {""}
            mounts.append(Mount(fields[2], plain(fields[3]), plain(fields[4]), kind, found))
    return mounts


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def mount_of(path: str, mounts: t.Sequence[Mount]) -> Mount | None:
    """Return the mount that a path is on."""
    best: Mount | None = None
    for mount in mounts:  # of two mounts on one point the later one hides the other
        if _within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def lock_problem(path: str, mounts: t.Sequence[Mount]) -> str:
    """Return why a lock on a path would not keep other hosts out; empty when it does, or when no other can be there.

    NFS passes locks on to its server unless it was mounted with nolock or local_lock (nfs(5)).
    """
    mount = mount_of(path, mounts)
    if mount is None or not mount.kind.startswith("nfs"):
        return ""
    local = sorted(mount.options & {"nolock", "local_lock=all", "local_lock=flock"})
    if not local:
        return ""
    return (
        f"{mount.point} is {mount.kind} mounted with {local[0]}, so two hosts could write the same files; mount it "
        "without that option, or set root to another file system"
    )


def place_of(path: str, mounts: t.Sequence[Mount]) -> tuple[str, str] | None:
    """Return the device that a path is on, and the path on that device."""
    best = mount_of(path, mounts)
    if best is None:
        return None
    rest = os.path.relpath(path, best.point)
    return best.device, os.path.normpath(os.path.join(best.root, rest))


def mounted_below(path: str, own: t.Sequence[Mount], others: t.Iterable[Mount]) -> set[str]:
    """Return the paths, as this process sees them, at or below ``path`` that are mounted somewhere else."""
    place = place_of(path, own)
    if place is None:
        return set()
    device, root = place
    found = set()
    for mount in others:
        if mount.device == device and _within(mount.root, root):
            found.add(os.path.normpath(os.path.join(path, os.path.relpath(mount.root, root))))
    return found


def users_of(path: str, proc: str = "/proc") -> set[str]:
    """Return the paths at or below ``path`` that a process in another mount namespace (a container) has mounted."""
    path = os.path.realpath(path)
    own = _read(os.path.join(proc, "self", "mountinfo"))
    texts = {_read(name) for name in glob.glob(os.path.join(proc, "[0-9]*", "mountinfo"))} - {own, ""}
    found: set[str] = set()
    for text in texts:
        found |= mounted_below(path, parse_mountinfo(own), parse_mountinfo(text))
    return found


def lock_problem_here(path: str) -> str:
    """Return the ``lock_problem`` of a path on this host."""
    return lock_problem(os.path.realpath(path), parse_mountinfo(_read("/proc/self/mountinfo")))


# File systems whose server decides whose a file is: there the owner says little about who can write it.
_SHARED = ("nfs", "cifs", "smb", "fuse", "9p", "virtiofs", "ceph", "lustre", "gpfs", "beegfs")


def owners_count(path: str) -> bool:
    """Return whether the owner and the mode of a file at a path say who can change it."""
    mount = mount_of(os.path.realpath(path), parse_mountinfo(_read("/proc/self/mountinfo")))
    return mount is None or not mount.kind.startswith(_SHARED)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:  # the process has ended meanwhile
        return ""
