# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that has its packages asks no repository; check mode tells of a package that the lists do not hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.tests.support import playbooks

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="the play asks apt, which is not here")

LOOK = "Check which packages are missing"
INSTALL = "Install the missing packages by new package lists"


@pytest.mark.parametrize(
    ("package", "arguments", "missing"), [("bash", [], False), ("private-llm-canary-package", ["--check"], True)]
)
def test_only_a_missing_package_is_installed(tmp_path: Path, package: str, arguments: list[str], missing: bool) -> None:
    variables = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "host_packages_names": [package],
        "host_packages_start": False,
    }
    roles = ["private_llm.fleet.host_packages"]
    play = {"hosts": "localhost", "connection": "local", "vars": variables, "roles": roles}
    path = tmp_path / "play.yml"
    path.write_text(json.dumps([play]), encoding="utf-8")
    done = playbooks.run(str(path), ["localhost,"], *arguments)
    assert done.returncode == 0, done.text
    assert done.result("localhost", LOOK)["changed"] is missing
    assert done.result("localhost", INSTALL)["skipped"]
