# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import configparser

from ansible_collections.private_llm.fleet.plugins.module_utils._systemd import Unit
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _units


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # how the library says that case counts
    parser.read_string(text)
    return parser


def test_the_timer_runs_the_pass_and_the_engine_the_start() -> None:
    found = {name: read(text) for name, text in _units.units("/usr/bin/python3", "/opt/watch", 40).items()}
    assert sorted(found) == ["private-llm-watch-boot.service", "private-llm-watch.service", "private-llm-watch.timer"]
    # A timer starts the service of its own name.
    one, timer, boot = (
        found[name] for name in (f"{_units.WATCH}.service", f"{_units.WATCH}.timer", f"{_units.BOOT}.service")
    )
    assert one["Service"]["ExecStart"] == "/usr/bin/python3 -I /opt/watch pass"
    assert boot["Service"]["ExecStart"] == "/usr/bin/python3 -I /opt/watch boot"
    assert boot["Install"]["WantedBy"] == "docker.service"
    assert "Install" not in one, "nothing but the timer starts it"
    assert timer["Timer"]["OnUnitActiveSec"] == timer["Timer"]["OnActiveSec"] == "40"
    # A start may load weights for as long as it takes; a pass that does not end must not keep the next one away.
    assert boot["Service"]["TimeoutStartSec"] == "infinity"
    assert one["Service"]["TimeoutStartSec"] == "15min"
    assert {unit["Service"]["NoNewPrivileges"] for unit in (one, boot)} == {"true"}


SHOWN = """\
Id=private-llm-watch.service
ActiveState=inactive
UnitFileState=static
NeedDaemonReload=no

Id=private-llm-watch.timer
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=private-llm-watch-boot.service
ActiveState=inactive
UnitFileState=enabled
NeedDaemonReload=no
"""


def right(unit: Unit) -> bool:
    """Say that nothing was written since the start."""
    return False


def test_the_units_are_at_work_once_systemd_has_read_them_enables_them_and_runs_the_timer() -> None:
    assert _units.at_work(SHOWN, right)
    assert not _units.at_work(SHOWN, lambda unit: True), "the timer counts as its file said before"
    for line, other in (
        ("ActiveState=active", "ActiveState=failed"),
        ("UnitFileState=enabled", "UnitFileState=disabled"),
        ("NeedDaemonReload=no", "NeedDaemonReload=yes"),
    ):
        assert not _units.at_work(SHOWN.replace(line, other, 1), right)
    before, _line, after = SHOWN.rpartition("UnitFileState=enabled")
    assert not _units.at_work(f"{before}UnitFileState=disabled{after}", right)
    assert not _units.at_work("", right)
    assert not _units.at_work("Failed to connect to bus: No such file or directory\n", right)
