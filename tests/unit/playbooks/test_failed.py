# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a run in which every GPU host fails, on this machine: the role refuses before it looks anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
REFUSED = "missing required arguments: name found in vllm_server_instances"
AFTERWARDS = {
    "hosts": "other",
    "gather_facts": False,
    "tasks": [{"name": "Go on", "ansible.builtin.debug": {"msg": "the others went on"}}],
}


@pytest.fixture
def run(tmp_path: Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    """Runs plays against a fleet whose only GPU host declares a server without a name."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = {
        "gpu_hosts": {"hosts": {"box": {**here, "vllm_server_instances": [{"port": 18005, "gpus": []}]}}},
        "other": {"hosts": {"bystander": here}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")

    def played(plays: list[dict[str, t.Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *("-i", str(tmp_path / "hosts.yml"), *arguments, str(tmp_path / "play.yml")),
            ],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return played


def step(name: str, **variables: t.Any) -> dict[str, t.Any]:
    return {"ansible.builtin.import_playbook": f"private_llm.fleet.{name}", "vars": variables}


Run = t.Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("limit", [[], ["--limit", "box,bystander"]], ids=["all", "without localhost"])
def test_within_a_longer_run_the_others_go_on_and_the_end_names_it(run: Run, limit: list[str]) -> None:
    done = run([step("servers", fleet_goes_on=True), AFTERWARDS, step("verify")], *limit)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the others went on" in done.stdout
    last = done.stdout.split("PLAY [Hosts that were left out]")[1]
    assert "fatal: [box]: FAILED!" in last
    assert REFUSED in last
    if not limit:
        assert "1 host(s) did not come to their state; the others did." in done.stdout
        assert "box: servers: Validation of arguments failed:" in done.stdout


def test_a_step_by_itself_fails_where_it_failed(run: Run) -> None:
    done = run([step("servers"), AFTERWARDS])
    assert done.returncode == 2, done.stdout + done.stderr
    assert REFUSED in done.stdout
    assert "the others went on" not in done.stdout


def test_a_host_that_is_left_out_of_a_run_has_not_failed(run: Run) -> None:
    done = run([step("verify")], "--limit", "bystander,localhost")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "box" not in done.stdout
