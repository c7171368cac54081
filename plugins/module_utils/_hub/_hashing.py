# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hash many big files, several at a time, without pushing what a server uses out of the page cache."""

from __future__ import annotations

import hashlib
import os
import typing as t
from concurrent.futures import ThreadPoolExecutor

BLOCK = 1024 * 1024
THREADS = 4


def sha256_of(path: str, seen: t.Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file; ``seen`` is called with the number of bytes of each block."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        buffer = bytearray(BLOCK)
        view = memoryview(buffer)
        while True:
            count = stream.readinto(buffer)
            if not count:
                break
            digest.update(view[:count])
            if seen is not None:
                seen(count)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def hash_files(paths: t.Sequence[str], seen: t.Callable[[int], None] | None = None) -> dict[str, str]:
    """The SHA-256 of each file; ``seen`` is called from several threads."""
    workers = max(1, min(THREADS, os.cpu_count() or 1, len(paths)))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return dict(zip(paths, pool.map(lambda path: sha256_of(path, seen), paths)))
