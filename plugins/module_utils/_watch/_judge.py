# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is the matter with a server, and what is to be done: decided from one look and what is remembered.

Docker's restart policy starts a container whose process ended. The watch does what Docker does not: it restarts a
server that hangs, and starts one that the engine could not start. It never stops a server, and it leaves alone what
somebody stopped. The members of a server over several hosts have no restart policy of Docker's, so it starts them, too.
"""

from __future__ import annotations

import typing as t

from . import _cures, _memory, _probing, _ties
from ._config import STARTED, Limits
from ._memory import Memory
from ._seen import Seen

NOTHING, START, RESTART = "nothing", "start", "restart"

# How much longer than a limit a server may give no sign where nothing but its answers can tell.
BLIND_FACTOR = 6
# Seconds after the time that a container has to stop, before a server that answers wrongly counts as one that stays so.
MARGIN = 15.0
MOST_BACKOFF = 600.0  # seconds between two attempts


class Verdict(t.NamedTuple):
    """How a server is, and what a pass should do. ``cause`` is set where something is to be restarted."""

    state: str
    action: str = NOTHING
    message: str = ""
    cause: str = ""
    free: bool = False  # nothing works that a start would take away, so it may be tried as often as one likes


def judge(seen: Seen, memory: Memory, declared: str, limits: Limits, start_limit: float) -> Verdict:
    """Return the verdict. ``memory`` must know of this start already (`recall`); ``start_limit`` is for one start."""
    if seen.problem:
        return Verdict(_memory.UNKNOWN, message=seen.problem)
    if seen.holder:
        return Verdict(_memory.CHANGING, message=seen.holder)
    if not seen.present:
        return Verdict(
            _memory.STOPPED if declared != STARTED else _memory.ABSENT,
            message=""
            if declared != STARTED
            else "it is not there; run the playbook that makes it (servers, webui or gateway)",
        )
    if declared != STARTED:
        return Verdict(_memory.STOPPED, message="declared so")
    if seen.paused:
        return Verdict(_memory.STOPPED, message="somebody paused it")
    if seen.restarting:
        return Verdict(_memory.RESTARTING, message=f"it ends after each start, and {seen.keeper} starts it again")
    if not seen.running:
        return _at_rest(seen, memory)
    if seen.member:
        parted = _parted(seen, memory, limits)
        if parted is not None:
            return parted
    if seen.worker:
        return Verdict(_memory.JOINED if seen.ties else _memory.STARTING)
    return _at_work(seen, memory, limits, start_limit)


def _parted(seen: Seen, memory: Memory, limits: Limits) -> Verdict | None:
    """Return what becomes of a member of a server over several hosts that has lost another one; None when it has not.

    Members are bound to one life of each other: a head waits for ever for workers of before, and they do not notice.
    So each host ends its own member when another one has gone, and starts it anew; those that are first wait.
    """
    gone = _ties.lost(memory.ties, seen.ties or {})
    text = f"its connection to {', '.join(gone)} has ended" if gone else ""
    if not gone and memory.ties and seen.knock == _ties.REFUSED:
        text = "its head does not listen any more"
    if not gone and memory.ties and seen.knock == _ties.AWAY:
        # The network may be back before anybody notices, so this takes a while.
        if not memory.trouble_since or seen.at - memory.trouble_since < limits.busy:
            return Verdict(_memory.FAILING, message="the host of its head does not answer")
        text = f"the host of its head did not answer for {limits.busy:g} seconds"
    return Verdict(_memory.FAILING, RESTART, text, _cures.PARTED, free=True) if text else None


def _at_rest(seen: Seen, memory: Memory) -> Verdict:
    if memory.restarting:
        return Verdict(_memory.STOPPED, START, "the watch was cut off while it restarted it", _cures.NOT_STARTED)
    if seen.policy == "no" and not seen.member:
        return Verdict(_memory.STOPPED, message="it ended, and restart_policy says no")
    if seen.not_started:
        return Verdict(_memory.STOPPED, START, f"{seen.keeper} did not start it: {seen.error}", _cures.NOT_STARTED)
    if seen.member:
        # Its restart policy is ours, and any end of it ends the whole server.
        text = f"its member ended (exit code {seen.exit_code})"
        return Verdict(_memory.STOPPED, START, text, "" if seen.started_at > 0 else _cures.NOT_STARTED, free=True)
    return Verdict(_memory.STOPPED, message=f"stopped by somebody (exit code {seen.exit_code})")


def _at_work(seen: Seen, memory: Memory, limits: Limits, start_limit: float) -> Verdict:
    probe = seen.probe
    if probe is None:
        return Verdict(_memory.STARTING)
    if probe.outcome == _probing.GENERATED:
        return Verdict(_memory.READY)
    if probe.outcome == _probing.MOVING:
        return Verdict(_memory.BUSY, message=probe.text)
    if not memory.worked:
        if seen.at - seen.started_at <= start_limit:
            return Verdict(_memory.STARTING)
        text = f"it was not ready within {start_limit:g} seconds"
        return Verdict(_memory.HUNG, RESTART, text, _cures.STUCK)
    if seen.broken_way:
        return Verdict(_memory.UNREACHABLE, message=seen.broken_way)
    if probe.outcome == _probing.STILL:
        return Verdict(_memory.HUNG, RESTART, probe.text, _cures.HUNG)
    if probe.outcome == _probing.DEAF:
        return Verdict(_memory.HUNG, RESTART, probe.text, _cures.SILENT)
    if probe.outcome == _probing.REFUSED:
        return Verdict(_memory.FAILING, message=probe.text)
    # It may be about to stop, by somebody's hand or by its own, and then its container ends.
    patience = seen.stop_seconds + MARGIN
    if probe.outcome == _probing.BLIND:
        patience = BLIND_FACTOR * limits.busy
    since = memory.trouble_since or seen.at
    if seen.at - since < patience:
        return Verdict(_memory.FAILING, message=probe.text)
    cause = _cures.SILENT if probe.outcome == _probing.DOWN else _cures.HUNG
    if probe.outcome == _probing.ERROR:
        cause = ""  # what its log says
    return Verdict(_memory.FAILING, RESTART, probe.text, cause)


class Leave(t.NamedTuple):
    """Whether a restart is allowed now."""

    granted: bool
    why_not: str = ""
    given_up: bool = False


def may_restart(memory: Memory, cause: str, limits: Limits, now: float, free: bool = False) -> Leave:
    """Say whether one more restart is allowed: the cause must be one that a restart cures, and they must be few.

    ``free`` is one of a server that does not work anyway until it was tried often enough.
    """
    starting = cause == _cures.NOT_STARTED
    recent = [at for at in memory.attempts if 0 <= now - at < limits.window]
    if not starting and not _cures.is_curable(cause):
        return Leave(False, "a restart cannot cure this", given_up=True)
    # A start takes nothing away, and what it lacks may come, so starts are only further and further apart.
    if not (starting or free) and len(recent) >= limits.restarts:
        text = f"{len(recent)} restarts within {limits.window:g} seconds did not help, so it is left as it is"
        return Leave(False, text, given_up=True)
    if memory.given_up:
        return Leave(False, "it is left until somebody starts it", given_up=True)
    if recent:
        due = max(recent) + min(limits.backoff * 2 ** (len(recent) - 1), MOST_BACKOFF)
        if now < due:
            return Leave(False, f"the next attempt is due in {due - now:.0f} seconds")
    return Leave(True)


def recall(memory: Memory, seen: Seen) -> int:
    """Bring the memory up to this start of the container; returns how often Docker started it again since."""
    again = 0
    # A clock that was put back must not make an old trouble one that is still to come.
    memory.trouble_since = min(memory.trouble_since, seen.at)
    if (seen.container, seen.started_at) != (memory.container, memory.started_at):
        memory.ties = {}
    if seen.container != memory.container:
        # A run made another one: what was true of the one before is not of this one.
        memory.container = seen.container
        _forget(memory)
    elif seen.started_at != memory.started_at:
        again = max(0, seen.restart_count - memory.restart_count)
        memory.worked = False
        memory.trouble_since = 0.0
        if not again and abs(seen.started_at - memory.own_start) > 1.0:
            # Somebody started it, or the whole host was started.
            _forget(memory)
    elif seen.not_started and memory.worked:
        # It was well until the engine, or the host, was started anew.
        _forget(memory)
    elif seen.restarting and seen.restart_count > memory.restart_count:
        again = seen.restart_count - memory.restart_count
    memory.started_at = seen.started_at
    memory.restart_count = seen.restart_count
    return again


def _forget(memory: Memory) -> None:
    memory.worked = memory.given_up = memory.restarting = False
    memory.trouble_since = 0.0
    memory.attempts = []


def remember(memory: Memory, seen: Seen, verdict: Verdict) -> None:
    """Note the verdict."""
    memory.state, memory.message = verdict.state, verdict.message
    if seen.probe is not None:
        memory.last_probe = seen.at
        memory.requests = seen.probe.requests
    if seen.ties is not None and verdict.cause != _cures.PARTED:
        memory.ties = {peer: sorted(ports) for peer, ports in seen.ties.items()}
    if verdict.state in _memory.UP:
        memory.worked = True
        # A worker generates nothing itself.
        memory.last_token = memory.last_token if seen.worker else seen.at
        memory.trouble_since = 0.0
        memory.given_up = memory.restarting = False
    elif verdict.state in (_memory.HUNG, _memory.FAILING, _memory.UNREACHABLE):
        memory.trouble_since = memory.trouble_since or seen.at
    elif verdict.state != _memory.CHANGING:
        memory.trouble_since = 0.0
