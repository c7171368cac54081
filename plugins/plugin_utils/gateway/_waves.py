# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order servers are changed, so that never more replicas of a model are away than may be. Pure.

Two servers are replicas when they serve a name in common. A server that does not run today, such as a new one, is away
already: its start waits for nobody.
"""

from __future__ import annotations

import collections
import typing as t

from .._host_vars import LINE, WHOLE, HostVars, conform, of_hosts, silent
from ._derive import declared

STOPPING = "fleet_stopping"  # what a host told: the names of its servers that run and that this run would change


def batches(hosts: t.Any, hostvars: t.Any, most: t.Any) -> list[int]:
    """Return the sizes of the batches in which hosts are gone through, in their order.

    Ansible's ``serial`` takes them. Hosts none of whose servers stops cost no batch.
    """
    read = of_hosts(hosts, hostvars)
    # A host that told nothing is no part of this run.
    stopping = {name: host.read(STOPPING, [LINE]) for name, host in read.items() if host.has(STOPPING)}
    return [len(batch) for batch in split(read, stopping, most)] or [1]


def split(hosts: t.Mapping[str, HostVars], stopping: t.Mapping[str, t.Sequence[str]], most: t.Any) -> list[list[str]]:
    """Return the hosts of a run in batches, from the names of the servers that stop on each."""
    limit = max(1, conform(most, WHOLE, "fleet_unavailable", silent) or 1)
    found: list[list[str]] = []
    away: collections.Counter[str] = collections.Counter()
    for host, names in stopping.items():
        # Servers of one host are changed in rounds of their own, of which each takes as many away as may be.
        models = collections.Counter(
            name for server in declared(hosts[host]) if server["name"] in names for name in served_names(server)
        )
        mine = collections.Counter({name: min(count, limit) for name, count in models.items()})
        if not found or any(away[name] + count > limit for name, count in mine.items()):
            found.append([])
            away = collections.Counter()
        found[-1].append(host)
        away += mine
    return found


def served_names(server: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the names that a server serves, each once."""
    return tuple(dict.fromkeys(conform(server.get("served_model_names"), [LINE], "served_model_names", silent)))


def rounds(instances: t.Any, changing: t.Any, stopping: t.Any, most: t.Any) -> list[list[str]]:
    """Return the servers of one host in rounds: first those that do not change, then as many as may be away at once.

    Those of ``changing`` that are not in ``stopping`` do not run today.
    """
    limit = max(1, conform(most, WHOLE, "fleet_unavailable", silent) or 1)
    moving = set(conform(changing, [LINE], "fleet_changing", silent))
    leaving = set(conform(stopping, [LINE], STOPPING, silent))
    found: list[tuple[list[str], collections.Counter[str]]] = []
    names = {}
    for instance in instances if isinstance(instances, (list, tuple)) else ():
        name = conform(instance.get("name"), LINE, "name", silent) if isinstance(instance, t.Mapping) else None
        if name:
            names[name] = collections.Counter((served_names(instance) or [name]) if name in leaving else [])
    for name in [one for one in names if one in moving]:
        for chosen, away in found:
            if all(away[model] < limit for model in names[name]):
                chosen.append(name)
                away.update(names[name])
                break
        else:
            found.append(([name], collections.Counter(names[name])))
    still = [name for name in names if name not in moving]
    return ([still] if still else []) + [chosen for chosen, _away in found]
