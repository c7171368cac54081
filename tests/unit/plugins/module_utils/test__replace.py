# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _replace
from ansible_collections.private_llm.fleet.plugins.module_utils._replace import (
    Draft,
    ReplaceError,
    mode_of,
    read_file,
    sweep,
)


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "daemon.json"
    with Draft(str(path), b"{}", 0o600) as draft:
        assert not path.exists()
        assert draft.path.endswith(".json")
        draft.publish()
    assert path.read_bytes() == b"{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["daemon.json"]


def test_a_draft_that_is_not_published_leaves_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes(b"old")
    with Draft(str(path), b"new", 0o644):
        pass
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key.asc"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_full_disk_leaves_the_old_file_and_no_draft(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(b"old")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    message = r"daemon.json cannot be .*: No space left on device; it was left as it is"
    with pytest.raises(ReplaceError, match=message), Draft(str(path), b"new", 0o644) as draft:
        draft.publish()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["daemon.json"]


def test_drafts_of_killed_processes_are_swept_by_the_next_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "daemon.json"
    Draft(str(path), b"left behind", 0o644)
    (tmp_path / ".daemon.json.swp").write_bytes(b"an editor's")
    (tmp_path / ".other.json.private_llm-x").write_bytes(b"another file's")
    assert len(sweep(str(path))) == 1
    Draft(str(path), b"left behind again", 0o644)
    with Draft(str(path), b"new", 0o644) as draft:
        draft.publish()
    assert sorted(os.listdir(tmp_path)) == [".daemon.json.swp", ".other.json.private_llm-x", "daemon.json"]


def test_what_is_no_file_is_refused_and_keeps_nobody_waiting(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReplaceError, match="is not a file"):
        read_file(str(tmp_path / "pipe"), 10)
    with pytest.raises(ReplaceError, match="is not a file"):
        read_file(str(tmp_path), 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(ReplaceError, match="is larger than"):
        read_file(str(tmp_path / "large"), 10)
    assert read_file(str(tmp_path / "none"), 10) is None
    assert read_file(str(tmp_path / "large" / "below"), 10) is None


def test_mode_of(tmp_path: pathlib.Path) -> None:
    assert mode_of(str(tmp_path / "none")) == 0o644
    (tmp_path / "file").touch(mode=0o640)
    assert mode_of(str(tmp_path / "file")) == 0o640


def test_a_link_in_the_place_of_a_draft_changes_no_other_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the metrics may be node_exporter's, and root's program writes there."""
    secret = tmp_path / "shadow"
    secret.write_text("x", encoding="utf-8")
    secret.chmod(0o600)
    opened = os.fdopen

    def swapped(descriptor: int, *arguments: t.Any, **named: t.Any) -> t.Any:
        draft = pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        draft.unlink()
        draft.symlink_to(secret)
        return opened(descriptor, *arguments, **named)

    monkeypatch.setattr(os, "fdopen", swapped)
    _replace.write_text(str(tmp_path / "metrics" / "a.prom"), "a 1\n", 0o644)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text(encoding="utf-8") == "x"


def test_what_a_killed_pass_left_behind_is_removed(tmp_path: pathlib.Path) -> None:
    for name, age in ((f"{_replace.MARK}old", 2 * _replace.LEFT_BEHIND), (f"{_replace.MARK}new", 0.0), (".other", 1e6)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (os.stat(tmp_path).st_mtime - age,) * 2)
    _replace.write_text(str(tmp_path / "a.prom"), "a 1\n", 0o644)
    assert sorted(os.listdir(tmp_path)) == [".other", f"{_replace.MARK}new", "a.prom"]
