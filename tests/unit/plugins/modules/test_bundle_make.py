# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of the module bundle_make: in check mode, on a first and a second run, and for folders that it refuses."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.modules import bundle_make

Make = t.Callable[..., t.Dict[str, t.Any]]
NAME = "wheels-轮子"


@pytest.fixture
def make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Make:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "a-1.whl").write_bytes(b"aaaa")
    (folder / "乙-2.whl").write_bytes(b"bb")

    def call(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        arguments = {
            "path": str(tmp_path / "bundle"),
            "content": [{"kind": "wheels", "name": "all", "folder": str(folder)}],
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path / "tmp"),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            bundle_make.main()
        found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return found

    return call


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_bundle_is_made_once_and_check_mode_tells_the_same(make: Make, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        foreseen, made, again = make(check=True), make(), make()
    finally:
        os.umask(before)
    assert (foreseen["changed"], made["changed"], again["changed"]) == (True, True, False)
    assert foreseen["root"] == made["root"] == again["root"]
    assert made["content"] == [{"kind": "wheels", "name": "all", "bytes": 6}]
    assert (made["bytes_total"], made["bytes_own"], made["bytes_missing"], again["bytes_missing"]) == (6, 6, 6, 0)
    written = [path for path in (tmp_path / "bundle").rglob("*") if not path.is_symlink()]
    assert not [path for path in written if path.stat().st_mode & 0o022 & ~(0o777 & ~mask)]


def test_check_mode_writes_nothing(make: Make, tmp_path: Path) -> None:
    make(check=True)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"kind": "wheels", "name": "all"}, "content names wheels all without its folder"),
        ({"kind": "model", "name": "a/b", "folder": "/not/there"}, "is not a release that model_snapshot keeps"),
        ({"kind": "wheels", "name": "all", "folder": "/not/there"}, "/not/there holds no files for wheels all"),
    ],
)
def test_what_cannot_be_taken_is_told(make: Make, content: dict[str, t.Any], said: str) -> None:
    found = make(content=[content])
    assert found["failed"]
    assert said in found["msg"]


def test_an_earlier_bundle_must_be_one(make: Make, tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    os.mkfifo(tmp_path / "earlier" / "index.json")
    found = make(since=str(tmp_path / "earlier"))
    assert found["failed"]
    assert "a bundle is a folder that playbooks/bundle.yml made" in found["msg"]
