# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a playbook as a user would and read, host by host and task by task, what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Outcome:
    """What a run of ``ansible-playbook`` did."""

    returncode: int
    plays: list[dict[str, t.Any]]
    stats: dict[str, dict[str, int]]
    text: str

    def changed(self) -> set[tuple[str, str]]:
        """Return every (host, task) that reported a change."""
        return {(host, name) for host, name, result in self._results() if result.get("changed")}

    def failures(self) -> dict[tuple[str, str], str]:
        """Return every (host, task) that failed for good or not, with its message."""
        return {
            (host, name): str(result.get("msg", "")) for host, name, result in self._results() if result.get("failed")
        }

    def result(self, host: str, task: str) -> dict[str, t.Any]:
        """Return the last result of a task on a host."""
        found = self.results(host, task)
        assert found, f"task {task!r} did not run on {host}; the run printed:\n{self.text[-4000:]}"
        return found[-1]

    def results(self, host: str, task: str) -> list[dict[str, t.Any]]:
        """Return the results of every task of that name on a host, in their order."""
        return [result for at, name, result in self._results() if at == host and name.endswith(task)]

    def changes(self) -> int:
        """Return how many changes the recap counts."""
        return sum(host["changed"] for host in self.stats.values())

    def changed_tasks(self) -> list[str]:
        """Return the tasks that changed something, each with its host."""
        return [f"{host}: {name}" for host, name, result in self._results() if result.get("changed")]

    def _results(self) -> t.Iterator[tuple[str, str, dict[str, t.Any]]]:
        for play in self.plays:
            for task in play["tasks"]:
                for host, result in task["hosts"].items():
                    yield host, task["task"]["name"], result


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a run from the checkout, readable by a program."""
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        **extra,
    }


def command(playbook: str, inventory: t.Sequence[str], *arguments: str) -> list[str]:
    """Return the argument list of a run; ``playbook`` is a path in the checkout or a name as private_llm.fleet.site."""
    sources = [part for source in inventory for part in ("-i", source)]
    return [str(ANSIBLE_PLAYBOOK), *sources, *arguments, playbook]


def run(playbook: str, inventory: t.Sequence[str], *arguments: str, **extra: str) -> Outcome:
    """Run ``playbook`` to its end and read its report."""
    done = subprocess.run(
        command(playbook, inventory, *arguments),
        cwd=ROOT,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    start = done.stdout.find("\n{") + 1 if not done.stdout.startswith("{") else 0
    try:
        report, _end = json.JSONDecoder().raw_decode(done.stdout[start:])
    except ValueError:
        report = {"plays": [], "stats": {}}
    return Outcome(done.returncode, report["plays"], report["stats"], done.stdout + done.stderr)
