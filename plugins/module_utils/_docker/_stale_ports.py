# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports that an engine holds for no container.

A dockerd that was killed while it started a container takes that container's ports again when it comes back, and does
not let go of them when the container is removed: until its next restart nothing can publish them ("port is already
allocated"; seen with 26.1.5). Its own docker-proxy, which listens there, gives it away.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

SETTLE = 1.0  # seconds; a container that is being started has its proxy before it is listed as running

Ask = t.Callable[[], t.Iterable[t.Mapping[str, t.Any]]]


class Published(t.NamedTuple):
    """A port of the host that leads into a container."""

    address: str
    port: int
    protocol: str

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}/{self.protocol}"


def parse_proxy(argv: t.Sequence[str]) -> Published | None:
    """Return what a docker-proxy with this command line publishes; None for anything else."""
    if not argv or os.path.basename(argv[0]) != "docker-proxy":
        return None
    options = {name.lstrip("-"): value for name, value in zip(argv[1:], argv[2:]) if name.startswith("-")}
    try:
        return Published(options["host-ip"], int(options["host-port"]), options.get("proto", "tcp"))
    except (KeyError, ValueError):
        return None


def proxies_of(dockerd: int, proc: str = "/proc") -> set[Published]:
    """Return what the proxies of one engine, known by its process id, publish. Containers may run engines, too."""
    found = set()
    for name in filter(str.isdigit, os.listdir(proc)):
        # Processes come and go while this looks.
        with contextlib.suppress(OSError):
            with open(os.path.join(proc, name, "cmdline"), "rb") as stream:
                published = parse_proxy([part.decode("utf-8", "replace") for part in stream.read().split(b"\0")])
            if published is not None and _parent(os.path.join(proc, name, "status")) == dockerd:
                found.add(published)
    return found


def _parent(status: str) -> int | None:
    with open(status, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            key, _colon, value = line.partition(":")
            if key == "PPid":
                return int(value)
    return None


def stale(proxies: t.Iterable[Published], containers: t.Iterable[t.Mapping[str, t.Any]]) -> set[Published]:
    """Return the proxies that lead into none of the running containers, as the engine lists them."""
    wanted = {
        (port.get("PublicPort"), port.get("Type", "tcp"))
        for container in containers
        for port in container.get("Ports") or []
    }
    return {proxy for proxy in proxies if (proxy.port, proxy.protocol) not in wanted}


def stale_ports(
    dockerd: int | None, running: Ask, proc: str = "/proc", sleep: t.Callable[[float], None] = time.sleep
) -> list[str]:
    """Return the ports that the engine with this process id holds for no container.

    ``running`` lists the running ones.
    """
    if dockerd is None:
        return []
    found = stale(proxies_of(dockerd, proc), running())
    if found:
        sleep(SETTLE)
        found &= stale(proxies_of(dockerd, proc), running())
    return [str(published) for published in sorted(found)]
