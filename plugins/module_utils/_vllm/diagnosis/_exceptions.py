# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the exceptions in a log: whole, in their chains, by process, and which of them ended a process.

vLLM is several processes that write into one log. Lines of INFO and DEBUG are left out, and the others are sorted by
who wrote them, so that the traceback of one process is not torn apart by the words of another.
"""

from __future__ import annotations

import re
import typing as t

from . import _log

# How much an exception says about the end of its process.
ENDING = 0  # the process ended with it
LOGGED = 1  # it was logged as an error, and the process went on
HANDLED = 2  # it came from a warning, a thread on its own, or the cleaning up

LONGEST = 120  # lines of one exception

_TRACEBACK = re.compile(r"Traceback \(most recent call last\):?\s*$")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line \d+(?:, in (?P<function>.+))?$')
_CAUSE = re.compile(r"^The above exception was the direct cause of the following exception:")
_CONTEXT = re.compile(r"^During handling of the above exception, another exception occurred:")
# The first line of an exception behind its frames, where any name may stand, and without frames, where it has to be
# the name of an exception.
_AFTER_FRAMES = re.compile(r"^[A-Za-z_][\w.]*(?:\([\w.]*\))?(?::(?:\s|$)|$)")
_ALONE = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*_?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure|Timeout|NotFound|OutOfResources)"
    r"(?:\([\w.]*\))?(?::\s.*|:?$)|^Exception: "
)
# What ranks and groups of exceptions put in front.
_MARGIN = re.compile(r"^\[(?:default|rank)?\d+\]:\s?|^\s+[|+][-+ ]*(?:\d+ -+)?\s?")
_ENDING = re.compile(
    r"failed to start|hit an exception|encountered an? (?:fatal |unexpected )?(?:error|issue|exception)|"
    r"Process \S+:$|died|terminat|[Ff]atal|Failed to start|crashed"
)
_HANDLED = re.compile(
    r"Exception in thread|Exception ignored|was never retrieved|Exception in ASGI|Error in atexit|exception calling "
    r"callback|Error in sys\.excepthook|[Ii]gnoring|[Rr]etrying|[Ss]kipping"
)
_NEW_BEGINNING = re.compile(
    r"^(?:Process \S+:$|Exception in thread|Exception ignored|usage: |\S+: error: |Fatal Python error|!!!!!!! )"
)


class Failure(t.NamedTuple):
    """One exception: its message with all its lines, and the functions that it went through as (file, function)."""

    text: str
    frames: tuple[tuple[str, str], ...]
    source: str = ""  # the line of code that raised it

    @property
    def head(self) -> str:
        return self.text.partition("\n")[0]


class Chain(t.NamedTuple):
    """An exception with those that it came from, innermost first."""

    at: int  # the line of the log where it begins
    process: str
    weight: int
    failures: tuple[Failure, ...]


class Loose(t.NamedTuple):
    """A line that belongs to no exception."""

    at: int
    level: str
    text: str


class Found(t.NamedTuple):
    """All that can carry a cause."""

    chains: list[Chain]
    loose: list[Loose]


class _Reader:
    """Reads the lines of one writer: one process, one level, one place in its code."""

    def __init__(self, process: str, level: str) -> None:
        self.process = process
        self.level = level
        self.chains: list[Chain] = []
        self.loose: list[Loose] = []
        self._intro = ""
        self._weight = ENDING
        self._at = -1
        self._failures: list[Failure] = []
        self._frames: list[tuple[str, str]] = []
        self._message: list[str] = []
        self._source = ""
        self._state = "outside"

    def read(self, at: int, text: str) -> None:
        text = _MARGIN.sub("", text, count=1)
        stripped = text.strip()
        if _TRACEBACK.search(stripped):
            self._traceback(at)
        elif _CAUSE.match(stripped) or _CONTEXT.match(stripped):
            self._close_failure()
            self._state = "between"
        elif self._state == "frames":
            self._in_frames(at, text, stripped)
        elif _FRAME.match(text):
            # A traceback without its first line: of a log that begins later, or of another process, in a message.
            self._traceback(at)
            self._in_frames(at, text, stripped)
        elif self._state == "message":
            self._in_message(at, text, stripped)
        elif self._state == "between" and not stripped:
            pass
        else:
            self._outside(at, text, stripped)

    def _traceback(self, at: int) -> None:
        if self._state == "message" and not self._message[-1].rstrip().endswith(":") and not self._nested():
            # A new one, and no part of the message before: that of a process which was asked, say.
            self._close_chain()
        elif self._state == "message":
            # What a child says stands inside of the message, and is where the failure began.
            self._close_failure()
        if not self._failures:
            self._begin(at)
        self._frames = []
        self._state = "frames"

    def _nested(self) -> bool:
        return any(re.search(r"subprocess|[Oo]riginal|ray::|[Cc]aught \w+ in|remote", line) for line in self._message)

    def _begin(self, at: int) -> None:
        self._at = at
        if self.level == "WARNING" or _HANDLED.search(self._intro):
            self._weight = HANDLED
        elif self.level in ("", "CRITICAL") or not self._intro or _ENDING.search(self._intro):
            self._weight = ENDING
        else:
            self._weight = LOGGED

    def _in_frames(self, at: int, text: str, stripped: str) -> None:
        frame = _FRAME.match(text)
        if frame:
            self._frames.append((frame.group("file"), frame.group("function") or ""))
        elif not stripped or text[0] in " \t" or stripped.startswith("..."):
            self._source = stripped if stripped.strip("^~ ") else self._source
        elif _AFTER_FRAMES.match(text):
            self._message = [stripped]
            self._state = "message"
        else:
            # The traceback was cut off, or another process spoke in between.
            self._keep(at, text, stripped)

    def _in_message(self, at: int, text: str, stripped: str) -> None:
        another = _ALONE.match(text) and not self._message[-1].rstrip().endswith(":")
        if another or _NEW_BEGINNING.match(stripped) or len(self._message) >= LONGEST:
            self._close_chain()
            self._outside(at, text, stripped)
        elif not stripped.startswith("warnings.warn("):
            # What a warning of another place repeats of its source is not part of the message.
            self._message.append(text.rstrip())

    def _outside(self, at: int, text: str, stripped: str) -> None:
        if _ALONE.match(text):
            if not self._failures:
                self._begin(at)
            self._frames = []
            self._message = [stripped]
            self._state = "message"
            return
        if self._failures:
            self._close_chain()
        self._keep(at, text, stripped)

    def _keep(self, at: int, text: str, stripped: str) -> None:
        if stripped:
            self._intro = stripped
            self.loose.append(Loose(at, self.level, text.rstrip()))

    def _close_failure(self) -> None:
        if self._message:
            text = "\n".join(self._message).strip()
            self._failures.append(Failure(text, tuple(self._frames), self._source))
        self._message, self._frames, self._source = [], [], ""

    def _close_chain(self) -> None:
        self._close_failure()
        if self._failures:
            self.chains.append(Chain(self._at, self.process, self._weight, tuple(_inner_first(self._failures))))
        self._failures = []
        self._intro = ""
        self._state = "outside"

    def end(self) -> None:
        self._close_chain()


def _inner_first(failures: t.Sequence[Failure]) -> t.Iterator[Failure]:
    """Yield a chain as it is logged: a message with a child's traceback stands before what the child says."""
    outer: list[Failure] = []
    for failure in failures:
        if failure.text.rstrip().endswith(":") and failure is not failures[-1]:
            outer.append(failure)
            continue
        yield failure
        while outer:
            yield outer.pop()
    yield from outer


def read(lines: t.Sequence[str]) -> Found:
    """Find the exceptions of a log, in the order in which they were written."""
    readers: dict[tuple[str, str, str], _Reader] = {}
    for at, raw in enumerate(lines):
        line = _log.parse_line(raw)
        if line.level in ("INFO", "DEBUG"):
            continue
        # A warning has its source in front of its text only on its first line: what follows is nobody's.
        key = (line.process, line.level, line.source)
        readers.setdefault(key, _Reader(line.process, line.level)).read(at, line.text)
    for reader in readers.values():
        reader.end()
    return Found(
        sorted((chain for reader in readers.values() for chain in reader.chains), key=lambda chain: chain.at),
        sorted((loose for reader in readers.values() for loose in reader.loose), key=lambda loose: loose.at),
    )
