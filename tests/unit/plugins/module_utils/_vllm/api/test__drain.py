# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._drain import drain
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import Server, ServerError


class Busy(Server):
    """Says how busy it is, another number each time it is asked."""

    def __init__(self, *requests: int | None) -> None:
        self.left = list(requests)

    def metrics(self, timeout: float = 10.0) -> str:
        count = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if count is None:
            raise ServerError("nobody there")
        return f"vllm:num_requests_running 1\nvllm:num_requests_waiting {count - 1}\n" if count else ""


@pytest.mark.parametrize(
    ("requests", "limit", "left", "slept", "said"),
    [
        ([0], 60, 0, 0.0, []),
        ([None], 60, 0, 0.0, []),
        ([3, 1, 0], 60, 0, 1.0, [3, 1]),
        ([2], 2, 2, 2.0, [2, 2, 2, 2]),
        ([2], 0, 2, 0.0, []),
        ([2, None], 60, 0, 0.5, [2]),
    ],
)
def test_drain(requests: list[int | None], limit: float, left: int, slept: float, said: list[int]) -> None:
    now = [0.0]
    reports: list[str] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert drain(Busy(*requests), limit, reports.append, sleep, lambda: now[0]) == left
    assert now[0] == slept
    assert reports == [f"waiting for {count} running requests before it is stopped" for count in said]
