# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import tempfile
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _store
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Origin
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore, Release, Stale

ORIGIN = Origin("modelscope", "https://hub.example.com", "acme/tiny", "master", "1" * 40, (), ())


def publish(store: ModelStore, files: dict[str, bytes], entry: t.Callable[[str, bytes], Entry]) -> Release:
    entries = [entry(path, content) for path, content in files.items()]
    digest = digest_of(entries)
    for path, content in files.items():
        place = Path(store.staging_path(digest), path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return store.publish(digest, dataclasses.replace(ORIGIN, commit=digest[:40]), entries)


@pytest.fixture
def entry() -> t.Callable[[str, bytes], Entry]:
    import hashlib

    return lambda path, content: Entry(path, len(content), hashlib.sha256(content).hexdigest())


Make = t.Callable[[str, bytes], Entry]


def test_root_must_be_absolute() -> None:
    with pytest.raises(HubError, match="root 'models' is not the absolute path"):
        ModelStore("models", "acme/tiny")


def test_nothing_there(store: ModelStore) -> None:
    assert not store.exists()
    assert store.releases() == []
    assert store.current() is None
    assert store.find(ORIGIN) is None
    assert store.donors() == {}
    assert store.leftovers() == [store.path]


def test_publish(store: ModelStore, entry: Make) -> None:
    old = os.umask(0o077)
    try:
        with store.locked(1, lambda: None):
            release = publish(store, {"config.json": b"{}", "w/a.bin": b"a"}, entry)
            store.switch(release.digest)
            store.clear_staging()
    finally:
        os.umask(old)
    assert store.releases() == [release]
    assert store.release(release.digest) == release
    assert store.current() == release.digest
    assert Path(store.current_link, "w/a.bin").read_bytes() == b"a"
    modes = {
        str(path.relative_to(store.root)).replace(release.digest, "D"): stat.S_IMODE(path.stat().st_mode)
        for path in Path(store.path).rglob("*")
        if not path.is_symlink()
    }
    assert modes == {
        "acme/tiny/.lock": 0o600,
        "acme/tiny/D": 0o755,
        "acme/tiny/D/.manifest.json": 0o644,
        "acme/tiny/D/config.json": 0o644,
        "acme/tiny/D/w": 0o755,
        "acme/tiny/D/w/a.bin": 0o644,
    }
    assert _store.stale_files(release, full=False) == Stale((), ())


def test_publish_takes_only_what_was_listed(store: ModelStore, entry: Make) -> None:
    wanted = [entry("a/b.bin", b"b")]
    staging = Path(store.staging_path(digest_of(wanted)))
    for name in ("a/b.bin", "a/b.bin.incomplete", "junk/x", "y"):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(b"b")
    (staging / "link").symlink_to("/etc")
    release = store.publish(digest_of(wanted), ORIGIN, wanted)
    assert sorted(str(path.relative_to(release.path)) for path in Path(release.path).rglob("*")) == [
        ".manifest.json",
        "a",
        "a/b.bin",
    ]


def test_publish_refuses_what_is_incomplete(store: ModelStore, entry: Make) -> None:
    wanted = [entry("a", b"a"), entry("b", b"b")]
    staging = Path(store.staging_path(digest_of(wanted)))
    staging.mkdir(parents=True)
    (staging / "a").write_bytes(b"a")
    with pytest.raises(HubError, match="b vanished from"):
        store.publish(digest_of(wanted), ORIGIN, wanted)
    assert store.releases() == []


def test_release_without_a_manifest_is_replaced(store: ModelStore, entry: Make) -> None:
    release = publish(store, {"a": b"a"}, entry)
    os.unlink(os.path.join(release.path, ".manifest.json"))
    assert store.release(release.digest) == dataclasses.replace(release, manifest=None)
    assert store.leftovers() == [release.path, store.path]
    assert _store.left_over(store.leftovers(), entry("a", b"x")) == os.path.join(release.path, "a")
    assert _store.left_over(store.leftovers(), entry("a", b"xy")) is None
    again = publish(store, {"a": b"a"}, entry)
    assert again.path == release.path
    assert store.releases() == [again]


def test_manifest_of_another_release_does_not_count(store: ModelStore, entry: Make) -> None:
    release = publish(store, {"a": b"a"}, entry)
    other = os.path.join(store.path, "e" * 64)
    os.rename(release.path, other)
    assert store.releases() == [Release("e" * 64, other, None)]


def test_find_and_order(store: ModelStore, entry: Make) -> None:
    first = publish(store, {"a": b"a"}, entry)
    second = publish(store, {"a": b"b"}, entry)
    assert [release.digest for release in store.releases()] == [second.digest, first.digest]
    assert store.find(dataclasses.replace(ORIGIN, commit=first.digest[:40], revision="v1")) == first
    assert store.find(dataclasses.replace(ORIGIN, commit=None)) is None


def test_stale_files(store: ModelStore, entry: Make) -> None:
    release = publish(store, {"a": b"a", "b": b"b", "c": b"c", "d": b"d"}, entry)
    os.unlink(os.path.join(release.path, "a"))
    Path(release.path, "b").write_bytes(b"bb")
    os.chmod(os.path.join(release.path, "c"), 0o600)
    assert _store.stale_files(release, full=False) == Stale(("a", "b"), ("c",))
    assert _store.stale_files(release, full=True) == Stale(("a", "b"), ("c", "d"))


def test_hard_links_do_not_make_files_look_changed(store: ModelStore, entry: Make) -> None:
    first = publish(store, {"a": b"a", "b": b"b"}, entry)
    donor = store.donors()[entry("x", b"a").sha256, 1]
    assert donor == os.path.join(first.path, "a")
    second_entries = [entry("n/a", b"a")]
    target = os.path.join(store.staging_path(digest_of(second_entries)), "n/a")
    time.sleep(0.01)
    with store.links_changing():
        _store.link_or_copy(donor, target)
        second = store.publish(digest_of(second_entries), ORIGIN, second_entries)
    assert os.stat(donor).st_nlink == 2
    now = store.release(first.digest)
    assert now is not None
    assert _store.stale_files(now, full=False) == Stale((), ())
    time.sleep(0.01)
    store.remove_release(second)
    now = store.release(first.digest)
    assert now is not None
    assert _store.stale_files(now, full=False) == Stale((), ())
    assert [release.digest for release in store.releases()] == [first.digest]


def test_files_that_look_changed_are_no_donors(store: ModelStore, entry: Make) -> None:
    release = publish(store, {"a": b"a"}, entry)
    Path(release.path, "a").write_bytes(b"x")
    assert store.donors() == {}


def test_switch_is_one_step_and_survives_an_old_temporary(store: ModelStore, entry: Make) -> None:
    release = publish(store, {"a": b"a"}, entry)
    os.symlink("old", f"{store.current_link}.new")
    store.switch("0" * 64)
    store.switch(release.digest)
    assert os.readlink(store.current_link) == release.digest
    assert not os.path.lexists(f"{store.current_link}.new")


def test_put_in_place_leaves_open_files_alone(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with old.open("rb") as stream:
        _store.put_in_place(str(new), str(old))
        assert stream.read() == b"old"
    assert old.read_bytes() == b"new"


def test_free_space(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check_free_space(0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: t.cast("t.Any", type("Usage", (), {"free": 100_000_000})))
    store.check_free_space(36_000_000)
    with pytest.raises(HubError, match=r"acme/tiny needs 36\.0 MB more in .*, and .* has 100\.0 MB free; make room"):
        store.check_free_space(36_000_001)


def test_lock_waits_and_gives_up(store: ModelStore) -> None:
    waited = []
    given_up = pytest.raises(HubError, match=r"another run has been working on .*/acme/tiny for 0 s")
    with store.locked(1, lambda: None), given_up, store.locked(0.1, lambda: waited.append(1)):
        pass
    assert waited
    with store.locked(0, lambda: None):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("held", [True, False])
def test_another_user_does_not_get_by_the_lock(held: bool) -> None:
    """Whether a run of the first user is under way or over: what is that user's is not written by another."""

    def as_nobody(store: ModelStore) -> int:
        try:
            os.setuid(65534)
            with store.locked(0.1, lambda: None):
                return 1
        except PermissionError:
            return 13
        except BaseException:
            return 2

    # pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "models")
        store = ModelStore(str(root), "acme/tiny")
        with store.locked(1, lambda: None):
            pass
        for path in (Path(folder), root, root / "acme", root / "acme" / "tiny"):
            path.chmod(0o777)
        with store.locked(1, lambda: None) if held else contextlib.nullcontext():
            child = os.fork()
            if child == 0:
                os._exit(as_nobody(store))
            assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 13


def test_lock_is_not_fooled_by_a_removed_model(store: ModelStore) -> None:
    """Whoever waited for a run that removed the model takes the lock of the folder that is there now."""
    held = threading.Event()
    order = []

    def remove() -> None:
        with store.locked(5, lambda: None):
            held.set()
            time.sleep(0.3)
            order.append("removed")
            store.remove_model()

    thread = threading.Thread(target=remove)
    thread.start()
    held.wait()
    with store.locked(5, lambda: None):
        order.append("locked")
        with pytest.raises(HubError), store.locked(0, lambda: None):
            pass
    thread.join()
    assert order == ["removed", "locked"]


def test_remove_model(store: ModelStore, entry: Make) -> None:
    with store.locked(1, lambda: None):
        store.switch(publish(store, {"w/a": b"a"}, entry).digest)
        Path(store.path, "stray").write_text("x")
        store.remove_model()
    assert os.listdir(store.root) == []


def test_remove_model_leaves_the_organization_with_others(store: ModelStore) -> None:
    os.makedirs(os.path.join(store.root, "acme", "other"))
    with store.locked(1, lambda: None):
        store.remove_model()
    assert os.listdir(os.path.join(store.root, "acme")) == ["other"]


def test_partial_size(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "y").write_bytes(b"4")
    assert _store.partial_size(str(tmp_path)) == 4
    assert _store.partial_size(str(tmp_path / "nothing")) == 0


def test_the_mode_of_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    secret, link = tmp_path / "shadow", tmp_path / "config.json"
    secret.write_text("x", encoding="utf-8")
    secret.chmod(0o600)
    link.symlink_to(secret)
    _store._make_readable(str(link), 0o644)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    _store._make_readable(str(secret), 0o644)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644
