# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that systemd runs: one pass at each tick of the timer, and passes until all is up after a boot."""

from __future__ import annotations

import io
import os
import sys
import time
import typing as t

from .. import _replace
from .._engine import _lock
from .._engine._api import EngineError, address_of
from .._engine._client import Engine
from . import _config, _memory, _metrics
from ._pass import Pass, say

BOOT_SECONDS = 3600.0  # how long the unit of a boot follows servers that wait; the timer goes on after it
BETWEEN = 3.0  # seconds between two passes of a boot
ENGINE_SECONDS = 60.0  # for an answer of the engine

PASS, BOOT = "pass", "boot"


class _Running(Exception):
    """Another pass is at work."""


def one_pass(config: _config.Config) -> bool:
    """Make one pass, and return whether a server waits for its start. Only one pass is at work at a time."""

    def refuse(holder: object) -> None:
        raise _Running

    config = config._replace(limits=_config.strained(config.limits, os.getloadavg()[0], os.cpu_count() or 1))
    with _lock.hold("server_watch", "pass", waiting=refuse):
        memories = _memory.read()
        engine, trouble = None, ""
        if config.servers or config.webs:
            try:
                engine = Engine.connect(address_of(config.docker_host), ENGINE_SECONDS)
            except EngineError as error:
                trouble = str(error)
                say(trouble)
        try:
            Pass(engine, config, memories, lambda: _memory.write(memories), trouble=trouble).run()
        except EngineError as error:
            say(str(error))
            for memory in memories.values():
                memory.state, memory.message = _memory.UNKNOWN, str(error)
        _memory.write(memories)
        text = _metrics.render(memories, time.time())
        _replace.write_text(os.path.join(config.metrics, _metrics.FILE), text, 0o644)
    return any(memory.state in (_memory.WAITING, _memory.UNKNOWN) for memory in memories.values())


def boot(
    config: _config.Config,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
    make_pass: t.Callable[[_config.Config], bool] = one_pass,
) -> None:
    """Make passes until no server waits for its start."""
    deadline = clock() + BOOT_SECONDS
    waits = True
    while waits and clock() < deadline:
        try:
            waits = make_pass(config)
        except _Running:
            waits = True
        if waits:
            sleep(BETWEEN)


def main(arguments: t.Sequence[str]) -> int:
    """Run what the unit asks for."""
    # A log in another language must not end a pass where the locale cannot write it.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        config = _config.read()
        if list(arguments) == [BOOT]:
            boot(config)
        elif list(arguments) == [PASS]:
            one_pass(config)
        else:
            sys.stderr.write(f"usage: {PASS} | {BOOT}\n")
            return 2
    except _Running:
        return 0
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
