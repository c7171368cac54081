# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table in the kernel, by the program nft, and what the host itself tells of its ports and names."""

from __future__ import annotations

import ipaddress
import re
import socket
import typing as t

from .. import _ports
from ._rules import TABLE

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"

# Runs a program; returns its exit status, output and errors.
Run = t.Callable[[t.Sequence[str]], t.Tuple[int, str, str]]

# Programs that let people in; where one of them listens must stay open.
_DOORS = re.compile(r"process (sshd|systemd)\b")


class FirewallError(ValueError):
    """The table cannot be read or put in place; the text says why."""


class Table:
    """The table of this host."""

    def __init__(self, run: Run, nft: str, unshare: str) -> None:
        self._run = run
        self._nft = nft
        self._unshare = unshare

    def live(self) -> str:
        """Return the table as the kernel has it, without its counters; empty where there is none."""
        code, output, errors = self._run([self._nft, "-s", "list", "table", "inet", TABLE])
        if code == 0:
            return output
        if "No such file or directory" in errors:
            return ""
        raise FirewallError(f"nft cannot list the rules of this host: {errors.strip()[:500]}")

    def tried(self, path: str) -> str:
        """Return the table of a file as the kernel makes it, in a network of its own that ends with this look."""
        script = f'"$0" -f "$1" && "$0" -s list table inet {TABLE}'
        code, output, errors = self._run([self._unshare, "--net", "sh", "-c", script, self._nft, path])
        if code != 0:
            raise FirewallError(
                f"the kernel of this host refuses the rules, and nothing was changed: {errors.strip()[:500]}"
            )
        return output

    def load(self, path: str) -> None:
        """Put the table of a file in place of the one that is there."""
        code, _output, errors = self._run([self._nft, "-f", path])
        if code != 0:
            raise FirewallError(f"nft cannot load the rules, and those of before stay: {errors.strip()[:500]}")

    def remove(self) -> None:
        """Remove the table."""
        code, _output, errors = self._run([self._nft, "delete", "table", "inet", TABLE])
        if code != 0:
            raise FirewallError(f"nft cannot remove the table {TABLE}: {errors.strip()[:500]}")


def resolve(name: str) -> list[str]:
    """Return the addresses of a name."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FirewallError(
            f"{name} has no address on this host ({reason}); write the address in its place, or make the name known"
        ) from error
    return [str(one[4][0]).partition("%")[0] for one in found]


def doors(listeners: t.Iterable[_ports.Listener], owner: t.Callable[[int], str] = _ports.process_of) -> list[int]:
    """Return the ports of other hosts' way in: where sshd listens, or systemd in its place."""
    return sorted(
        {
            one.port
            for one in listeners
            if not ipaddress.ip_address(one.address).is_loopback and _DOORS.match(owner(one.inode))
        }
    )
