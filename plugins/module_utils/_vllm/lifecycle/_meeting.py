# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the way between the nodes of a server before anything is stopped for it.

vLLM, NCCL and Gloo listen at ports that the kernel chooses, on every node. A firewall that lets through the master port
alone shows as a start that never ends. So each node listens for a while at such a port, and all others connect to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import typing as t

LISTEN_SECONDS = 120.0  # between the two steps of a run, on all nodes
CONNECT_SECONDS = 5.0
GREETING = b"private_llm.fleet\n"


def listen(address: str, seconds: float = LISTEN_SECONDS) -> int:
    """Listen at a port of this address for a while, in a process of its own; return the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, 0), family=family)
    port = int(server.getsockname()[1])
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        server.close()
        os.close(writing)
        # The process that greets is the child of one that ends at once, so nobody has to wait for it.
        os.waitpid(child, 0)
        # It closes what it has of this process, this pipe as well, before the module goes on.
        os.read(reading, 1)
        os.close(reading)
        return port
    _detach(server)
    try:
        _greet(server, time.monotonic() + seconds)
    finally:
        os._exit(0)


def _detach(server: socket.socket) -> None:
    """Leave nothing to this process but the socket: no lock, no pipe to Ansible."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        kept = server.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, 4096)
    except BaseException:
        os._exit(1)


def _greet(server: socket.socket, end: float) -> None:
    while time.monotonic() < end:
        server.settimeout(max(0.1, end - time.monotonic()))
        with contextlib.suppress(OSError):
            connection = server.accept()[0]
            with connection:
                connection.sendall(GREETING)


def obstacle(source: str, address: str, port: int) -> str:
    """Return why this address of the host does not reach another one; empty when it does."""
    try:
        with socket.create_connection((address, port), CONNECT_SECONDS, (source, 0)) as connection:
            said = connection.recv(len(GREETING))
    except OSError as error:
        return str(error.strerror or error)
    return "" if said and GREETING.startswith(said) else "somebody else answers there"


def unreached(source: str, peers: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return a sentence for each other node that this one does not reach."""
    found = []
    for peer in peers:
        why = obstacle(source, str(peer["address"]), int(peer["port"]))
        if why:
            found.append(
                f"does not reach {peer['node']} at {peer['address']}, TCP port {peer['port']}, from {source} ({why})"
            )
    return found
