# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who already listens on a TCP port of this host: a container, or a process."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
import typing as t

_LISTEN = "0A"


class Listener(t.NamedTuple):
    """One listening socket as the kernel lists it."""

    address: str
    port: int
    inode: int


def parse_listeners(text: str) -> list[Listener]:
    """Parse the listening sockets in the text of /proc/net/tcp or /proc/net/tcp6."""
    listeners = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _colon, port = fields[1].partition(":")
        listeners.append(Listener(_address(address), int(port, 16), int(fields[9])))
    return listeners


def _address(text: str) -> str:
    """Parse an address as the kernel writes it: 32-bit words in the order of this machine's bytes."""
    raw = b"".join(struct.pack("=I", int(text[start : start + 8], 16)) for start in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def overlap(bind: str, other: str) -> bool:
    """Say whether two sockets with these addresses cannot both listen on one port."""
    if bind == other:
        return True
    one, two = ipaddress.ip_address(bind), ipaddress.ip_address(other)
    # A socket on :: usually takes IPv4 as well.
    return (one.is_unspecified and (one.version == 6 or two.version == 4)) or (
        two.is_unspecified and (two.version == 6 or one.version == 4)
    )


def listeners() -> list[Listener]:
    """Return all listening TCP sockets of this host, as far as /proc tells."""
    found = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as stream:
                found.extend(parse_listeners(stream.read()))
    return found


# An engine that was killed while it started a container may hold that container's port from then on.
LOST = "Docker itself, for a container that is gone"


def process_of(inode: int, proc: str = "/proc") -> str:
    """Name the owner of a socket: ``process NAME (pid 123)``, LOST for Docker's proxy, ``a process`` where unseen."""
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdigit, os.listdir(proc)):
        # Processes come and go while this looks.
        with contextlib.suppress(OSError):
            if wanted in _handles(os.path.join(proc, pid, "fd")):
                with open(os.path.join(proc, pid, "comm"), encoding="utf-8", errors="replace") as stream:
                    name = stream.read().strip()
                return LOST if name == "docker-proxy" else f"process {name} (pid {pid})"
    return "a process"


def _handles(directory: str) -> t.Iterator[str]:
    """Yield what the handles of a process lead to; it may close some while they are read."""
    for handle in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(os.path.join(directory, handle))


def container_on(
    containers: t.Iterable[t.Mapping[str, t.Any]], bind: str, port: int, except_names: t.Collection[str] = ()
) -> str | None:
    """Return the name of the running container that publishes the port, from the engine's list of containers."""
    for container in containers:
        name = str((container.get("Names") or ["?"])[0]).lstrip("/")
        if name in except_names:
            continue
        for published in container.get("Ports") or []:
            if (
                published.get("PublicPort") == port
                and published.get("Type", "tcp") == "tcp"
                and overlap(bind, published.get("IP") or "0.0.0.0")  # noqa: S104 - what Docker means by no address
            ):
                return name
    return None


def holder(
    bind: str,
    port: int,
    containers: t.Iterable[t.Mapping[str, t.Any]] = (),
    except_names: t.Collection[str] = (),
) -> str | None:
    """Name what holds the port so that a container could not publish it there: words for an error, or None.

    ``containers`` are all of this host, so that Docker's proxy, when it listens for none of them, listens for none.
    """
    rows = list(containers)
    name = container_on(rows, bind, port, except_names)
    if name is not None:
        return f"container {name}"
    own = any(container_on([row], bind, port) for row in rows)
    if own:
        # Docker's proxy listens for a container that is allowed to hold the port.
        return None
    for listener in listeners():
        if listener.port == port and overlap(bind, listener.address):
            return process_of(listener.inode)
    return None
