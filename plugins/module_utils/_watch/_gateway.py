# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway, as the watch asks and starts it.

It is a unit of systemd, which starts it again when it ends. The watch does what systemd does not: it starts it where
systemd has given up, and restarts it when it hangs. One that takes no further connection, because it has as many as it
may, does not hang: then its runtime socket still answers.
"""

from __future__ import annotations

import subprocess
import typing as t

from .._engine._api import EngineError
from .._gateway._runtime import Runtime, RuntimeSocketError
from .._vllm.api._probe import Server
from . import _cures, _probing
from ._config import GATEWAY as UNIT
from ._seen import Seen
from ._webs import ask, fall

if t.TYPE_CHECKING:
    from .._vllm.diagnosis._diagnosis import Diagnosis
    from ._config import Door, Limits
    from ._kind import Found
    from ._memory import Memory

SOCKET = "/run/private_llm_gateway/admin.sock"
ASKED = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStartTimestamp")
LOOK_SECONDS = 20.0
START_SECONDS = 120.0
RUNNING = ("active", "reloading", "refreshing")


def systemctl(arguments: t.Sequence[str], seconds: float = LOOK_SECONDS) -> str:
    """Return what systemctl prints; EngineError where it fails."""
    try:
        done = subprocess.run(
            ["systemctl", *arguments], capture_output=True, text=True, timeout=seconds, check=False, shell=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"systemctl {arguments[0]} {UNIT}: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise EngineError(f"systemctl {arguments[0]} {UNIT}: {said}")
    return done.stdout


class Gateway:
    """The gateway of one host."""

    # Nobody else starts or stops it but systemd, which takes one order after another.
    lock = "gateway"

    def __init__(
        self,
        door: Door | None,
        limits: Limits,
        control: t.Callable[..., str] = systemctl,
        runtime: t.Callable[[str, float], Runtime] = Runtime,
    ) -> None:
        self._door, self._limits, self._control, self._runtime = door, limits, control, runtime

    def find(self, name: str) -> Found | None:
        said = self._control(["show", "--timestamp=unix", f"--property={','.join(ASKED)}", f"{UNIT}.service"])
        found = dict(line.partition("=")[::2] for line in said.splitlines())
        return found if found.get("LoadState") == "loaded" else None

    def seen(self, found: Found | None, at: float) -> Seen:
        if found is None:
            return Seen(at, present=False)
        state, again = found.get("ActiveState"), found.get("SubState") == "auto-restart"
        return Seen(
            at,
            running=state in RUNNING or (state == "activating" and not again),
            restarting=again,
            container=UNIT,
            started_at=_time(str(found.get("ExecMainStartTimestamp") or "")),
            error=f"it gave up ({found.get('Result')})" if state == "failed" else "",
            restart_count=int(found.get("NRestarts") or 0),
            keeper="systemd",
        )

    def asked(self, name: str, found: Found, seen: Seen, memory: Memory) -> Seen:
        if found.get("ActiveState") not in RUNNING or self._door is None:
            return seen
        probe = _probing.Probe(_probing.STILL, "its runtime socket does not answer")
        if self._door.port:
            probe = ask(Server(*self._door), "/", self._limits.busy)
        if probe.outcome != _probing.GENERATED and self._answers():
            probe = _probing.Probe(_probing.MOVING, "its runtime socket answers, its port for metrics does not")
            probe = probe if self._door.port else _probing.Probe(_probing.GENERATED)
        return seen._replace(probe=probe)

    def _answers(self) -> bool:
        try:
            return bool(self._runtime(SOCKET, LOOK_SECONDS).ask("show info"))
        except RuntimeSocketError:
            return False

    def start_limit(self, found: Found | None, seen: Seen) -> float:
        return self._limits.busy  # it is ready when systemd says that it runs

    def missing(self, found: Found) -> str:
        return ""

    def hung(self, name: str, found: Found, cause: str, text: str) -> Diagnosis:
        said = "the gateway answered nothing any more"
        return fall(said, text, f"see journalctl -u {UNIT} when it happens again", cause)

    def ended(self, name: str, found: Found, seen: Seen, began: float, worked: bool) -> Diagnosis:
        result = f"the unit's result is {found.get('Result')}"
        return fall("the gateway ended by itself", result, f"see journalctl -u {UNIT}", "ended")

    def refused(self, name: str, error: str) -> Diagnosis:
        said = "systemd could not start the gateway"
        return fall(said, error, f"see journalctl -u {UNIT}, then run the playbook gateway", _cures.NOT_STARTED)

    def keep(self, name: str, began: float) -> str:
        return ""  # the journal has it

    def stop(self, name: str) -> None:
        # What hangs does not end by itself, and systemd would wait for it.
        self._control(["kill", "--signal=SIGKILL", f"{UNIT}.service"])

    def start(self, name: str) -> None:
        # Where systemd gave up, it first has to forget how often it tried.
        self._control(["reset-failed", f"{UNIT}.service"])
        self._control(["restart", f"{UNIT}.service"], START_SECONDS)


def _time(text: str) -> float:
    """Return the seconds in ``@1764360000``; 0 where it never was."""
    return float(text[1:]) if text.startswith("@") and text[1:].isdigit() else 0.0
