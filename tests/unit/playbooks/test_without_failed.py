# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays go on with the hosts that did not fail; a check of the syntax, or a list of the hosts, has them all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.tests.support import playbooks

WITHOUT_FAILED = "private_llm.fleet.without_failed(hostvars | default({}))"
PLAYS = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.set_fact": {"fleet_failure": {"stage": "hosts"}},
                "when": "inventory_hostname == 'broken'",
            }
        ],
    },
    {
        "hosts": f"{{{{ groups['gpu_hosts'] | default([]) | {WITHOUT_FAILED} }}}}",
        "gather_facts": False,
        "tasks": [{"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}}],
    },
    {
        "hosts": f"{{{{ groups['webui_hosts'] | default([]) | {WITHOUT_FAILED} }}}}",
        "gather_facts": False,
        "tasks": [{"name": "Never", "ansible.builtin.debug": {"msg": "there is no such group"}}],
    },
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, list[str]]:
    """Return a playbook in which a host fails, and its inventory."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"broken": here, "sound": here, "aside": here}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"gpu_hosts": {"hosts": hosts}}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAYS), encoding="utf-8")
    return str(tmp_path / "play.yml"), [str(tmp_path / "hosts.yml")]


def test_a_play_goes_on_with_the_hosts_of_the_run_that_did_not_fail(files: tuple[str, list[str]]) -> None:
    outcome = playbooks.run(*files, "--limit", "broken,sound")
    assert outcome.returncode == 0, outcome.text
    assert outcome.result("sound", "Go on")["msg"] == "went on"
    assert outcome.results("broken", "Go on") == outcome.results("aside", "Go on") == []


@pytest.mark.parametrize("check", ["--syntax-check", "--list-hosts"])
def test_without_a_run_every_host_is_there(files: tuple[str, list[str]], check: str) -> None:
    outcome = playbooks.run(*files, check)
    assert outcome.returncode == 0, outcome.text
    if check == "--list-hosts":
        last = outcome.text.split("play #")[2]
        assert {line.strip() for line in last.splitlines()} >= {"broken", "sound", "aside"}
