# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of the module bundle_make: in check mode, on a first and a second run, and for folders that it refuses."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle import _folder, _place
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


def test_a_place_where_nothing_can_be_made_is_refused_before_anything_is_fetched(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for path, what in (("file", "not a folder"), ("file/bundle", "not a folder"), ("nowhere", "a link to nothing")):
        for check in (True, False):
            found = make(check=check, path=str(tmp_path / path), content=[])
            assert f"{what}; remove it, or name another folder" in found["msg"]
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "gone").exists()


def test_a_folder_that_nobody_may_write_is_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere but to a file system that takes nothing.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = make(path=str(tmp_path / "a" / "b"))
    assert f"cannot write {tmp_path}; change that, or name another folder" in found["msg"]
    assert not (tmp_path / "a").exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 95, 5))
    found = make()
    assert "still needs 6 B, and its file system has 5 B free" in found["msg"]
    assert not (tmp_path / "bundle" / "blobs").exists()


def test_two_runs_do_not_make_one_bundle_at_once(make: Make, tmp_path: Path) -> None:
    make()
    with _place.held(str(tmp_path / "bundle")):
        found = make()
    assert "another run makes the bundle" in found["msg"]
    assert "wait until it has ended, then run again" in found["msg"]
    assert make()["changed"] is False


def test_a_file_system_that_keeps_no_links_gets_copies(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_unused: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    content = [{"kind": "collections", "name": "collections", "folder": str(tmp_path / NAME)}]
    monkeypatch.setattr(os, "symlink", refuse)
    assert make(content=content)["changed"]
    assert (tmp_path / "bundle" / "collections" / "a-1.whl").read_bytes() == b"aaaa"
    (tmp_path / NAME / "a-1.whl").unlink()
    assert make(content=content)["changed"]
    assert sorted(os.listdir(tmp_path / "bundle" / "collections")) == ["乙-2.whl"]


@pytest.mark.parametrize("name", ["with blanks", "三 – ü", "-dash", "a:b"])
def test_a_folder_may_have_any_name(make: Make, tmp_path: Path, name: str) -> None:
    assert make(path=str(tmp_path / name))["changed"]
    assert make(path=str(tmp_path / name))["changed"] is False


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "the file system became full; make room, then run again, which goes on from what was fetched"),
        (errno.EFBIG, "keeps no file as large as this one, such as FAT32; name a folder on another"),
        (errno.EACCES, "whoever runs Ansible must be able to read all of the bundle"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_a_disk_does_not_take_is_told(make: Make, monkeypatch: pytest.MonkeyPatch, code: int, says: str) -> None:
    def refuse(*_unused: object) -> t.NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_folder.ArrivingFile, "write", refuse)
    assert says in make()["msg"]


def test_a_check_tries_the_key(make: Make, tmp_path: Path) -> None:
    key = tmp_path / "a key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a phrase", "-f", str(locked)], check=True)
    assert make(check=True, sign_with=str(key))["changed"]
    for one in (locked, tmp_path / "none"):
        said = make(check=True, sign_with=str(one))["msg"]
        assert f"no bundle can be signed with {one}: " in said
        assert "give a key without a passphrase" in said
    assert not (tmp_path / "bundle").exists()


def test_a_file_system_that_locks_no_folder_takes_a_bundle(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_unused: object) -> t.NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert make()["changed"]
