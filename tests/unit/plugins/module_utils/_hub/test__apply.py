# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _apply
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import Meter, apply_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore, Stale, stale_files

if t.TYPE_CHECKING:
    from .conftest import Memory


def bring(store: ModelStore, memory: Memory, keep: int = 1, full: bool = False) -> int:
    target = memory.target()
    with store.locked(1, lambda: None):
        plan = make_plan(store, target, full, keep, set, lambda count: None)
        return apply_plan(store, memory, target, plan, lambda *unused: None)


def content(store: ModelStore) -> dict[str, bytes]:
    root = Path(store.current_link)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".manifest.json"
    }


def test_published(store: ModelStore, memory: Memory) -> None:
    assert bring(store, memory) == 12_002
    assert content(store) == memory.files
    assert not os.path.exists(store.staging_root)
    assert bring(store, memory) == 0


def test_release_in_use_is_not_touched_by_the_next_one(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    old = os.path.realpath(store.current_link)
    inode = os.stat(f"{old}/weights/a.bin").st_ino
    memory.fetched.clear()
    memory.files["config.json"] = b"[]"
    assert bring(store, memory) == 2
    assert memory.fetched == ["config.json"]
    assert Path(old, "config.json").read_bytes() == b"{}"
    assert os.stat(f"{store.current_link}/weights/a.bin").st_ino == inode
    for release in store.releases():
        assert stale_files(release, full=False) == Stale((), ())


def test_only_broken_files_are_repaired(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    release = store.releases()[0]
    inodes = {name: os.stat(f"{release.path}/{name}").st_ino for name in memory.files}
    Path(release.path, "weights/a.bin").write_bytes(b"x" * 5000)
    os.unlink(f"{release.path}/config.json")
    memory.fetched.clear()
    bring(store, memory)
    assert memory.fetched == ["config.json", "weights/a.bin"]
    assert content(store) == memory.files
    assert os.stat(f"{release.path}/weights/b.bin").st_ino == inodes["weights/b.bin"]
    assert stale_files(store.releases()[0], full=False) == Stale((), ())


def test_damage_does_not_spread_to_the_next_release(store: ModelStore, memory: Memory) -> None:
    """A donor may have rotted in a way that no stamp shows."""
    bring(store, memory)
    release = store.releases()[0]
    path = Path(release.path, "weights/a.bin")
    path.write_bytes(b"x" * 5000)
    _apply._restamp(store, memory.target())
    memory.files["config.json"] = b"[]"
    memory.fetched.clear()
    bring(store, memory)
    assert memory.fetched == ["config.json", "weights/a.bin"]
    assert content(store) == memory.files


def test_what_an_interrupted_run_left_is_taken(store: ModelStore, memory: Memory) -> None:
    staging = Path(store.staging_path(memory.target().digest))
    (staging / "weights").mkdir(parents=True)
    (staging / "weights" / "a.bin").write_bytes(memory.files["weights/a.bin"])
    (staging / "weights" / "b.bin").write_bytes(b"y" * 7000)
    (staging / "config.json.incomplete").write_bytes(b"{")
    bring(store, memory)
    assert memory.fetched == ["config.json", "weights/b.bin"]
    assert content(store) == memory.files


def test_what_was_left_for_another_release_is_taken_after_reading_it(store: ModelStore, memory: Memory) -> None:
    other = Path(store.staging_path("e" * 64))
    (other / "weights").mkdir(parents=True)
    (other / "weights" / "a.bin").write_bytes(memory.files["weights/a.bin"])
    (other / "weights" / "b.bin").write_bytes(b"y" * 7000)
    bring(store, memory)
    assert memory.fetched == ["config.json", "weights/b.bin"]
    assert content(store) == memory.files
    assert not os.path.exists(store.staging_root)


def test_download_made_by_hand_is_taken_after_reading_it(store: ModelStore, memory: Memory) -> None:
    byhand = Path(store.path)
    (byhand / "weights").mkdir(parents=True)
    (byhand / "weights" / "a.bin").write_bytes(memory.files["weights/a.bin"])
    (byhand / "weights" / "b.bin").write_bytes(b"y" * 7000)
    (byhand / "notes.txt").write_text("mine")
    assert bring(store, memory) == 7_002
    assert memory.fetched == ["config.json", "weights/b.bin"]
    assert content(store) == memory.files
    assert os.path.samefile(byhand / "weights" / "a.bin", Path(store.current_link, "weights", "a.bin"))
    assert (byhand / "weights" / "b.bin").read_bytes() == b"y" * 7000
    assert (byhand / "notes.txt").read_text() == "mine"
    assert bring(store, memory) == 0


def test_wrong_contents_are_thrown_away_and_nothing_is_published(store: ModelStore, memory: Memory) -> None:
    target = memory.target()
    memory.files["weights/a.bin"] = b"z" * 5000
    refused = pytest.raises(HubError, match=r"weights/a\.bin of acme/tiny came from .* with other contents")
    with store.locked(1, lambda: None), refused:
        apply_plan(
            store, memory, target, make_plan(store, target, False, 1, set, lambda count: None), lambda *unused: None
        )
    assert store.releases() == []
    assert store.current() is None
    assert sorted(os.listdir(f"{store.staging_path(target.digest)}/weights")) == ["b.bin"]


def test_pointers_are_refused(store: ModelStore, memory: Memory) -> None:
    memory.files["weights/a.bin"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 9\n" % (b"a" * 64)
    with pytest.raises(
        HubError, match=r"weights/a\.bin is as its hub has it, but cannot be served: it is a Git LFS pointer"
    ):
        bring(store, memory)
    assert store.releases() == []


def test_old_releases_go(store: ModelStore, memory: Memory) -> None:
    for number in range(4):
        memory.files["config.json"] = str(number).encode()
        bring(store, memory, keep=1)
    assert len(store.releases()) == 2
    for release in store.releases():
        assert stale_files(release, full=False) == Stale((), ())


def test_a_commit_that_means_the_same_files_is_remembered(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    target = memory.target(commit="f" * 40)
    assert store.find(target.origin) is None
    with store.locked(1, lambda: None):
        plan = make_plan(store, target, False, 1, set, lambda count: None)
        assert not plan.changes
        apply_plan(store, memory, target, plan, lambda *unused: None)
    assert store.find(target.origin) == store.releases()[0]
    assert store.find(memory.target().origin) == store.releases()[0]


def test_too_little_space(store: ModelStore, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: t.cast("t.Any", type("Usage", (), {"free": 1000})))
    with pytest.raises(HubError, match=r"acme/tiny needs 12\.0 kB more"):
        bring(store, memory)
    assert memory.fetched == []


def test_meter_stays_within_its_total() -> None:
    told: list[tuple[str, int | None, int | None]] = []
    meter = Meter("downloading", 10, lambda *state: told.append(state))
    for count in (4, 9, -20):
        meter(count)
    assert told == [("downloading", 0, 10), ("downloading", 4, 10), ("downloading", 10, 10), ("downloading", 0, 10)]
