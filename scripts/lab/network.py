# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own Docker network: one /24 that nothing on this machine uses yet, with fixed addresses in it."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
from collections.abc import Sequence
from typing import Any

import docker.errors
import docker.types

NAME = "private-llm-lab"
LABEL = "private_llm.lab"
# Tried one after the other; a machine whose routes or networks overlap all of them has none left for the lab.
CANDIDATES = tuple(ipaddress.IPv4Network(f"10.{second}.77.0/24") for second in range(213, 230))

# Last numbers of the addresses: the lab's services first, the hosts after them. The engine gives to containers that
# name no address only what comes last, so that none of them has a service's address before the service is started.
REGISTRY, INDEX, HUB = 2, 3, 4
HOSTS = range(10, 248)
OTHERS = "248/29"


class LabError(Exception):
    """Something in the lab cannot be done; the text says what and what to do."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The lab's network as it is."""

    subnet: ipaddress.IPv4Network

    def address(self, number: int) -> str:
        return str(self.subnet.network_address + number)

    @property
    def gateway(self) -> str:
        """Return the address of this machine on the network."""
        return self.address(1)


def parse_routes(table: str) -> list[ipaddress.IPv4Network]:
    """Read the kernel's routing table (/proc/net/route), without its default route."""
    networks = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(columns[n]), "little") for n in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return networks


def free_subnets(used: Sequence[ipaddress.IPv4Network]) -> list[ipaddress.IPv4Network]:
    """Return the candidates that overlap nothing that is used."""
    return [subnet for subnet in CANDIDATES if not any(subnet.overlaps(other) for other in used)]


def _subnets_of(network: Any) -> list[ipaddress.IPv4Network]:
    config = (network.attrs.get("IPAM") or {}).get("Config") or []
    subnets = [ipaddress.ip_network(entry["Subnet"]) for entry in config if entry.get("Subnet")]
    return [subnet for subnet in subnets if isinstance(subnet, ipaddress.IPv4Network)]


def find(client: Any) -> Network | None:
    """Return the lab's network, or nothing when there is none."""
    for network in client.networks.list(names=[NAME]):
        if network.name == NAME:
            return Network(_subnets_of(network)[0])
    return None


def ensure(client: Any) -> Network:
    """Return the lab's network, made now if it is missing."""
    found = find(client)
    if found:
        return found
    used = [subnet for network in client.networks.list() for subnet in _subnets_of(network)]
    used += parse_routes(pathlib.Path("/proc/net/route").read_text(encoding="ascii"))
    for subnet in free_subnets(used):
        others = f"{str(subnet.network_address).rpartition('.')[0]}.{OTHERS}"
        pool = docker.types.IPAMPool(subnet=str(subnet), iprange=others, gateway=str(subnet.network_address + 1))
        try:
            client.networks.create(
                NAME, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={LABEL: "network"}
            )
        except docker.errors.APIError as error:
            if "overlap" not in str(error):
                raise
            continue
        return Network(subnet)
    raise LabError(f"no subnet is free for the lab: one of {', '.join(map(str, CANDIDATES))} must not be in use")


def taken(client: Any) -> dict[str, str]:
    """Return the addresses that containers hold or are to hold on the network, running or not, and which container."""
    addresses = {}
    for container in client.containers.list(all=True, filters={"network": NAME}):
        settings = container.attrs["NetworkSettings"]["Networks"].get(NAME) or {}
        wanted = (settings.get("IPAMConfig") or {}).get("IPv4Address")
        for address in (wanted, settings.get("IPAddress")):
            if address:
                addresses[address] = container.name
    return addresses
