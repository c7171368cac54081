# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs of containers: two streams in one, lines out of pieces, and the engine's timestamps."""

from __future__ import annotations

import datetime
import re
import struct
import typing as t

_TIMESTAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$")
_HEADER = struct.Struct(">BxxxI")  # number of the stream, and the length of what follows
LONGEST_LINE = 1024 * 1024  # bytes; a program that never ends its line must not fill the memory

STDOUT, STDERR = 1, 2


class LogLine(t.NamedTuple):
    """One line of a container's log and when it was written, in seconds since the epoch."""

    at: float
    text: str


def demultiplex(pieces: t.Iterable[bytes]) -> t.Iterator[tuple[int, bytes]]:
    """Yield what was written to which stream out of the engine's frames, which pieces may cut anywhere."""
    rest = bytearray()
    stream, left = 0, 0
    for piece in pieces:
        rest += piece
        while rest:
            if not left:
                if len(rest) < _HEADER.size:
                    break
                stream, left = _HEADER.unpack_from(rest)
                del rest[: _HEADER.size]
                continue
            part = bytes(rest[:left])
            del rest[:left]
            left -= len(part)
            yield stream, part


def split_lines(chunks: t.Iterable[bytes], longest: int = LONGEST_LINE) -> t.Iterator[str]:
    """Yield whole lines out of pieces that may end anywhere; a line that is too long is cut."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
        while len(rest) > longest:
            yield rest[:longest].decode("utf-8", "replace")
            rest = rest[longest:]
    if rest:
        yield rest.decode("utf-8", "replace")


def merge_lines(frames: t.Iterable[tuple[int, bytes]]) -> t.Iterator[str]:
    """Yield the lines of both streams in the order in which they end, none with a part of the other's in it."""
    rests: dict[int, bytes] = {}
    for stream, part in frames:
        *whole, rest = (rests.get(stream, b"") + part).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        rests[stream] = rest
        for line in whole:
            yield line.decode("utf-8", "replace")
    for rest in rests.values():
        if rest:
            yield rest.decode("utf-8", "replace")


def parse_log_line(line: str, at: float = 0.0) -> LogLine:
    """Return a line with the engine's timestamp in front; one without it belongs to the time ``at``."""
    stamp, _blank, text = line.partition(" ")
    stamped = epoch(stamp)
    return LogLine(stamped, text) if stamped else LogLine(at, line)


def epoch(stamp: str) -> float:
    """Return seconds since the epoch for the engine's timestamps, which have nanoseconds; 0 for none or "never"."""
    match = _TIMESTAMP.match(stamp)
    if not match or stamp.startswith("0001-"):
        return 0.0
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    try:
        whole = datetime.datetime.fromisoformat(match.group(1) + zone).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return whole + float(match.group(2) or 0)
