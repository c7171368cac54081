# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for tests that run beside others.

A port that the kernel chose and that was given back may be another test's server a moment later, and answer in its
name. What has to be named before it listens therefore comes from below the ports that kernels choose
(net.ipv4.ip_local_port_range), and what has stopped keeps its port for as long as a test looks at it.
"""

from __future__ import annotations

import random
import socket

LOW, HIGH = 12000, 30000


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that no kernel gives to anybody who asks for any port."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOW, HIGH), HIGH - LOW):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"there are no {count} free ports from {LOW} to {HIGH}")


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def refusing(port: int = 0) -> socket.socket:
    """Take a port and listen to nobody there: connections are refused until the socket is closed."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    return taken
