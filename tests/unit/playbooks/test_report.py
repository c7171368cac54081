# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook report.yml, run for real on this machine, whatever it has: it only looks."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from ansible_collections.private_llm.fleet.tests.support import playbooks


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
    outcome = playbooks.run(
        "private_llm.fleet.report",
        [str(tmp_path / "hosts.yml")],
        *("-e", f"fleet_page_file={page}", "-e", "ansible_become=false"),
    )
    assert outcome.returncode == 0, outcome.text
    # Looking has changed nothing, anywhere.
    assert {counts["changed"] for counts in outcome.stats.values()} == {0}
    shown = page.read_text(encoding="utf-8")
    for expected in (
        "<b>gone</b>\ncannot be reached:",
        "<h3>box</h3>",
        "Open WebUI: ",
        'class="state bad">unreachable',
    ):
        assert expected in shown, shown
