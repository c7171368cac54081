# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook report.yml, run for real on this machine, whatever it has: it only looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_the_report_is_written_whatever_the_hosts_can_tell(tmp_path: Path) -> None:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = {
        "gpu_hosts": {"hosts": {"box": here}},
        # Nothing listens on port 1, neither SSH nor Open WebUI.
        "webui_hosts": {"hosts": {"box": None, "gone": away}, "vars": {"open_webui_port": 1}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    page = tmp_path / "fleet.html"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "private_llm.fleet.report",
            "-i",
            str(tmp_path / "hosts.yml"),
            "-e",
            f"fleet_page_file={page}",
            "-e",
            "ansible_become=false",
        ],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The words "changed=1" anywhere would mean that looking had changed something.
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout
    shown = page.read_text(encoding="utf-8")
    for expected in (
        "<b>gone</b>\ncannot be reached:",
        "<h3>box</h3>",
        "Open WebUI: ",
        'class="state bad">unreachable',
    ):
        assert expected in shown, shown
