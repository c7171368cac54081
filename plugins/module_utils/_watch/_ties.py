# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connections between the members of a server over several hosts, as the kernel of each host knows them.

Every worker meets the head at the master port, and keeps that one connection for as long as both live: torch's store
is there. Nobody connects anew. So a connection that has gone says, on both hosts, that one life of the group is over,
and no member has to be asked. Members are in the network of their hosts, so root reads this without entering anything.

Data parallel replicas of a dense model meet at another port, and only for their start. What they keep is connections
for requests and answers, at ports of the head that the kernel chose. These are known by the processes that have them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import typing as t

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
DEFAULT_PORT = 29501  # vLLM's --master-port
DEFAULT_MEETING_PORT = 29550  # vLLM's --data-parallel-rpc-port
_ESTABLISHED, _LISTENING = "01", "0A"

# What an attempt to connect to the head says.
THERE = ""  # somebody listens
REFUSED = "refused"  # its host answers, and nobody listens
AWAY = "away"  # no answer
CONNECT_SECONDS = 3.0

# By the address of each other host, the ports of its connections; on a worker, the worker's own.
Ties = t.Mapping[str, t.FrozenSet[int]]

# In place of these ports where any connection to the other host is as good as another one.
ANY = frozenset({0})


class Row(t.NamedTuple):
    """A socket in a table of the kernel, with the address and the port of both ends."""

    state: str
    here: t.Tuple[str, int]  # noqa: UP006 - evaluated by Python 3.8
    there: t.Tuple[str, int]  # noqa: UP006 - evaluated by Python 3.8
    inode: int


def rows(text: str) -> list[Row]:
    """Return the sockets in the text of a table of the kernel."""
    lines = [line.split() for line in text.splitlines()[1:]]
    return [Row(one[3], _end(one[1]), _end(one[2]), int(one[9])) for one in lines if len(one) > 9]


def parse(text: str, port: int, head: bool) -> dict[str, frozenset[int]]:
    """Return the connections at the master port in the text of a table of the kernel."""
    found: dict[str, set[int]] = {}
    for row in rows(text):
        # The head's own ranks are connected to it as well.
        if row.state != _ESTABLISHED or row.here[0] == row.there[0]:
            continue
        if head and row.here[1] == port:
            found.setdefault(row.there[0], set()).add(row.there[1])
        elif not head and row.there[1] == port:
            found.setdefault(row.there[0], set()).add(row.here[1])
    return {peer: frozenset(ports) for peer, ports in found.items()}


def between(
    sockets: t.Iterable[Row], inodes: t.Container[int], left_out: t.Container[int], heads: t.Container[str]
) -> list[Row]:
    """Return the connections between replicas, of the processes that have these inodes.

    On a worker ``heads`` are the addresses of its head; on the head itself it is empty, and what others opened at ports
    at which it listens counts. ``left_out`` are ports of the head at which clients ask it, or replicas meet.
    """
    own = [row for row in sockets if row.inode in inodes]
    doors = {row.here[1] for row in own if row.state == _LISTENING}
    return [
        row
        for row in own
        if row.state == _ESTABLISHED
        and row.here[0] != row.there[0]
        and (
            (row.there[0] in heads and row.there[1] not in left_out)
            if heads
            else (row.here[1] in doors and row.here[1] not in left_out)
        )
    ]


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
    for text in _texts(tables):
        for peer, ports in parse(text, port, head).items():
            found[peer] = found.get(peer, frozenset()) | ports
    return found


def replicas(container: str, left_out: t.Container[int], head: str, tables: t.Sequence[str] = TABLES) -> list[Row]:
    """Return the connections of this host's replicas; ``head`` is the name of a worker's head, and else empty."""
    sockets = [row for text in _texts(tables) for row in rows(text)]
    heads = _addresses(head) if head else frozenset()
    return [] if head and not heads else between(sockets, sockets_of(container), left_out, heads)


def _texts(tables: t.Sequence[str]) -> t.Iterator[str]:
    for table in tables:
        # A kernel without IPv6 has one table.
        with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as stream:
            yield stream.read()


def _addresses(name: str) -> frozenset[str]:
    """Return the addresses of a host; none where nobody tells them now."""
    try:
        return frozenset(str(one[4][0]) for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()


def sockets_of(container: str, proc: str = "/proc") -> set[int]:
    """Return the inodes of the sockets that the processes of a container have."""
    found = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        # Processes come and go while this looks.
        with contextlib.suppress(OSError):
            with open(os.path.join(proc, pid, "cgroup"), encoding="utf-8", errors="replace") as stream:
                if container not in stream.read():
                    continue
            folder = os.path.join(proc, pid, "fd")
            for handle in os.listdir(folder):
                with contextlib.suppress(OSError):
                    target = os.readlink(os.path.join(folder, handle))
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
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
