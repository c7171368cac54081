# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of the system are wanted only where Python makes no virtual environment by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.tests.support import playbooks

PACKAGES = "Check which packages are missing"


@pytest.mark.parametrize("complete", [True, False])
def test_packages_are_wanted_where_python_lacks_something(tmp_path: Path, complete: bool) -> None:
    python = Path(sys.executable)
    if not complete:
        bare = tmp_path / "bare"
        subprocess.run([python, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=60)
        python = bare / "bin" / "python"
    variables = {
        "ansible_python_interpreter": str(python),
        "host_python_venv": str(tmp_path / "venv"),
        "host_python_packages": ["docker==7.1.0"],
    }
    play = {"hosts": "localhost", "connection": "local", "vars": variables, "roles": ["private_llm.fleet.host_python"]}
    path = tmp_path / "play.yml"
    path.write_text(json.dumps([play]), encoding="utf-8")
    done = playbooks.run(str(path), ["localhost,"], "--check")
    assert done.returncode == 0, done.text
    looked = [result for result in done.results("localhost", PACKAGES) if not result.get("skipped")]
    assert bool(looked) is not complete
    assert done.result("localhost", "Install the libraries")["changed"]
