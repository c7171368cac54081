# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connections between the members of a server over several hosts, as the kernel of each host knows them.

Every worker meets the head at the master port, and keeps that one connection for as long as both live: torch's store
is there. Nobody connects anew. So a connection that has gone says, on both hosts, that one life of the group is over,
and no member has to be asked. Members are in the network of their hosts, so root reads this without entering anything.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
DEFAULT_PORT = 29501  # vLLM's --master-port
_ESTABLISHED = "01"

# What an attempt to connect to the head says.
THERE = ""  # somebody listens
REFUSED = "refused"  # its host answers, and nobody listens
AWAY = "away"  # no answer
CONNECT_SECONDS = 3.0

# By the address of each other host, the ports of its connections; on a worker, the worker's own.
Ties = t.Mapping[str, t.FrozenSet[int]]


def parse(text: str, port: int, head: bool) -> dict[str, frozenset[int]]:
    """Return the connections at the master port in the text of a table of the kernel."""
    found: dict[str, set[int]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _ESTABLISHED:
            continue
        (here, here_port), (there, there_port) = _end(fields[1]), _end(fields[2])
        if here == there:
            continue  # the head's own ranks
        if head and here_port == port:
            found.setdefault(there, set()).add(there_port)
        elif not head and there_port == port:
            found.setdefault(there, set()).add(here_port)
    return {peer: frozenset(ports) for peer, ports in found.items()}


def _end(text: str) -> tuple[str, int]:
    """Return the address and the port of ``0100007F:733D``; the kernel writes words of the machine's own order."""
    digits, _colon, port = text.partition(":")
    words = [struct.pack("=I", int(digits[at : at + 8], 16)) for at in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), int(port, 16)


def read(port: int, head: bool, tables: t.Sequence[str] = TABLES) -> dict[str, frozenset[int]]:
    """Return the connections of this host's member."""
    found: dict[str, frozenset[int]] = {}
    for table in tables:
        try:
            with open(table, encoding="ascii") as stream:
                text = stream.read()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for peer, ports in parse(text, port, head).items():
            found[peer] = found.get(peer, frozenset()) | ports
    return found


def lost(known: t.Mapping[str, t.Iterable[int]], now: Ties) -> list[str]:
    """Return the other hosts of which no connection is left that was known."""
    return sorted(peer for peer, ports in known.items() if not now.get(peer, frozenset()).intersection(ports))


def knock(address: str, port: int) -> str:
    """Return whether somebody listens at the head's master port.

    A host that lost its power tells nobody, so the kernel here goes on to believe in its connections.
    """
    try:
        socket.create_connection((address, port), CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return REFUSED
    except OSError:
        return AWAY
    return THERE
