# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario for a real GPU, as far as a machine without one allows: it parses, and stops early with the reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = ROOT / "molecule" / "gpu"


def ansible(tmp_path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook as Molecule would."""
    (tmp_path / "inventory").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRIVATE_LLM_GPU_")}
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_NOCOLOR": "1",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path),
    }
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *arguments],
        cwd=tmp_path,
        env={**kept, **settings, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_its_playbooks_parse(tmp_path: Path) -> None:
    books = sorted(str(path) for path in SCENARIO.glob("*.yml") if path.name != "molecule.yml")
    assert len(books) == 4
    done = ansible(tmp_path, "--syntax-check", "-i", "gpu-machine,", *books)
    assert done.returncode == 0, done.stderr


def test_without_a_machine_it_says_what_to_set(tmp_path: Path) -> None:
    done = ansible(tmp_path, "-i", "localhost,", str(SCENARIO / "create.yml"))
    assert done.returncode != 0
    assert "Name one with PRIVATE_LLM_GPU_HOST (its address) and PRIVATE_LLM_GPU_USER" in said(done)
    assert not (tmp_path / "inventory" / "machine.yml").exists()


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU, or something like one")
def test_on_a_machine_without_a_gpu_it_says_so_before_anything_is_installed(tmp_path: Path) -> None:
    env = {"PRIVATE_LLM_GPU_HOST": "127.0.0.1", "PRIVATE_LLM_GPU_CONNECTION": "local", "PRIVATE_LLM_GPU_WAIT": "30"}
    done = ansible(tmp_path, "-i", "localhost,", "-e", "ansible_become=false", str(SCENARIO / "create.yml"), **env)
    assert done.returncode != 0
    assert "127.0.0.1 cannot be used for this scenario: " in said(done)
    assert "It needs an NVIDIA GPU for which nvidia-smi answers" in said(done)
    # What was not used is not cleaned up: somebody may have a toolkit and servers of their own there.
    assert not (tmp_path / "inventory" / "machine.yml").exists()
    hosts = tmp_path / "hosts.ini"
    hosts.write_text("[gpu_hosts]\ngpu-machine\n[webui_hosts]\ngpu-machine\n", encoding="utf-8")
    cleaned = ansible(tmp_path, "-i", str(hosts), str(SCENARIO / "cleanup.yml"))
    assert cleaned.returncode == 0, cleaned.stdout
    assert re.search(r"gpu-machine +: ok=0 .* unreachable=0 .* failed=0", cleaned.stdout)


def test_a_machine_with_a_gpu_is_known_to_what_follows(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.symlink_to(ROOT / "scripts" / "lab" / "fake_gpu" / "nvidia-smi")
    env = {
        "PRIVATE_LLM_GPU_HOST": "127.0.0.1",
        "PRIVATE_LLM_GPU_CONNECTION": "local",
        "PRIVATE_LLM_GPU_KEY": "/keys/one",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    done = ansible(tmp_path, "-i", "localhost,", "-e", "ansible_become=false", str(SCENARIO / "create.yml"), **env)
    assert done.returncode == 0, done.stdout
    known = yaml.safe_load((tmp_path / "inventory" / "machine.yml").read_text(encoding="utf-8"))
    assert known["all"]["hosts"]["gpu-machine"] == {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_connection": "local",
        "ansible_ssh_private_key_file": "/keys/one",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def test_a_machine_made_by_tasks_is_taken_away_by_them(tmp_path: Path) -> None:
    tasks = tmp_path / "machine.yml"
    tasks.write_text(
        "- ansible.builtin.copy: {content: '{{ gpu_state }}', dest: " + str(tmp_path / "state") + "}\n"
        "- ansible.builtin.set_fact: {gpu_address: ''}\n",
        encoding="utf-8",
    )
    env = {"PRIVATE_LLM_GPU_MACHINE": str(tasks)}
    assert ansible(tmp_path, "-i", "localhost,", str(SCENARIO / "create.yml"), **env).returncode != 0
    assert (tmp_path / "state").read_text(encoding="utf-8") == "present"
    done = ansible(tmp_path, "-i", "localhost,", str(SCENARIO / "destroy.yml"), **env)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "state").read_text(encoding="utf-8") == "absent"
