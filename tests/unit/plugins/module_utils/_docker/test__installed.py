# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker import _installed

if t.TYPE_CHECKING:
    import pathlib


def test_only_programs_that_are_there_are_named(tmp_path: pathlib.Path) -> None:
    there = tmp_path / "dockerd"
    there.touch()
    assert _installed.programs([str(tmp_path / "none"), str(there)]) == [str(there)]


def test_the_engines_of_users_are_found_by_their_sockets(tmp_path: pathlib.Path) -> None:
    for user in ("1001", "1000"):
        (tmp_path / user).mkdir()
        (tmp_path / user / "docker.sock").touch()
    (tmp_path / "1002").mkdir()
    assert _installed.user_sockets(f"{tmp_path}/*/docker.sock") == [
        f"{tmp_path}/1000/docker.sock",
        f"{tmp_path}/1001/docker.sock",
    ]


def test_a_snap_is_found_by_its_folder(tmp_path: pathlib.Path) -> None:
    assert _installed.from_snap(str(tmp_path))
    assert not _installed.from_snap(str(tmp_path / "none"))


def test_an_engine_of_a_snap_is_known_by_where_its_data_are() -> None:
    assert _installed.is_of_snap("/var/snap/docker/common/var-lib-docker")
    assert not _installed.is_of_snap("/var/lib/docker")
    assert not _installed.is_of_snap("")


@pytest.mark.parametrize(
    ("shown", "loaded", "active", "enabled"),
    [
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", True, True, True),
        ("LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n", True, False, False),
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", False, False, False),
        # Somebody's own start of the host decides over this one.
        ("LoadState=loaded\nActiveState=active\nUnitFileState=static\n", True, True, False),
        ("LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n", False, False, False),
        ("", False, False, False),
        ("System has not been booted with systemd as init system\n", False, False, False),
    ],
)
def test_the_state_of_the_unit(shown: str, loaded: bool, active: bool, enabled: bool) -> None:
    assert _installed.parse_unit(shown) == {"loaded": loaded, "active": active, "enabled": enabled}
