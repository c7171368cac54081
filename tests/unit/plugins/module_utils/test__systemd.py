# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._systemd import (
    Unit,
    is_outdated,
    parse,
    runs_old_files,
)

# As systemd 257 prints it.
TIMER = """\
Triggers=private-llm-watch.service
ActiveState=active
FragmentPath=/etc/systemd/system/private-llm-watch.timer
DropInPaths=/etc/systemd/system/a.d/one.conf /etc/systemd/system/a.d/two.conf
UnitFileState=enabled
ActiveEnterTimestampMonotonic=28970305915
NeedDaemonReload=no
"""
ABSENT = """\
Triggers=
ActiveState=inactive
FragmentPath=
DropInPaths=
UnitFileState=
ActiveEnterTimestampMonotonic=0
NeedDaemonReload=no
"""


def test_what_systemd_says_of_a_unit_is_read() -> None:
    folder = "/etc/systemd/system"
    assert parse(TIMER) == Unit(
        running=True,
        enabled=True,
        unread=False,
        started=28970.305915,
        files=(f"{folder}/private-llm-watch.timer", f"{folder}/a.d/one.conf", f"{folder}/a.d/two.conf"),
        triggers=("private-llm-watch.service",),
    )
    assert parse(ABSENT) == Unit(False, False, False, 0.0, (), ())
    assert parse(TIMER.replace("NeedDaemonReload=no", "NeedDaemonReload=yes")).unread


@pytest.mark.parametrize(
    ("state", "enabled"),
    [("static", True), ("alias", True), ("disabled", False), ("enabled-runtime", False), ("masked", False)],
)
def test_a_unit_that_cannot_be_enabled_any_further_counts_as_enabled(state: str, enabled: bool) -> None:
    assert parse(TIMER.replace("=enabled", f"={state}")).enabled is enabled


@pytest.mark.parametrize(
    ("written", "unread", "outdated"),
    [
        ((), False, False),
        ((), True, True),
        ((1000.0, 1499.0), False, False),
        ((1000.0, 1501.0), False, True),
        # A clock that was set back leaves files from the future: they would have the unit restarted at each run.
        ((2001.0,), False, False),
    ],
)
def test_a_unit_is_outdated_when_a_file_was_written_after_its_start(
    written: tuple[float, ...], unread: bool, outdated: bool
) -> None:
    # It was started 500 seconds ago, at 1500.
    unit = Unit(True, True, unread, 100.0, (), ())
    assert is_outdated(unit, written, now=2000.0, uptime=600.0) is outdated


def test_the_files_of_a_unit_and_others_that_it_reads_are_looked_at(tmp_path: Path) -> None:
    own, other = tmp_path / "own.service", tmp_path / "other.conf"
    for path in (own, other):
        path.touch()
    started = time.monotonic() - 100

    def written(path: Path, seconds_ago: float) -> None:
        at = time.time() - seconds_ago
        os.utime(path, (at, at))

    unit = Unit(True, True, False, started, (str(own), "/nonexistent/drop-in.conf", "/dev/null"), ())
    written(own, 200)
    written(other, 50)
    assert not runs_old_files(unit)
    assert runs_old_files(unit, [str(other)])
    written(own, 99)
    assert runs_old_files(unit)
