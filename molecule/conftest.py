# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios share: a test that fails shows what its host has to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

LOGS = """
command -v docker >/dev/null || exit 0
for name in $(docker ps --all --format '{{.Names}}'); do echo "== $name"; docker logs --tail 40 "$name" 2>&1; done
"""
# What is asked of a host when a test on it fails.
QUESTIONS = {
    "units that failed": "systemctl --failed --no-legend --plain",
    "journal": "journalctl --no-pager --lines 40 --priority notice",
    "containers": "command -v docker >/dev/null && docker ps --all --no-trunc",
    "logs of containers": LOGS,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        for title, command in QUESTIONS.items():
            answer = host.run(command)
            text = (answer.stdout + answer.stderr).strip()
            if text:
                report.sections.append((f"{host.backend.get_hostname()}: {title}", text))
    return report
