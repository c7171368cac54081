# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that arrives: written, hashed and counted as it comes, no faster than allowed, and taken up where it ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t

from ._files import Entry, HubError
from ._source import PART

BLOCK = 1024 * 1024


class WrongContent(HubError):
    """A file came with another size or SHA-256 than it was listed with."""


class ArrivingFile:
    """The file of an entry while it arrives, as whoever fetches it sees it: append, or start over.

    What an earlier run left of it is hashed and kept. ``finish`` gives the file its name if its content is right.
    """

    def __init__(self, folder: str, entry: Entry, seen: t.Callable[[int], None]) -> None:
        self._target = os.path.join(folder, entry.path)
        self._part = self._target + PART
        self._entry = entry
        self._seen = seen
        os.makedirs(os.path.dirname(self._target), exist_ok=True)
        # Never through a link that something else has put there.
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._stream = os.fdopen(descriptor, "r+b", buffering=0)
        self._digest = hashlib.sha256()
        self._size = 0
        if os.fstat(descriptor).st_size > entry.size:
            self._stream.truncate(0)
        while True:
            block = self._stream.read(BLOCK)
            if not block:
                break
            self._digest.update(block)
            self._size += len(block)

    def __enter__(self) -> ArrivingFile:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stream.close()

    def tell(self) -> int:
        """Return the number of bytes that have arrived."""
        return self._size

    def write(self, block: bytes | memoryview) -> int:
        """Append; more than was listed is refused."""
        if self._size + len(block) > self._entry.size:
            raise WrongContent(f"{self._entry.path} is longer than the {self._entry.size} bytes it is listed with")
        view = memoryview(block)
        while view:
            view = view[self._stream.write(view) or 0 :]
        self._digest.update(block)
        self._size += len(block)
        self._seen(len(block))
        return len(block)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to the start, which is the only place one can go back to."""
        if (position, whence) != (0, os.SEEK_SET):
            raise OSError(f"{self._part} can be written again from its start only")
        self._seen(-self._size)
        self._digest = hashlib.sha256()
        self._size = 0
        return self._stream.seek(0)

    def truncate(self) -> int:
        """Forget what comes after the present place."""
        return self._stream.truncate(self._size)

    def discard(self) -> None:
        """Forget all of it."""
        self._seen(-self._size)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)

    def finish(self) -> None:
        """Name the file when it is what was listed; else raise WrongContent."""
        if self._size == self._entry.size and self._digest.hexdigest() == self._entry.sha256:
            os.replace(self._part, self._target)
            return
        raise WrongContent(
            f"{self._entry.path} came with {self._size} bytes and SHA-256 {self._digest.hexdigest()[:12]} in place of "
            f"{self._entry.size} bytes and {self._entry.sha256[:12]}"
        )
