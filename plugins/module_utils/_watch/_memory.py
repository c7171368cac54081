# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the watch remembers of each server from one pass to the next, in one file that root alone can write."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from .. import _paths
from .._replace import read_file, write_text

ROOT = _paths.WATCH_MEMORY
FILE = "state.json"
LARGEST = 16 * 1024 * 1024

# How a server is.
READY = "ready"  # it generated a token
BUSY = "busy"  # it works on other requests, and gets on
JOINED = "joined"  # a worker of a server over several hosts, connected to its head
STARTING = "starting"
WAITING = "waiting"  # its start waits for GPUs, files, or its turn
HUNG = "hung"
FAILING = "failing"  # it answers with errors
RESTARTING = "restarting"  # it ends again and again, and the engine starts it
STOPPED = "stopped"  # declared so, or by hand
ABSENT = "absent"
UNREACHABLE = "unreachable"  # it is up in its container, and not reached at its port
CHANGING = "changing"  # a run is at work on it
UNKNOWN = "unknown"  # the engine did not answer

STATES = (
    READY,
    BUSY,
    JOINED,
    STARTING,
    WAITING,
    HUNG,
    FAILING,
    RESTARTING,
    STOPPED,
    ABSENT,
    UNREACHABLE,
    CHANGING,
    UNKNOWN,
)
UP = (READY, BUSY, JOINED)
MOST_NUMBER = 2**53  # what a JSON file keeps exactly


@dataclasses.dataclass
class Memory:
    """What is known of one server. Times are seconds since the epoch; 0 is never."""

    state: str = UNKNOWN
    message: str = ""
    container: str = ""
    started_at: float = 0.0
    restart_count: int = 0
    worked: bool = False  # since this start of it
    requests: int = 0  # when it was last asked how busy it is
    trouble_since: float = 0.0
    last_probe: float = 0.0
    last_token: float = 0.0
    attempts: t.List[float] = dataclasses.field(default_factory=list)  # noqa: UP006 - read by Python 3.8
    restarting: bool = False  # a restart of our own was begun
    own_start: float = 0.0  # the start that our last restart led to
    given_up: bool = False
    # Of a member of a server over several hosts: its connections to the others since this start of it.
    ties: t.Dict[str, t.List[int]] = dataclasses.field(default_factory=dict)  # noqa: UP006 - read by Python 3.8
    restarts_total: int = 0
    falls_total: int = 0
    fell: float = 0.0  # the start whose fall was noted
    last_fall: t.Dict[str, t.Any] = dataclasses.field(default_factory=dict)  # noqa: UP006 - read by Python 3.8


def path_of(root: str = ROOT) -> str:
    return os.path.join(root, FILE)


def parse(text: str) -> dict[str, Memory]:
    """Return what is remembered, by server; what another release or a broken disk wrote is forgotten."""
    try:
        servers = json.loads(text)["servers"].items()
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}
    return {str(name): _sound(values) for name, values in servers if isinstance(values, dict)}


def _sound(values: t.Mapping[str, t.Any]) -> Memory:
    """Return the memory of one server without what no pass wrote, so that no later step stumbles over it."""
    fresh = dataclasses.asdict(Memory())
    known = {key: value for key, value in values.items() if key in fresh and _is_like(value, fresh[key])}
    known["attempts"] = [at for at in known.get("attempts", []) if _is_like(at, 0.0)]
    known["ties"] = {
        peer: ports
        for peer, ports in known.get("ties", {}).items()
        if isinstance(ports, list) and all(_is_like(port, 0) for port in ports)
    }
    fall = known.get("last_fall", {})
    if not _is_like(fall.get("at"), 0.0) or not isinstance(fall.get("cause"), str):
        known.pop("last_fall", None)
    return Memory(**known)


def _is_like(value: object, example: object) -> bool:
    """Say whether a value is of the kind of another one; a number must be one that can be reckoned with."""
    if isinstance(example, bool) or not isinstance(example, (int, float)):
        return isinstance(value, type(example))
    if isinstance(value, bool) or not isinstance(value, (int, float) if isinstance(example, float) else int):
        return False
    return abs(value) <= MOST_NUMBER  # neither NaN nor infinite


def read(root: str = ROOT) -> dict[str, Memory]:
    """Return what is remembered; empty when there is nothing."""
    try:
        content = read_file(path_of(root), LARGEST)
        return {} if content is None else parse(content.decode("utf-8"))
    except (OSError, ValueError):
        return {}


def write(memories: t.Mapping[str, Memory], root: str = ROOT) -> None:
    """Keep it, in one step."""
    text = json.dumps({"servers": {name: dataclasses.asdict(one) for name, one in memories.items()}}, indent=1)
    write_text(path_of(root), text + "\n", 0o600)


def told_all(root: str = ROOT) -> list[dict[str, t.Any]]:
    """Return what people are told of everything that is watched, each with its name."""
    return [{"name": name, **told(memory)} for name, memory in read(root).items()]


def told(memory: Memory | None) -> dict[str, t.Any]:
    """Return what people are told of a server that is watched; empty for one that is not."""
    if memory is None:
        return {}
    return {
        "state": memory.state,
        "message": memory.message,
        "last_probe": memory.last_probe or None,
        "last_token": memory.last_token or None,
        "restarts": memory.restarts_total,
        "falls": memory.falls_total,
        "given_up": memory.given_up,
        "last_fall": memory.last_fall or None,
    }
