# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Taking servers from behind a gateway without cutting a request, and bringing them back."""

from __future__ import annotations

import time
import typing as t

from ._runtime import DRAIN, MAINT, READY, RuntimeSocketError, ServerState

POLL = 0.25  # seconds


class Proxy(t.Protocol):
    """What is needed of a running proxy."""

    def servers(self) -> list[ServerState]:
        """Return every server."""

    def put(self, server: ServerState, state: str) -> None:
        """Bring a server into a state."""


class Turn(t.NamedTuple):
    """What was done, and the requests that were still running when the time was over."""

    changed: bool
    requests: int
    servers: tuple[ServerState, ...]


def named(proxy: Proxy, names: t.Collection[str]) -> list[ServerState]:
    """Return the servers of these names; all without a name."""
    return [server for server in proxy.servers() if not names or server.server in names]


def bring(
    proxy: Proxy,
    names: t.Collection[str],
    state: str,
    limit: float,
    dry: bool = False,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> Turn:
    """Bring servers into a state; one that leaves gets no new request, and has ``limit`` seconds for those it has."""
    found = named(proxy, names)
    wrong = [server for server in found if not server.is_in(state)]
    if dry or not wrong:
        return Turn(bool(wrong), sum(server.requests for server in found), tuple(found))
    requests = 0
    if state != READY:
        for server in wrong:
            if not server.is_in(MAINT):
                proxy.put(server, DRAIN)
        requests = _wait(proxy, names, limit, sleep, clock)
    if state != DRAIN:
        for server in wrong:
            proxy.put(server, state)
    found = named(proxy, names)
    missed = [server for server in found if not server.is_in(state)]
    if missed:
        raise RuntimeSocketError(
            f"{missed[0].server} is {missed[0].status} and not {state}, though the gateway took it"
        )
    return Turn(True, requests, tuple(found))


def _wait(
    proxy: Proxy,
    names: t.Collection[str],
    limit: float,
    sleep: t.Callable[[float], None],
    clock: t.Callable[[], float],
) -> int:
    """Wait until the servers have no request, ``limit`` seconds at most; return how many they have then."""
    end = clock() + limit
    while True:
        requests = sum(server.requests for server in named(proxy, names))
        if not requests or clock() >= end:
            return requests
        sleep(POLL)
