# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the removal of the shared folders counts as a change of the host, run for real in a folder of the test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.tests.support import playbooks

TASK = "Remove the collection's own folders that are empty"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Folders in place of the host's own, none of which exists."""
    return {name: tmp_path / "host" / name for name in ("opt", "etc", "run")}


def removed(tmp_path: Path, folders: dict[str, Path], *arguments: str) -> bool:
    """Run the tasks and return whether they report a change."""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Remove",
                "ansible.builtin.include_role": {"name": "private_llm.fleet.host_python", "tasks_from": "remove"},
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    variables = {
        "ansible_python_interpreter": sys.executable,
        "host_python_venv": str(folders["opt"] / "venv"),
        "__host_python_folders": [str(folders["opt"]), str(folders["etc"])],
        "__host_python_run_folders": [str(folders["run"])],
    }
    outcome = playbooks.run(
        str(tmp_path / "play.yml"), ["localhost,"], "-e", json.dumps(variables), *arguments, ANSIBLE_BECOME="false"
    )
    assert outcome.returncode == 0, outcome.text
    assert outcome.result("localhost", TASK)["results"]
    return outcome.changes() > 0


def test_folders_with_nothing_in_them_go_and_a_second_run_changes_nothing(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    (folders["etc"] / "vllm_server" / "alpha").mkdir(parents=True)
    (folders["run"] / "locks").mkdir(parents=True)
    assert removed(tmp_path, folders, "--check")
    assert (folders["etc"] / "vllm_server" / "alpha").is_dir()
    assert (folders["run"] / "locks").is_dir()
    assert removed(tmp_path, folders)
    assert not folders["etc"].exists()
    assert not folders["run"].exists()
    # The modules of a removal take their locks, whether there is something to remove or not.
    (folders["run"] / "locks").mkdir(parents=True)
    assert not removed(tmp_path, folders)
    assert not folders["run"].exists()


def test_what_is_in_use_stays(tmp_path: Path, folders: dict[str, Path]) -> None:
    for folder in ("etc", "run"):
        (folders[folder] / "kept").mkdir(parents=True)
        (folders[folder] / "kept" / "file").touch()
    assert not removed(tmp_path, folders)
    assert (folders["etc"] / "kept" / "file").exists()
    assert (folders["run"] / "kept" / "file").exists()
