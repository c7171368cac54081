# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._run import has_ended, this_run


def process(proc: pathlib.Path, pid: int, parent: int, *command: str, start: int = 7, state: str = "S") -> None:
    (proc / str(pid)).mkdir(parents=True)
    rest = " ".join([state, str(parent), *["0"] * 17, str(start)])
    (proc / str(pid) / "stat").write_text(f"{pid} (a (strange) name) {rest} 0 0\n", "utf-8")
    (proc / str(pid) / "cmdline").write_text("\0".join(command) + "\0", "utf-8")


@pytest.fixture
def proc(tmp_path: pathlib.Path) -> pathlib.Path:
    random = tmp_path / "sys/kernel/random"
    random.mkdir(parents=True)
    (random / "boot_id").write_text("0123456789-abcd\n", "ascii")
    (tmp_path / "self/ns").mkdir(parents=True)
    os.symlink("pid:[4026]", tmp_path / "self/ns/pid")
    process(tmp_path, 10, 1, "/usr/bin/python3", "/usr/bin/molecule", "converge")
    process(tmp_path, 20, 10, "/usr/bin/python3", "/usr/bin/ansible-playbook", "site.yml", start=42)
    process(tmp_path, 30, 20, "/usr/bin/python3", "/usr/bin/ansible-playbook", "site.yml")
    return tmp_path


def test_a_run_is_named_by_the_process_that_was_called(proc: pathlib.Path) -> None:
    name = this_run(str(proc), 30)
    assert name.endswith("/01234567/4026/20.42")
    assert this_run(str(proc), 20) == name
    assert this_run(str(proc), 99).endswith("/01234567/4026/0")


def test_a_run_has_ended_when_its_process_has(proc: pathlib.Path) -> None:
    name = this_run(str(proc), 30)
    assert not has_ended(f"servers of {name}", str(proc))
    assert has_ended(f"servers of {name[:-2]}43", str(proc))  # another process of that number
    process(proc, 40, 1, "ansible", start=8, state="Z")
    assert has_ended(name.replace("20.42", "40.8"), str(proc))
    assert has_ended(name.replace("20.42", "41.8"), str(proc))


def test_nobody_knows_of_runs_on_other_controllers(proc: pathlib.Path) -> None:
    name = this_run(str(proc), 30)
    for other in (f"elsewhere{name}", name.replace("4026", "4027"), name.replace("20.42", "0"), "", "x"):
        assert not has_ended(other, str(proc))


def test_real_processes_are_known() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        name = this_run(pid=child.pid)
        assert not has_ended(name)
        child.kill()
        child.wait()
        assert has_ended(name)
