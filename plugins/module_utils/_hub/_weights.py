# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of weight files that need no hash: is this what its name says, or an error page or pointer in its place?"""

from __future__ import annotations

import json
import os
import re

from .._regular import regular

# With the older names that git-lfs takes as well.
_POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1|git-media\.io/v/2)"
)
POINTER_LIMIT = 1024

# The format caps its own header at 100 MB.
HEADER_LIMIT = 100_000_000


def parse_pointer(content: bytes) -> tuple[str, int] | None:
    """Return SHA-256 and size from a Git LFS pointer; None when the content is not a pointer."""
    # Like git-lfs, with any blanks and ends of lines, which editors and checkouts leave in it.
    lines = [line.strip() for line in content.strip().splitlines()]
    if len(content) > POINTER_LIMIT or not lines or not _POINTER.fullmatch(lines[0]):
        return None
    text = b"\n".join(lines)
    oid = re.search(rb"^oid sha256:([0-9a-fA-F]{64})$", text, re.MULTILINE)
    size = re.search(rb"^size ([0-9]{1,20})$", text, re.MULTILINE)
    return (oid.group(1).decode().lower(), int(size.group(1))) if oid and size else None


def safetensors_problem(head: bytes, size: int) -> str:
    """Return why the start of a safetensors file does not fit a file of ``size`` bytes; empty when it does.

    The format is eight bytes of header length, a JSON header, and the data that the header describes to its last byte.
    """
    if size < 8 or len(head) < 8:
        return "it is too short for a safetensors file"
    length = int.from_bytes(head[:8], "little")
    if length > HEADER_LIMIT or 8 + length > size:
        return "its header is longer than the file, so it is not a safetensors file or is truncated"
    try:
        header = json.loads(head[8 : 8 + length].decode("utf-8"))
        ends = [item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "its header is not that of a safetensors file"
    if not all(isinstance(end, int) and not isinstance(end, bool) and end >= 0 for end in ends):
        return "its header is not that of a safetensors file"
    expected = 8 + length + max(ends, default=0)
    return "" if expected == size else f"its header describes {expected} bytes, the file has {size}"


def problem_of(path: str) -> str:
    """Return why a file on disk cannot be what its name says; empty when nothing speaks against it."""
    size = os.path.getsize(path)
    with open(path, "rb", opener=regular) as stream:
        head = stream.read(POINTER_LIMIT)
        if size <= POINTER_LIMIT and parse_pointer(head):
            return "it is a Git LFS pointer in place of the file itself; the repository lacks its LFS objects"
        if not path.endswith(".safetensors"):
            return ""
        length = int.from_bytes(head[:8], "little")
        if len(head) < 8 + length <= min(size, 8 + HEADER_LIMIT):
            head += stream.read(8 + length - len(head))
    return safetensors_problem(head, size)
