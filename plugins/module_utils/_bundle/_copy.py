# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copy of a part of a bundle on a host: which files it lacks, and how brought ones become part of it."""

from __future__ import annotations

import os
import tarfile
import typing as t

from .._hub._arriving import BLOCK, ArrivingFile, WrongContent
from .._hub._files import Entry
from .._hub._hashing import hash_files
from .._hub._source import PART
from .._regular import regular
from ._index import BundleError


def lacking(folder: str, files: t.Sequence[Entry]) -> list[str]:
    """Return the SHA-256 of each file that is not in the folder as it must be."""
    paths = {file: os.path.join(folder, file.path) for file in files}
    there = [file for file, path in paths.items() if os.path.isfile(path) and not os.path.islink(path)]
    whole = [file for file in there if os.path.getsize(paths[file]) == file.size]
    sums = hash_files([paths[file] for file in whole])
    right = {file for file in whole if sums[paths[file]] == file.sha256}
    return sorted({file.sha256 for file in files if file not in right})


def strangers(folder: str, files: t.Sequence[Entry]) -> list[str]:
    """Return the paths of what is in the folder and does not belong there; parts of files that are to come do."""
    kept = {file.path for file in files}
    found = []
    for parent, _folders, names in os.walk(folder):
        found += [os.path.join(parent, name) for name in names]
    return sorted(path for path in found if _named(os.path.relpath(path, folder)) not in kept)


def _named(path: str) -> str:
    return path[: -len(PART)] if path.endswith(PART) else path


def take(folder: str, files: t.Sequence[Entry], brought: str, sha256: str = "") -> None:
    """Put what was brought into the folder: a tar archive of files named by their SHA-256, or the one file ``sha256``.

    Each file is compared with its SHA-256 before it gets its name.
    """
    places: dict[str, list[Entry]] = {}
    for file in files:
        places.setdefault(file.sha256, []).append(file)
    if sha256:
        if sha256 not in places:
            raise BundleError(f"{sha256!r} was brought and does not belong to {folder}")
        for place in places[sha256]:
            with open(brought, "rb", buffering=0, opener=regular) as stream:
                _write(stream, place, folder)
        return
    with tarfile.open(brought, "r:") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or member.name not in places:
                raise BundleError(f"{member.name!r} was brought and does not belong to {folder}")
            for number, place in enumerate(places[member.name]):
                if number:
                    content.seek(0)
                _write(content, place, folder)


def _write(content: t.IO[bytes], place: Entry, folder: str) -> None:
    with ArrivingFile(folder, place, lambda count: None) as file:
        file.seek(0)
        file.truncate()
        while True:
            block = content.read(BLOCK)
            if not block:
                break
            file.write(block)
        try:
            file.finish()
        except WrongContent as error:
            file.discard()
            raise BundleError(f"{place.path} came damaged: {error}; run again") from error
