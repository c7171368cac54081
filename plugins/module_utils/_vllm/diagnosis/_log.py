# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What vLLM says in its log while it starts: how far it is, and what it found out."""

from __future__ import annotations

import contextlib
import re
import typing as t

# "(EngineCore pid=4182) INFO 11-23 10:31:41 [core.py:133] text": several processes, or none, a level or none.
_PROCESS = re.compile(
    r"^\((?P<process>[A-Za-z][\w.-]*)(?:[_ ][^()]*?)?\s?pid=\d+(?:,[^()]*)?\)\s?|"
    r"^\((?P<ray>raylet|autoscaler[^()]*)\)\s?"
)
# vLLM's own form (until 0.7 without brackets), then those of uvicorn, Ray, absl and glog, PyTorch, warnings, and NCCL.
_LEVELS = tuple(
    re.compile(pattern)
    for pattern in (
        (
            r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?\s+"
            r"(?:\[(?P<source>[^\]]+)\]|(?P<old_source>[\w./]+:\d+\]))\s?"
        ),
        r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+",
        (
            r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+\s+(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+"
            r"(?P<source>\S+:\d+) --\s?"
        ),
        r"^(?:\[rank\d+\]:)?\[?(?P<letter>[IWEF])\d{3,4} \d\d:\d\d:\d\d\.\d+\s[^\]]*\]\s?",
        r"^\S+\.py:\d+: (?P<warning>\w*Warning): ",
        r"^\S+:\d+:\d+ \[\d+\] NCCL (?P<level>INFO|WARN)\s",
    )
)
_LETTERS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL", "WARN": "WARNING"}
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# The patterns of a diagnosis take the square of a line's length, and what a reason needs stands at one of its ends.
LONGEST_LINE = 4000  # characters


def bounded(line: str) -> str:
    """Return a line, without the middle of one that is longer than any that tells a reason."""
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE * 3 // 4]} … {line[-LONGEST_LINE // 4 :]}"


class Line(t.NamedTuple):
    """One line of the log, without what logging puts in front: its level, text, process, and the place it came from."""

    level: str
    text: str
    process: str = ""
    source: str = ""


def parse_line(raw: str) -> Line:
    """Take a line apart. With several processes in front, the last one is the process that wrote it."""
    text = _TERMINAL.sub("", raw.rstrip("\r\n"))
    # A progress bar redraws its line; what counts is what was drawn last.
    text = bounded(text.rsplit("\r", 1)[-1])
    process = ""
    match = _PROCESS.match(text)
    while match:
        process = match.group("process") or match.group("ray")
        text = text[match.end() :]
        match = _PROCESS.match(text)
    for pattern in _LEVELS:
        match = pattern.match(text)
        if match:
            groups = match.groupdict()
            level = groups.get("level") or groups.get("letter") or "WARNING"
            source = groups.get("source") or groups.get("old_source") or ""
            return Line(_LETTERS.get(level, level), text[match.end() :], process, source)
    return Line("", text, process)


ANSWERING = "answering"

# The first pattern that the newest line matches says what vLLM is doing; braces take the pattern's groups.
_PHASES = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"Application startup complete|Uvicorn running on", ANSWERING),
        (r"Starting vLLM (?:API )?server", "opening the API"),
        (r"Capturing CUDA graphs?.*?(\d+)%", "capturing CUDA graphs, {0} %"),
        (r"Capturing CUDA graph|[Gg]raph capturing", "capturing CUDA graphs"),
        (r"init engine \(profile", "opening the API"),
        (r"^(?:Warming up|Starting warmup)", "warming up"),
        (r"KV cache size: ([\d,]+) tokens", "warming up with a KV cache of {0} tokens"),
        (r"Available KV cache memory", "sizing the KV cache"),
        (r"torch\.compile takes?|Dynamo bytecode transform|Compiling a graph|Start compiling", "compiling the model"),
        (r"Model loading took", "measuring memory"),
        (r"Loading .*checkpoint shards:.*?(\d+)/(\d+)", "loading weights, file {0} of {1}"),
        (r"Loading weights took", "measuring memory"),
        (r"Starting to load model|Loading .*checkpoint", "loading weights"),
        (r"Initializing a V\d LLM engine", "starting the engine"),
        (r"Resolved architecture: (\S+)", "reading the model's configuration ({0})"),
        (r"non-default args|vLLM API server version", "reading options"),
    )
)

STARTING = "starting vLLM"


def phase(line: str) -> str | None:
    """Return the phase of its start that vLLM has just begun, by this line; None when the line does not tell."""
    text = parse_line(line).text
    for pattern, words in _PHASES:
        match = pattern.search(text)
        if match:
            return words.format(*match.groups())
    return None


def latest_phase(lines: t.Iterable[str]) -> str:
    """Return the phase that vLLM is in after it has logged these lines."""
    found = STARTING
    for line in lines:
        found = phase(line) or found
    return found


_FACTS: tuple[tuple[str, re.Pattern[str], t.Callable[[str], t.Any]], ...] = (
    ("kv_cache_tokens", re.compile(r"KV cache size: ([\d,]+) tokens"), lambda text: int(text.replace(",", ""))),
    (
        "max_concurrency",
        re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x"),
        float,
    ),
    (
        "max_model_len",
        re.compile(r"Maximum concurrency for ([\d,]+) tokens per request"),
        lambda text: int(text.replace(",", "")),
    ),
    ("kv_cache_gib", re.compile(r"Available KV cache memory: ([\d.]+) GiB"), float),
    ("weights_gib", re.compile(r"Model loading took ([\d.]+) GiB"), float),
    ("load_seconds", re.compile(r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds"), float),
    ("compile_seconds", re.compile(r"torch\.compile (?:took|takes) ([\d.]+) s in total"), float),
    ("graph_seconds", re.compile(r"Graph capturing finished in ([\d.]+) secs?"), float),
)


def facts(lines: t.Iterable[str]) -> dict[str, t.Any]:
    """Return what the log tells about capacity and start-up time. With several starts in one log the last one counts.

    With several starts in one log the last one counts.
    """
    found: dict[str, t.Any] = {}
    for line in lines:
        text = parse_line(line).text
        for name, pattern, convert in _FACTS:
            match = pattern.search(text)
            if match:
                # A line that was torn apart by that of another process may hold half a number, or two.
                with contextlib.suppress(ValueError):
                    found[name] = convert(match.group(1))
    return found
