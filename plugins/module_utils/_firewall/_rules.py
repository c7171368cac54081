# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of nftables that says who may open connections to some TCP ports of this host. Pure.

Its chain comes before Docker rewrites the address of a packet, so it sees the port that the host publishes, whichever
firewall Docker uses and whatever ufw and firewalld say. It judges the first packet of a connection alone: what is
connected goes on. Ports that no rule names are no concern of it.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

TABLE = "private_llm"
BRIDGE = "docker0"  # of Docker's own network, in which containers are that name no other
NAME = re.compile(r"[a-z][a-z_]{0,30}")

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class Rule(t.NamedTuple):
    """Who may open connections to some ports."""

    name: str
    ports: tuple[int, ...]
    networks: tuple[Network, ...]
    containers: bool = False  # those of this host on Docker's own network may, too
    # The ports that the kernel gives to programs that ask for any, first and last, and what is left out of them.
    chosen: t.Optional[tuple[int, int]] = None  # noqa: UP045 - evaluated by Python 3.8
    open_ports: tuple[int, ...] = ()


def render(rules: t.Sequence[Rule]) -> str:
    """Return the file that puts the table in place of the one that is there, in one step."""
    first = [
        'iifname "lo" accept',
        "fib daddr type != local accept",
        "tcp flags & (fin | syn | rst | ack) != syn accept",
    ]
    jumps, chains = [], []
    for rule in rules:
        if rule.open_ports:
            jumps.append(f"tcp dport {_set(sorted(set(rule.open_ports)))} accept")
        ports = _ports(rule)
        if ports:
            jumps.append(f"tcp dport {_set(ports)} jump {rule.name}")
            chains.append((rule.name, _chain(rule)))
    hook = "type filter hook prerouting priority -150; policy accept;"
    body = "\n".join(
        f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}"
        # A chain is defined before another one jumps to it.
        for name, lines in [*chains, ("ports", [hook, *first, *jumps])]
    )
    head = "# Written by private_llm.fleet (host_firewall), which writes it anew.\n"
    return f"{head}table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}\n}}\n"


def _ports(rule: Rule) -> list[str]:
    """Return the ports of a rule; a range must not hold one that is named besides."""
    low, high = rule.chosen or (0, -1)
    named = [str(port) for port in sorted(set(rule.ports)) if not low <= port <= high]
    return [*named, f"{low}-{high}"] if rule.chosen else named


def _chain(rule: Rule) -> list[str]:
    lines = [f'iifname "{BRIDGE}" accept'] if rule.containers else []
    for version, key in ((4, "ip"), (6, "ip6")):
        # mypy cannot see that all of these are of one version.
        networks = ipaddress.collapse_addresses(one for one in rule.networks if one.version == version)  # type: ignore[type-var]
        found = [str(one[0]) if one.num_addresses == 1 else str(one) for one in networks]
        if found:
            lines.append(f"{key} saddr {_set(found)} accept")
    return [*lines, "counter drop"]


def _set(elements: t.Iterable[t.Any]) -> str:
    return "{ " + ", ".join(map(str, elements)) + " }"


def networks(source: str, resolve: t.Callable[[str], t.Iterable[str]]) -> list[Network]:
    """Return the networks that a source stands for: an address, a network, or a name with one or more addresses."""
    try:
        return [ipaddress.ip_network(source, strict=False)]
    except ValueError:
        return [ipaddress.ip_network(address) for address in sorted(set(resolve(source)))]


def chosen_range(text: str) -> tuple[int, int]:
    """Parse ``ip_local_port_range`` of the kernel."""
    low, high = text.split()
    return int(low), int(high)
