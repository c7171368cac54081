# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a change, told before it is made: which server is away when, for how long, and for whom. Pure."""

from __future__ import annotations

import collections
import typing as t

from ...module_utils import _units
from .._host_vars import WHOLE, HostVars, conform, silent
from ._derive import declared
from ._waves import rounds, served_names, split

Rows = t.Sequence[t.Mapping[str, t.Any]]
COLUMNS = ("turn", "host", "server", "models", "begins", "down for", "meanwhile")


class Step(t.NamedTuple):
    """One server that changes in a turn; all servers of a turn change at the same time.

    ``stay`` of ``replicas`` go on to serve the model of which the fewest stay. Seconds are None where nobody measured.
    """

    turn: int
    host: str
    server: str
    models: tuple[str, ...]
    stay: int
    replicas: int
    returns: bool
    begins_after_seconds: float | None
    down_seconds: float | None

    def as_result(self) -> dict[str, t.Any]:
        """Return the step for programs."""
        return {**self._asdict(), "models": list(self.models)}

    def cells(self) -> dict[str, str]:
        """Return the step as a row of a table with the columns COLUMNS."""
        return {
            "turn": str(self.turn),
            "host": self.host,
            "server": self.server,
            "models": ", ".join(self.models),
            "begins": _begins(self.begins_after_seconds),
            "down for": _down(self),
            "meanwhile": _meanwhile(self),
        }


def steps_of(hosts: t.Mapping[str, HostVars], rows: Rows, most: t.Any) -> list[Step]:
    """Return what the playbook ``servers`` does behind a gateway, from the rows of a plan, in its order."""
    limit = max(1, conform(most, WHOLE, "fleet_unavailable", silent) or 1)
    changing: dict[str, dict[str, t.Mapping[str, t.Any]]] = {name: {} for name in hosts}
    for row in rows:
        if row["actions"]:
            changing[row["host"]][row["name"]] = row
    serving = {name: {one["name"]: served_names(one) for one in declared(hosts[name])} for name in hosts}
    replicas = collections.Counter(model for host in serving.values() for models in host.values() for model in models)
    steps: list[Step] = []
    turn, begins = 0, t.cast("float | None", 0.0)
    stopping = {name: [server for server, row in found.items() if _stops(row)] for name, found in changing.items()}
    for batch in split(hosts, stopping, limit):
        chosen = {name: _rounds(hosts[name], list(changing[name]), stopping[name], limit) for name in batch}
        for index in range(max((len(found) for found in chosen.values()), default=0)):
            turn += 1
            moving = [(name, server) for name in batch for server in (chosen[name][index : index + 1] or [[]])[0]]
            away = collections.Counter(model for name, server in moving for model in serving[name].get(server, ()))
            down = [changing[name][server]["outage_seconds"] for name, server in moving]
            for (name, server), seconds in zip(moving, down, strict=True):
                models = serving[name].get(server, ())
                fewest = min(models, key=lambda model: replicas[model] - away[model], default="")
                stay = replicas[fewest] - away[fewest]
                steps.append(Step(turn, name, server, models, stay, replicas[fewest], bool(models), begins, seconds))
            begins = None if begins is None or None in down else begins + max(down, default=0)
    return steps


def remarks_of(rows: Rows, gateway: bool) -> list[str]:
    """Return what the users of the servers that change will notice."""
    stopping = [f"{row['name']} on {row['host']}" for row in rows if row["actions"] and _stops(row)]
    if not stopping:
        return []
    if gateway:
        return ["before it goes down, a server has fleet_drain_seconds to finish its requests; these are not counted"]
    cut = "these changes cut the requests that run, and new ones fail until the server is back"
    return [f"there is no gateway (gateway_hosts), so {cut}: {', '.join(stopping)}"]


def _stops(row: t.Mapping[str, t.Any]) -> bool:
    """Tell whether a server that changes runs today; only such a one is away for a while."""
    return row["outage_seconds"] != 0


def _rounds(host: HostVars, changing: list[str], stopping: list[str], limit: int) -> list[list[str]]:
    found = rounds(host.instances(), changing, stopping, limit)
    moving = [[name for name in chosen if name in changing] for chosen in found]
    return [chosen for chosen in moving if chosen]


def _begins(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return f"after {_units.duration(seconds)}" if seconds else "at once"


def _down(step: Step) -> str:
    if step.down_seconds == 0:
        return ""
    if not step.returns:
        return "good"
    return "not known" if step.down_seconds is None else f"about {_units.duration(step.down_seconds)}"


def _meanwhile(step: Step) -> str:
    if step.down_seconds == 0 or not step.returns:
        return ""
    return f"{step.stay} of {step.replicas} answer" if step.stay else "requests wait at the gateway"
