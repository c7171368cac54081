# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's hub owes to those who steer it."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts" / "lab"))

import hub as lab


def test_the_server_ends_after_its_answer_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies with whatever its threads have not sent yet."""
    ended_before_its_answer: list[bool] = []
    answer = lab._Handler._send_body

    def slow(self: lab._Handler, *arguments: object) -> None:
        ended_before_its_answer.append(server._asked_to_stop.wait(0.1))
        answer(self, *arguments)

    monkeypatch.setattr(lab._Handler, "_send_body", slow)
    with lab.Hub() as server:
        request = urllib.request.Request(f"{server.url}/_lab/stop", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert json.load(response) == {}
        assert server._asked_to_stop.wait(10)
    assert ended_before_its_answer == [False]
