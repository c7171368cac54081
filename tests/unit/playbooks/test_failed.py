# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a run in which every GPU host fails, on this machine: the role refuses before it looks anywhere."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.tests.support import playbooks

REFUSED = "vllm_server_instances[0].name: is required\nvllm_server_instances[0].model: is required"
AFTERWARDS = {
    "hosts": "other",
    "gather_facts": False,
    "tasks": [{"name": "Go on", "ansible.builtin.debug": {"msg": "the others went on"}}],
}

Run = t.Callable[..., playbooks.Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs plays against a fleet whose only GPU host declares a server without a name."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = {
        "gpu_hosts": {"hosts": {"box": {**here, "vllm_server_instances": [{"port": 18005, "gpus": []}]}}},
        "other": {"hosts": {"bystander": here}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")

    def played(plays: list[dict[str, t.Any]], *arguments: str) -> playbooks.Outcome:
        (tmp_path / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
        return playbooks.run(str(tmp_path / "play.yml"), [str(tmp_path / "hosts.yml")], *arguments)

    return played


def step(name: str, **variables: t.Any) -> dict[str, t.Any]:
    return {"ansible.builtin.import_playbook": f"private_llm.fleet.{name}", "vars": variables}


@pytest.mark.parametrize("limit", [[], ["--limit", "box,bystander"]], ids=["all", "without localhost"])
def test_within_a_longer_run_the_others_go_on_and_the_end_names_it(run: Run, limit: list[str]) -> None:
    outcome = run([step("servers", fleet_goes_on=True), AFTERWARDS, step("verify")], *limit)
    assert outcome.returncode == 2, outcome.text
    assert outcome.result("bystander", "Go on")["msg"] == "the others went on"
    assert outcome.plays[-1]["play"]["name"] == "Hosts that were left out"
    assert outcome.failures()["box", "Fail for what went wrong"] == f"servers: {REFUSED}"
    assert {host: counts["failures"] for host, counts in outcome.stats.items() if counts["failures"]} == {"box": 1}
    if not limit:
        assert outcome.result("localhost", "Hosts that failed")["msg"] == [
            "1 host(s) did not come to their state; the others did.",
            f"box: servers: {REFUSED}",
        ]


def test_a_step_by_itself_fails_where_it_failed(run: Run) -> None:
    outcome = run([step("servers"), AFTERWARDS])
    assert outcome.returncode == 2, outcome.text
    assert outcome.failures()["box", "Stop with this host"] == REFUSED
    assert "bystander" not in outcome.stats


def test_a_host_that_is_left_out_of_a_run_has_not_failed(run: Run) -> None:
    outcome = run([step("verify")], "--limit", "bystander,localhost")
    assert outcome.returncode == 0, outcome.text
    assert set(outcome.stats) == {"localhost"}
    assert outcome.result("localhost", "Hosts that failed")["skipped"]
    assert "box" not in outcome.text
