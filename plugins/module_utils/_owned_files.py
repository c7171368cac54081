# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""A folder whose files all belong to one task: written, compared, and without what nobody wants any more."""

from __future__ import annotations

import os
import stat
import typing as t

from ._replace import Draft, ReplaceError, read_file

# The file by which a folder of ours is known. What has it not is somebody else's, and none of its files is removed.
MARK = ".written_by_private_llm"
LARGEST = 16 * 1024 * 1024
PUBLIC, PRIVATE = 0o644, 0o600


class OwnedFilesError(ValueError):
    """The files cannot be read or written; the text says why."""


class File(t.NamedTuple):
    """What a file is to be."""

    text: str
    secret: bool

    @property
    def mode(self) -> int:
        """Return the mode of the file."""
        return PRIVATE if self.secret else PUBLIC


Wanted = t.Mapping[str, File]


def check_names(names: t.Iterable[str]) -> None:
    """Refuse names that lead out of the folder."""
    for name in names:
        parts = name.split("/")
        if (
            not name
            or MARK in parts
            or name.startswith("/")
            or any(part in ("", ".", "..") for part in parts)
            or "\0" in name
        ):
            raise OwnedFilesError(f"{name!r} is not a path below the folder")


def found(folder: str) -> list[str]:
    """Return the paths of all files below a folder."""
    return [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _folders, names in os.walk(folder)
        for name in names
        if name != MARK
    ]


def check_folder(folder: str) -> None:
    """Refuse a folder that holds files and was not made by this program."""
    if os.path.isdir(folder) and os.listdir(folder) and not os.path.lexists(os.path.join(folder, MARK)):
        raise OwnedFilesError(f"{folder} holds files of somebody else; name a folder that is empty or not there")


def changes(folder: str, wanted: Wanted, owner: int | None) -> list[str]:
    """Return the paths of the files that are not as they should be, sorted."""
    check_folder(folder)
    present = set(found(folder))
    odd = {name for name in present & set(wanted) if not _is_right(os.path.join(folder, name), wanted[name], owner)}
    return sorted((present ^ set(wanted)) | odd)


def shown(folder: str, wanted: Wanted, names: t.Iterable[str]) -> t.Iterator[tuple[str, str, str]]:
    """Give of each path the text before and after; of a file with secrets only that it changes."""
    for name in names:
        before = _text(os.path.join(folder, name))
        after = wanted[name].text if name in wanted else ""
        path = os.path.join(folder, name)
        if wanted[name].secret if name in wanted else _is_private(path):
            before = "not shown\n" if before is not None else ""
            after = "not shown, changed\n" if name in wanted else ""
        yield name, before or "", after


def write(folder: str, wanted: Wanted, owner: int | None) -> None:
    """Bring the folder to its state, each file in one step."""
    check_folder(folder)
    try:
        _make_folders(folder, MARK)
        for name, file in {MARK: File("", secret=False), **wanted}.items():
            path = os.path.join(folder, name)
            _make_folders(folder, name)
            if not _is_right(path, file, owner):
                with Draft(path, file.text.encode("utf-8"), file.mode) as draft:
                    if file.secret and owner is not None:
                        os.chown(draft.path, owner, -1)
                    draft.publish()
    except ReplaceError as error:
        raise OwnedFilesError(str(error)) from error
    for name in found(folder):
        if name not in wanted:
            os.unlink(os.path.join(folder, name))
    for parent, _folders, _names in os.walk(folder, topdown=False):
        if parent != folder and not os.listdir(parent):
            os.rmdir(parent)


def _make_folders(folder: str, name: str) -> None:
    """Make the folders of a file, so that others may look into them whatever the umask is."""
    parts = os.path.dirname(name).split("/") if "/" in name else []
    for depth in range(len(parts) + 1):
        path = os.path.join(folder, *parts[:depth])
        if not os.path.isdir(path):
            os.makedirs(path)
            os.chmod(path, 0o755)  # noqa: S103 - Prometheus reads what is in it


def _is_right(path: str, file: File, owner: int | None) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    right_owner = not file.secret or owner is None or there.st_uid == owner
    right_mode = stat.S_ISREG(there.st_mode) and stat.S_IMODE(there.st_mode) == file.mode
    return right_owner and right_mode and _text(path) == file.text


def _is_private(path: str) -> bool:
    try:
        return os.lstat(path).st_mode & 0o077 == 0
    except OSError:
        return True


def _text(path: str) -> str | None:
    try:
        content = read_file(path, LARGEST)
    except ReplaceError:
        return ""
    return None if content is None else content.decode("utf-8", "replace")
