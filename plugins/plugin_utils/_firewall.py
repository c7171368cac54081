# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may reach the servers of a host, from the inventory. Pure."""

from __future__ import annotations

import typing as t

from ..module_utils._endpoint import bare
from ._filter_input import demand
from ._host_vars import LINE, WHOLE, HostVars, of_hosts
from .groups._members import address_of, meeting_ports

Mapping = t.Mapping[str, t.Any]

SSH_PORT = 22
# The groups of which hosts may ask servers.
GROUPS = ("gateway_hosts", "webui_hosts", "monitoring_hosts")


class More(t.NamedTuple):
    """What the inventory cannot tell: addresses that may ask the servers, and ports that stay open to everybody."""

    sources: t.Sequence[str] = ()
    open_ports: t.Sequence[int] = ()


def rules(
    servers: t.Sequence[Mapping], groups: Mapping, hostvars: t.Any, host: str, more: More
) -> list[dict[str, t.Any]]:
    """Return the rules of a host, as the module host_firewall takes them."""
    here = [one for one in servers if one["state"] != "absent"]
    found = [
        {
            "name": "servers",
            # Workers of servers over several hosts serve no API.
            "ports": [one["port"] for one in here if one["port"] and not place(one)["rank"]],
            "sources": [*clients(groups, hostvars, host), *more.sources],
            "containers": True,
        }
    ]
    members = [one for one in here if place(one)["nodes"]]
    if members:
        nodes = sorted({node for one in members for node in place(one)["nodes"]} - {host})
        ssh = of_hosts([host], hostvars)[host].read("ansible_port", WHOLE)
        found.append(
            {
                "name": "members",
                "ports": [port for one in members for port in meeting_ports(one["engine"]).values()],
                "chosen_ports": True,
                "open_ports": sorted({ssh or SSH_PORT, *more.open_ports}),
                "sources": [address_of(one) for one in of_hosts(nodes, hostvars).values()],
            }
        )
    return found


def place(server: Mapping) -> Mapping:
    """Return the nodes of a server over several hosts and the rank of this one; no nodes for any other server."""
    found: Mapping = demand(server.get("member") or {}, {"nodes": [LINE], "rank": WHOLE}, "member")
    return found


def clients(groups: Mapping, hostvars: t.Any, host: str) -> list[str]:
    """Return the addresses of the hosts that ask the servers: the gateways, or Open WebUI without one; monitoring."""
    asking = groups["gateway_hosts"] or groups["webui_hosts"]
    names = sorted({*asking, *groups["monitoring_hosts"]} - {host})
    return [address_of_client(one) for one in of_hosts(names, hostvars).values()]


def address_of_client(host: HostVars) -> str:
    """Return the address from which a host is taken to ask."""
    return bare(str(host.read("gateway_address", LINE) or host.address()))
