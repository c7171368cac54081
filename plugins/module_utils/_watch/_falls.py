# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a server fell: the diagnosis of its log, which is kept.

The table of known failures is large, so a pass in which nothing fell does not load this.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._engine._driver import Driver
from .._engine._logs import LogLine
from .._vllm.diagnosis import _saved_logs
from .._vllm.diagnosis._diagnosis import Diagnosis, diagnose
from .._vllm.lifecycle import _readiness
from . import _cures
from ._seen import Seen

_OWN = {
    _cures.HUNG: "the server answered, and generated nothing: its engine hung",
    _cures.SILENT: "the server ran, and answered nothing any more",
    _cures.STUCK: "the server did not get ready in time",
    _cures.PARTED: "the member lost another one, and none of them works alone",
}


def hung(engine: Driver, name: str, container: t.Mapping[str, t.Any], cause: str, text: str) -> Diagnosis:
    """Return why a server that runs does not work; ``cause`` is what the watch found, empty where it only answers."""
    said = _readiness.diagnosis_of(container, _since(engine, name, container), None, running=True)
    if cause and said.id == "unknown":
        return Diagnosis(_OWN[cause], text, "the watch restarts it; see its log if that happens again", cause)
    return said if said.id != "unknown" else _readiness.not_working(container, [], text)


def ended(
    engine: Driver, name: str, container: t.Mapping[str, t.Any], seen: Seen, began: float, worked: bool
) -> Diagnosis:
    """Return why a server ended that the engine has started again.

    ``began`` is when the run that ended began, and ``worked`` is whether it had generated anything.
    """
    lines = [line for line in engine.log(name, began) if line.at >= began - _readiness.EARLY]
    if not seen.restarting:
        lines = [line for line in lines if line.at <= seen.finished_at + 1.0]
    said = _readiness.diagnosis_of(container, lines, seen.exit_code if seen.restarting else None)
    if said.id != "unknown" or not worked:
        return said
    return said._replace(
        cause="the server ended, and its log does not say why",
        fix="see journalctl -k on the host around that time, and whether somebody killed it",
    )


def refused(name: str, error: str) -> Diagnosis:
    """Return why the engine does not start a container."""
    return diagnose([error], name=name)


def _since(engine: Driver, name: str, container: t.Mapping[str, t.Any]) -> list[LogLine]:
    since = _readiness.log_since(container)
    return [line for line in engine.log(name, since) if line.at >= since]


def again(diagnosis: Diagnosis, last: t.Mapping[str, t.Any], last_token: float) -> bool:
    """Say whether a fall is the one before once more: of the same cause, and the server has not worked between."""
    return bool(last) and last.get("cause") == diagnosis.id and last_token < float(last.get("at") or 0)


def keep(engine: Driver, name: str, began: float) -> str:
    """Keep the log since then, and return its file; empty where that is not possible."""
    lines = [line.text for line in engine.log(name, began) if line.at >= began - _readiness.EARLY]
    with contextlib.suppress(OSError):
        return _saved_logs.keep(name, began, lines)
    return ""


def described(diagnosis: Diagnosis, at: float, action: str, log_file: str) -> dict[str, t.Any]:
    """Return what is remembered of a fall."""
    return {
        "at": at,
        "cause": diagnosis.id,
        "text": diagnosis.cause,
        "evidence": diagnosis.evidence,
        "fix": diagnosis.fix,
        "action": action,
        "log_file": log_file,
    }
