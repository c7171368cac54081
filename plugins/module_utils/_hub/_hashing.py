# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hash many big files, several at a time, and leave the page cache as it was: a server lives from what is in it."""

from __future__ import annotations

import hashlib
import os
import typing as t

from .._regular import regular

BLOCK = 1024 * 1024

# Pages are given back in windows of this size; a multiple of BLOCK.
WINDOW = 8 * BLOCK

# mincore(2) answers with one byte a page, of which only the lowest bit means something.
_LOWEST_BIT = bytes(value & 1 for value in range(256))


def threads() -> int:
    """Return how many files are hashed at a time: one for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cached_windows(descriptor: int, size: int) -> set[int]:
    """Return the windows of an open file with any page in memory; empty where the kernel does not tell."""
    # Costly to import, and of no use to a run that reads nothing.
    import ctypes
    import mmap

    if size == 0:
        return set()
    try:
        view = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):
        return set()
    pages = -(-size // mmap.PAGESIZE)
    resident = (ctypes.c_ubyte * pages)()
    try:
        start = ctypes.c_char.from_buffer(view)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, ctypes.c_size_t(size), resident)
        del start
    finally:
        view.close()
    if failed:
        return set()
    each = WINDOW // mmap.PAGESIZE
    flags = bytes(resident).translate(_LOWEST_BIT)
    return {window for window in range(-(-pages // each)) if 1 in flags[window * each : (window + 1) * each]}


def sha256_of(path: str, seen: t.Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file; ``seen`` is called with the number of bytes of each block."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0, opener=regular) as stream:
        descriptor = stream.fileno()
        cached = cached_windows(descriptor, os.fstat(descriptor).st_size)
        buffer = bytearray(BLOCK)
        view = memoryview(buffer)
        position = 0
        while True:
            count = stream.readinto(buffer)
            if count:
                digest.update(view[:count])
                position += count
                if seen is not None:
                    seen(count)
            if not count or position % WINDOW == 0:
                window = (position - 1) // WINDOW
                if position and window not in cached:
                    _give_back(descriptor, window)
            if not count:
                return digest.hexdigest()


def hash_files(paths: t.Sequence[str], seen: t.Callable[[int], None] | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file; ``seen`` is called from several threads."""
    if not paths:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    largest_first = sorted(paths, key=os.path.getsize, reverse=True)
    with ThreadPoolExecutor(max_workers=max(1, min(threads(), len(paths)))) as pool:
        return dict(zip(largest_first, pool.map(lambda path: sha256_of(path, seen), largest_first)))


def _give_back(descriptor: int, window: int) -> None:
    """Let the kernel forget pages that only this reading brought in."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, window * WINDOW, WINDOW, os.POSIX_FADV_DONTNEED)
