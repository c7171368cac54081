# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _owned_files
from ansible_collections.private_llm.fleet.plugins.module_utils._owned_files import File

WANTED = {"a.yml": File("a\n", secret=False), "b/c.json": File("[]", secret=False), "s": File("canary\n", secret=True)}


def modes(folder: Path) -> dict[str, int]:
    return {
        str(one.relative_to(folder)): stat.S_IMODE(one.stat().st_mode)
        for one in folder.rglob("*")
        if one.name != _owned_files.MARK
    }


def test_a_folder_is_brought_to_its_state_once_whatever_the_umask_is(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    assert _owned_files.changes(str(folder), WANTED, None) == ["a.yml", "b/c.json", "s"]
    before = os.umask(0o077)
    try:
        _owned_files.write(str(folder), WANTED, None)
    finally:
        os.umask(before)
    assert modes(folder) == {"a.yml": 0o644, "b": 0o755, "b/c.json": 0o644, "s": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert _owned_files.changes(str(folder), WANTED, None) == []


def test_what_differs_is_written_and_what_nobody_wants_goes(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    _owned_files.write(str(folder), WANTED, None)
    (folder / "s").chmod(0o644)
    (folder / "a.yml").write_text("other")
    fewer = {name: file for name, file in WANTED.items() if name != "b/c.json"}
    assert _owned_files.changes(str(folder), fewer, None) == ["a.yml", "b/c.json", "s"]
    _owned_files.write(str(folder), fewer, None)
    assert modes(folder) == {"a.yml": 0o644, "s": 0o600}
    assert (folder / "a.yml").read_text() == "a\n"


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    folder, other = tmp_path / "f", tmp_path / "other"
    other.write_text("a\n")
    _owned_files.write(str(folder), WANTED, None)
    (folder / "a.yml").unlink()
    (folder / "a.yml").symlink_to(other)
    assert _owned_files.changes(str(folder), WANTED, None) == ["a.yml"]
    _owned_files.write(str(folder), WANTED, None)
    assert not (folder / "a.yml").is_symlink()


def test_secrets_are_not_shown_neither_when_they_come_nor_when_they_go(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    assert "canary" not in str(list(_owned_files.shown(str(folder), WANTED, WANTED)))
    _owned_files.write(str(folder), WANTED, None)
    assert list(_owned_files.shown(str(folder), {}, ["a.yml", "s"])) == [
        ("a.yml", "a\n", ""),
        ("s", "not shown\n", ""),
    ]


def test_the_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    for refused in (
        lambda: _owned_files.changes(str(tmp_path), WANTED, None),
        lambda: _owned_files.write(str(tmp_path), WANTED, None),
    ):
        with pytest.raises(_owned_files.OwnedFilesError, match="files of somebody else"):
            refused()
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a\0", _owned_files.MARK])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(_owned_files.OwnedFilesError):
        _owned_files.check_names([name])
