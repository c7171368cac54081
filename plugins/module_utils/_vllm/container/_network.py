# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where on this host a member of a server over several hosts speaks to the others.

What they say to each other is neither authenticated nor encrypted, and some of it is pickled Python: who reaches these
ports can run programs in the container. So the address must be a private one, unless it was declared.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import typing as t

_SIOCGIFADDR = 0x8915
VARIABLE = "vllm_server_group_address"
# The variables that say how a member speaks to the others; none of them holds a secret.
_PREFIXES = ("GLOO_", "NCCL_", "NVSHMEM_", "UCX_", "VLLM_HOST_IP", "TP_SOCKET_IFNAME")


class NetworkError(ValueError):
    """The host has no address at which the others could reach it."""


class Place(t.NamedTuple):
    """An address of this host, and the interface that has it."""

    address: str
    interface: str


def place(
    stated: str,
    interface: str,
    private: bool,
    interfaces: t.Sequence[tuple[str, str]],
    resolve: t.Callable[[str], t.Sequence[str]],
) -> Place:
    """Return where this host speaks to the others.

    ``stated`` is an address or a name of the host, ``interface`` the one that it must be on, empty for any, and
    ``interfaces`` are pairs of interface and address. ``resolve`` looks a name up.
    """
    candidates = [stated] if _is_address(stated) else list(resolve(stated))
    here = [
        Place(address, name)
        for name, address in interfaces
        if address in candidates and (not interface or name == interface)
    ]
    here = [one for one in here if not ipaddress.ip_address(one.address).is_loopback]
    if interface and not here:
        # The interface decides, where the name leads elsewhere.
        here = [Place(address, name) for name, address in interfaces if name == interface]
    if not here:
        shown = ", ".join(f"{address} on {name}" for name, address in interfaces) or "none"
        raise NetworkError(
            f"{stated} is not an address of this host at which other nodes reach it (its addresses: {shown}); set "
            f"{VARIABLE} to one of them"
        )
    found = here[0]
    if private and ipaddress.ip_address(found.address).is_global:
        raise NetworkError(
            f"{found.address} on {found.interface} can be reached from the internet, and what the nodes of a server "
            f"say to each other is not authenticated; set {VARIABLE} to an address of a private network between them"
        )
    return found


def shown(env: t.Mapping[str, str]) -> str:
    """Return in a line how a member speaks to the others, from the environment of its container."""
    names = [name for name in sorted(env) if name.startswith(_PREFIXES)]
    return ", ".join(f"{name}={env[name]}" for name in names)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def environment(found: Place, stated: t.Mapping[str, t.Any], rdma: bool = False, hcas: str = "") -> dict[str, str]:
    """Return the environment that keeps NCCL, Gloo and vLLM on this interface; what is stated wins.

    ``hcas`` are the RDMA adapters in NCCL's own form, empty for all of them.
    """
    own = {
        "VLLM_HOST_IP": found.address,
        "GLOO_SOCKET_IFNAME": found.interface,
        # Without the sign NCCL takes every interface whose name begins like this one.
        "NCCL_SOCKET_IFNAME": f"={found.interface}",
        # Without the devices NCCL finds adapters that it cannot open. Who says something of them has reasons.
        **({} if rdma or any(name.startswith("NCCL_IB_") for name in stated) else {"NCCL_IB_DISABLE": "1"}),
        **({"NCCL_IB_HCA": hcas} if rdma and hcas else {}),
    }
    return {name: value for name, value in own.items() if name not in stated}


def interfaces_here() -> list[tuple[str, str]]:
    """Return the pairs of interface and address of this host."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            address = _ipv4_of(probe, name)
            if address:
                found.append((name, address))
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            found += parse_inet6(stream.read())
    except OSError:
        return found  # a host without IPv6
    return found


def _ipv4_of(probe: socket.socket, name: str) -> str:
    request = struct.pack("256s", name.encode("utf-8")[:15])
    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
    except OSError:
        return ""  # an interface without an IPv4 address
    return socket.inet_ntoa(answer[20:24])


def parse_inet6(text: str) -> list[tuple[str, str]]:
    """Parse /proc/net/if_inet6; leave out addresses of one link alone."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 6:
            address = ipaddress.IPv6Address(bytes.fromhex(fields[0]))
            if not address.is_link_local:
                found.append((fields[5], str(address)))
    return found


def resolve_here(name: str) -> list[str]:
    """Return the addresses of a name, as this host looks it up; none where it knows none."""
    try:
        return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)))
    except OSError:
        return []
