# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in which other users can write, or into which they have put files: what root makes of it stays root's."""

from __future__ import annotations

import dataclasses
import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import needed_bytes
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

from .test__apply import bring

if t.TYPE_CHECKING:
    from .conftest import Memory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
ELSE = 65534


@as_root
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666])
def test_file_of_another_user_is_copied_and_left_as_it_is(
    store: ModelStore, memory: Memory, tmp_path: Path, mode: int
) -> None:
    """A hard link to it would stay that user's to write, and so would the release."""
    place = Path(store.path, "weights", "a.bin")
    place.parent.mkdir(parents=True)
    place.write_bytes(memory.files["weights/a.bin"])
    os.chown(place, ELSE, ELSE)
    place.chmod(mode)
    bring(store, memory)
    assert "weights/a.bin" not in memory.fetched
    released = os.lstat(Path(store.current_link, "weights", "a.bin"))
    assert (released.st_uid, released.st_nlink, released.st_mode & 0o777) == (os.geteuid(), 1, 0o644)
    assert (os.lstat(place).st_uid, os.lstat(place).st_mode & 0o777) == (ELSE, mode)
    place.write_bytes(b"x" * 5000)
    assert Path(store.current_link, "weights", "a.bin").read_bytes() == memory.files["weights/a.bin"]


@as_root
def test_what_others_can_write_is_copied_too(store: ModelStore, memory: Memory, tmp_path: Path) -> None:
    place = Path(store.path, "weights", "a.bin")
    place.parent.mkdir(parents=True)
    place.write_bytes(memory.files["weights/a.bin"])
    place.chmod(0o666)
    named = Path(store.path, "weights", "b.bin")
    (tmp_path / "elsewhere").write_bytes(memory.files["weights/b.bin"])
    os.link(tmp_path / "elsewhere", named)
    own = Path(store.path, "config.json")
    own.write_bytes(memory.files["config.json"])
    bring(store, memory)
    assert memory.fetched == []
    release = Path(store.current_link)
    assert not os.path.samefile(place, release / "weights" / "a.bin")
    assert not os.path.samefile(named, release / "weights" / "b.bin")
    # Nobody but us can reach this one, so it takes its space once.
    assert os.path.samefile(own, release / "config.json")


@as_root
def test_release_that_holds_a_file_of_another_user_gets_a_copy(store: ModelStore, memory: Memory) -> None:
    """As earlier versions have left them."""
    bring(store, memory)
    memory.fetched.clear()
    place = Path(store.current_link, "config.json")
    os.chown(place, ELSE, ELSE)
    plan = make_plan(store, memory.target(), False, 1, set, lambda count: None)
    assert ([e.path for e in plan.broken], plan.missing) == (["config.json"], ())
    bring(store, memory)
    assert memory.fetched == []
    assert os.lstat(place).st_uid == os.geteuid()
    assert make_plan(store, memory.target(), False, 1, set, lambda count: None).settled


@as_root
def test_copies_need_room(store: ModelStore, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(store.path, "weights", "a.bin")
    place.parent.mkdir(parents=True)
    place.write_bytes(memory.files["weights/a.bin"])
    os.chown(place, ELSE, ELSE)
    plan = make_plan(store, memory.target(), False, 1, set, lambda count: None)
    assert [entry.path for entry in plan.copied] == ["weights/a.bin"]
    assert needed_bytes(store, memory.target(), plan.missing, plan.copied) == 12_002
    monkeypatch.setattr("shutil.disk_usage", lambda path: t.cast("t.Any", type("Usage", (), {"free": 1000})))
    with pytest.raises(HubError, match=r"needs 5\.0 kB more"):
        bring(store, memory)
    assert memory.fetched == []


@as_root
def test_release_that_another_user_has_made_is_no_release(store: ModelStore, memory: Memory) -> None:
    """Whoever could write the model's folder before can have put a manifest of his own there."""
    bring(store, memory)
    release = store.releases()[0]
    Path(release.path, "config.json").write_bytes(b"[]")
    os.chown(os.path.join(release.path, ".manifest.json"), ELSE, ELSE)
    assert store.release(release.digest) == dataclasses.replace(release, manifest=None)
    bring(store, memory)
    assert Path(store.current_link, "config.json").read_bytes() == b"{}"


@as_root
def test_folders_that_others_can_write_become_roots_own(store: ModelStore, memory: Memory) -> None:
    os.makedirs(store.path)
    organization = os.path.dirname(store.path)
    os.chown(store.path, ELSE, ELSE)
    os.chmod(organization, stat.S_IMODE(0o775))
    os.chown(organization, os.geteuid(), ELSE)
    plan = make_plan(store, memory.target(), False, 1, set, lambda count: None)
    assert plan.actions(memory.target())[:2] == [f"let root alone write {path}" for path in (organization, store.path)]
    bring(store, memory)
    for path in (organization, store.path):
        assert (os.lstat(path).st_uid, os.lstat(path).st_mode & 0o777) == (os.geteuid(), 0o755)
    assert make_plan(store, memory.target(), False, 1, set, lambda count: None).settled


def test_lock_is_not_opened_through_a_link(store: ModelStore, tmp_path: Path) -> None:
    os.makedirs(store.path)
    victim = tmp_path / "nologin"
    os.symlink(victim, os.path.join(store.path, ".lock"))
    with pytest.raises(HubError, match=r"/\.lock is a link or no plain file; remove it"), store.locked(0, lambda: None):
        pass
    assert not victim.exists()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_lock_that_is_no_file_is_refused(store: ModelStore, kind: str) -> None:
    os.makedirs(store.path)
    (os.mkfifo if kind == "pipe" else os.mkdir)(os.path.join(store.path, ".lock"))
    with pytest.raises(HubError, match=r"/\.lock is a link or no plain file; remove it"), store.locked(0, lambda: None):
        pass


@pytest.mark.parametrize("linked", ["acme", "acme/tiny"])
def test_linked_folder_of_the_store_is_refused(store: ModelStore, tmp_path: Path, linked: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = Path(store.root, linked)
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubError, match="is a link and may lead out of the store"):
        store.refuse_linked_folders()
    with pytest.raises(HubError, match="is a link or no folder"), store.locked(0, lambda: None):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_linked_root_is_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "models").symlink_to(tmp_path / "data")
    with ModelStore(str(tmp_path / "models"), "acme/tiny").locked(0, lambda: None):
        assert (tmp_path / "data" / "acme" / "tiny" / ".lock").is_file()


def test_download_by_hand_is_not_read_through_a_link(store: ModelStore, memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.bin").write_bytes(memory.files["weights/a.bin"])
    os.makedirs(store.path)
    os.symlink(tmp_path / "elsewhere", os.path.join(store.path, "weights"))
    bring(store, memory)
    assert "weights/a.bin" in memory.fetched


@as_root
def test_staging_folder_of_another_user_is_refused(store: ModelStore, memory: Memory) -> None:
    os.makedirs(store.staging_root)
    os.chown(store.staging_root, ELSE, ELSE)
    with pytest.raises(HubError, match=r"\.staging belongs to another user, or others can write it; remove it"):
        bring(store, memory)


@pytest.mark.parametrize("root", ["/", "//", "/..", "/a/..", "models"])
def test_root_that_is_no_folder_for_models(root: str) -> None:
    with pytest.raises(HubError, match="is not the absolute path of a folder for models"):
        ModelStore(root, "acme/tiny")


@as_root
def test_root_that_others_can_write_is_told(store: ModelStore) -> None:
    assert not store.root_is_open()  # it is not there
    os.makedirs(store.root)
    assert not store.root_is_open()
    os.chmod(store.root, stat.S_IMODE(0o777))
    assert store.root_is_open()
    os.chmod(store.root, stat.S_IMODE(0o1777))
    assert not store.root_is_open()
    os.chmod(store.root, stat.S_IMODE(0o755))
    os.chown(store.root, ELSE, ELSE)
    assert store.root_is_open()
