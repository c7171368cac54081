# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI, as the watch asks and starts it.

It is asked whether it is ready, for which it asks its own database. What it answers is told; it is restarted only when
it answers nothing. A start is never cut off, because the first one of a release changes the database.
"""

from __future__ import annotations

import math
import os
import typing as t

from .. import _reach
from .._vllm.api._probe import Server, ServerError, ServerSilent
from . import _cures, _probing, _seen
from ._kind import Containers, Found

if t.TYPE_CHECKING:
    from .._engine._client import Engine
    from .._vllm.diagnosis._diagnosis import Diagnosis
    from ._config import Door, Limits
    from ._memory import Memory
    from ._seen import Seen

PATH = "/ready"
_TEXTS = {_cures.HUNG: "Open WebUI answered nothing any more", _cures.SILENT: "nobody listened at its port any more"}


class Webs(Containers):
    """The Open WebUIs of one host."""

    lock = "open_webui"  # what the module open_webui_server locks as well
    stop_seconds = 30

    def __init__(self, engine: Engine | None, webs: t.Mapping[str, Door], limits: Limits, trouble: str = "") -> None:
        super().__init__(engine, _is_ours, trouble)
        self._doors, self._limits = webs, limits

    def seen(self, found: Found | None, at: float) -> Seen:
        return _seen.seen_of(found, at)

    def asked(self, name: str, found: Found, seen: Seen, memory: Memory) -> Seen:
        server = Server(*self._doors[name])
        probe = ask(server, PATH, self._limits.busy)
        if memory.worked and probe.outcome in (_probing.STILL, _probing.DOWN):
            seen = seen._replace(broken_way=self._broken_way(name, found, server))
        return seen._replace(probe=probe)

    def _broken_way(self, name: str, found: Found, server: Server) -> str:
        """Return why one that is up in its container is not reached; empty where that is not so."""
        from .._open_webui import _definition

        verdict = _reach.examine(
            _reach.Place(server.address, server.port, _definition.INNER_PORT, PATH),
            "Open WebUI",
            name,
            found,
            lambda command: self.engine.execute(name, command, _reach.INSIDE_SECONDS).stdout,
            self.engine.containers,
        ).verdict
        return "" if verdict is None else f"{verdict.cause}. What to do: {verdict.fix}"

    def start_limit(self, found: Found | None, seen: Seen) -> float:
        return math.inf

    def missing(self, found: Found) -> str:
        binds = (found.get("HostConfig") or {}).get("Binds") or []
        lost = [path for path in (str(bind).partition(":")[0] for bind in binds) if not os.path.exists(path)]
        return f"waiting for {lost[0]}" if lost else ""

    def hung(self, name: str, found: Found, cause: str, text: str) -> Diagnosis:
        return fall(_TEXTS[cause], text, f"see docker logs {name} on the host when it happens again", cause)

    def ended(self, name: str, found: Found, seen: Seen, began: float, worked: bool) -> Diagnosis:
        return fall("Open WebUI ended by itself", "", f"see docker logs {name} on the host", "ended")

    def refused(self, name: str, error: str) -> Diagnosis:
        return fall("the engine could not start it", error, "run the playbook webui", _cures.NOT_STARTED)

    def keep(self, name: str, began: float) -> str:
        return ""  # it is the same container after a restart, with its log


def _is_ours(found: Found) -> bool:
    # A pass on a host without Open WebUI does not load what there is to know of it.
    from .._open_webui import _definition

    return _definition.is_ours(found)


def ask(server: Server, path: str, seconds: float) -> _probing.Probe:
    """Return what comes of one question by HTTP."""
    try:
        answer = server.request("GET", path, timeout=seconds)
    except ServerSilent:
        return _probing.Probe(_probing.STILL, f"it answered nothing within {seconds:.1f} seconds")
    except ServerError as error:
        return _probing.Probe(_probing.DOWN, str(error))
    if answer.status < 500:
        return _probing.Probe(_probing.GENERATED)
    return _probing.Probe(_probing.REFUSED, f"GET {path} answered {answer.status}: {answer.body[:200]}")


def fall(cause: str, evidence: str, fix: str, ident: str) -> Diagnosis:
    """Return why it fell. The table of known failures of servers has no part in it."""
    from .._vllm.diagnosis._diagnosis import Diagnosis

    return Diagnosis(cause, evidence, fix, ident)
