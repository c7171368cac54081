# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of one run that want the same revision: one asks the hub, and all have the same release."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "scripts" / "lab"))

PLAY = """
- hosts: all
  gather_facts: false
  module_defaults:
    private_llm.fleet.model_snapshot:
      {{repo: acme/tiny, root: "{root}/{{{{ inventory_hostname }}}}", endpoint: "{url}", ask_once: {once}}}
  tasks:
    - private_llm.fleet.model_snapshot: {{config: true}}
      check_mode: true
      register: looked
    - ansible.builtin.uri:
        url: "{url}/_lab/models/acme/tiny"
        method: PUT
        body_format: json
        body: {{branches: {{master: {newer}}}}}
      run_once: true
    - private_llm.fleet.model_snapshot:
      register: brought
    - ansible.builtin.assert:
        that:
          - brought.digest == looked.digest
          - looked.config.model_type == 'qwen3'
"""


def play(tmp_path: Path, hub: t.Any, once: bool) -> subprocess.CompletedProcess[str]:
    model = hub.add_model("acme/tiny")
    older = model.commit({"config.json": b'{"model_type": "qwen3"}', "w.bin": bytes(1000)})
    newer = model.commit({"w.bin": bytes(2000)})
    model.branches["master"] = older
    (tmp_path / "play.yml").write_text(PLAY.format(root=tmp_path, url=hub.url, once=once, newer=newer))
    return subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), tmp_path / "play.yml", "-i", "a,b,c", "-c", "local"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    with lab.Hub() as server:
        yield server


def lists(hub: t.Any) -> int:
    """How often the list of the branch was asked for, which also says what commit it is."""
    return sum(entry["query"].get("Revision") == "master" for entry in hub.log)


def test_one_host_asks_for_all_and_a_branch_that_moves_meanwhile_does_not_part_them(hub: t.Any, tmp_path: Path) -> None:
    done = play(tmp_path, hub, once=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len({path.name for path in tmp_path.glob("?/acme/tiny/" + "?" * 64)}) == 1
    assert lists(hub) == 1


def test_without_it_each_asks_by_itself(hub: t.Any, tmp_path: Path) -> None:
    done = play(tmp_path, hub, once=False)
    assert done.returncode != 0
    assert "brought.digest == looked.digest" in done.stdout
