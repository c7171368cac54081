# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Letting a server finish what it is doing before it is stopped."""

from __future__ import annotations

import time
import typing as t

from ._probe import (
    Server,
    ServerError,
    load,
    parse_metrics,
)

POLL = 0.5  # seconds


def drain(
    server: Server,
    limit: float,
    report: t.Callable[[str], None] = lambda text: None,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> int:
    """Wait until the server works on no request, ``limit`` seconds at most; returns how many it still has then.

    A server that does not answer has nothing that could be waited for.
    """
    deadline = clock() + limit
    while True:
        try:
            busy = load(parse_metrics(server.metrics(timeout=5.0)))
        except ServerError:
            return 0
        requests = int(busy["running"] or 0) + int(busy["waiting"] or 0)
        if not requests or clock() >= deadline:
            return requests
        report(f"waiting for {requests} running requests before it is stopped")
        sleep(POLL)
