# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody who is root in Open WebUI's container writes to its data folder; outside of it nothing may be read, changed,
removed or made by that."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import tarfile
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import (
    _archive,
    _backup,
    _data,
    _restore,
    _swap,
    _tree,
)

ANY = _restore.Expected()


class Host:
    """The folders of an Open WebUI, and a folder of the host that is none of its business."""

    def __init__(self, root: Path) -> None:
        self.data, self.config, self.backups = root / "data", root / "config", root / "backups"
        self.outside, self.work = root / "outside", root / ".data.private_llm"
        for folder in (self.data, self.config, self.outside):
            folder.mkdir(parents=True)
        (self.outside / "shadow").write_text("root's secret")
        (self.outside / "folder").mkdir()
        (self.config / "secret_key").write_text("key")
        (self.config / "admin_password").write_text("password")
        for secret in self.config.iterdir():
            secret.chmod(0o600)
        (self.data / "uploads").mkdir()
        (self.data / "uploads" / "a").write_text("a")
        with contextlib.closing(sqlite3.connect(self.data / "webui.db")) as database:
            database.execute("CREATE TABLE chat (id)")
            database.commit()
        self._before = self._outside()

    def _outside(self) -> dict[str, t.Any]:
        found = {}
        secrets = [path for path in self.config.rglob("*") if ".private_llm" not in path.parts]
        for path in sorted([*self.outside.rglob("*"), *secrets]):
            about = path.lstat()
            found[str(path)] = (about.st_mode, about.st_uid, path.read_bytes() if path.is_file() else b"")
        return found

    def assert_untouched(self) -> None:
        assert self._outside() == self._before

    def job(self) -> _backup.Job:
        return _backup.Job(str(self.data), str(self.config), str(self.backups), None)

    def restore(self) -> _restore.Restore:
        return _restore.Restore(str(self.data), str(self.config), None)

    def texts(self, archive: str) -> str:
        with tarfile.open(archive) as tar:
            return "".join(tar.extractfile(one).read().decode("latin-1") for one in tar if one.isreg())  # type: ignore[union-attr]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def plant(work: Path, journal: dict[str, t.Any], **links: Path) -> None:
    work.mkdir(mode=0o700, exist_ok=True)
    for name, target in links.items():
        (work / name).symlink_to(target)
    (work / "journal.json").write_text(json.dumps(journal))
    (work / "journal.json").chmod(0o600)


PLANTED = {
    "state": "begun",
    "database": False,
    "places": [
        {"all": True, "outgoing": ["webui.db"], "incoming": ["shadow"]},
        {"all": True, "outgoing": [], "incoming": []},
    ],
}
STEPS: dict[str, t.Callable[[Host], t.Any]] = {
    "look": lambda host: _restore.unfinished(str(host.data)),
    "undo": lambda host: host.restore().undo(),
    "keep": lambda host: host.restore().keep(),
    "backup": lambda host: host.job().make(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("link", ["old", "new", "discarded", "unpacked"])
def test_a_journal_in_the_data_folder_is_refused_by_every_step_with_what_to_do(
    host: Host, step: str, link: str
) -> None:
    plant(host.data / ".private_llm", PLANTED, **{link: host.outside})
    with pytest.raises(_data.DataError, match=r"is not obey|does not obey it; nothing was changed.*run again"):
        STEPS[step](host)
    host.assert_untouched()
    assert not host.work.exists()


@pytest.mark.parametrize("names", [["old"], ["new"], ["discarded"], ["unpacked"], ["old", "new", "discarded"]])
def test_what_an_older_release_left_finished_goes_and_its_links_are_not_followed(host: Host, names: list[str]) -> None:
    (host.data / ".private_llm").mkdir()
    for name in names:
        (host.data / ".private_llm" / name).symlink_to(host.outside)
    (host.data / ".private_llm" / "rest").mkdir()
    assert _restore.unfinished(str(host.data)) == "none"
    assert host.restore().keep() is True
    assert host.restore().finish() is True
    assert sorted(os.listdir(host.data)) == ["uploads", "webui.db"]
    host.assert_untouched()


def test_a_link_in_the_place_of_the_old_work_folder_goes_and_what_it_names_stays(host: Host) -> None:
    (host.data / ".private_llm").symlink_to(host.outside)
    assert host.restore().keep() is True
    assert host.restore().undo() is True
    assert sorted(os.listdir(host.data)) == ["uploads", "webui.db"]
    host.assert_untouched()


def test_no_work_is_done_where_the_container_can_see_it(host: Host) -> None:
    path = host.job().make()["path"]
    host.restore().prepare(path, ANY)
    assert sorted(os.listdir(host.data)) == ["uploads", "webui.db"]
    host.restore().apply()
    assert sorted(os.listdir(host.data)) == ["uploads", "webui.db"]
    assert host.work.stat().st_mode & 0o777 == 0o700
    host.restore().finish()
    assert not host.work.exists()


def other_owner(work: Path) -> None:
    os.chown(work / "journal.json", 12345, 12345)


def everybody_writes(work: Path) -> None:
    (work / "journal.json").chmod(0o666)


def second_name(work: Path) -> None:
    os.link(work / "journal.json", work / "again")


def a_link(work: Path) -> None:
    (work / "journal.json").rename(work / "elsewhere")
    (work / "journal.json").symlink_to("elsewhere")


def a_pipe(work: Path) -> None:
    (work / "journal.json").unlink()
    os.mkfifo(work / "journal.json", 0o600)


def names_with_paths(work: Path) -> None:
    journal = json.loads(json.dumps(PLANTED).replace("webui.db", "../outside/shadow"))
    (work / "journal.json").write_text(json.dumps(journal))


def another_shape(work: Path) -> None:
    (work / "journal.json").write_text('{"state": "begun", "places": 3}')


def open_folder(work: Path) -> None:
    work.chmod(0o777)


def folder_is_a_link(work: Path) -> None:
    work.rename(work.parent / "moved")
    work.symlink_to("moved")


@pytest.mark.parametrize(
    "spoil",
    [
        other_owner,
        everybody_writes,
        second_name,
        a_link,
        a_pipe,
        names_with_paths,
        another_shape,
        open_folder,
        folder_is_a_link,
    ],
)
def test_a_journal_that_root_alone_did_not_write_is_refused(host: Host, spoil: t.Callable[[Path], None]) -> None:
    plant(host.work, PLANTED)
    spoil(host.work)
    for step in STEPS.values():
        with pytest.raises(_data.DataError, match="look at it, and remove it"):
            step(host)
    host.assert_untouched()
    assert sorted(os.listdir(host.data)) == ["uploads", "webui.db"]


def test_what_is_moved_and_taken_back_may_be_links_at_every_name(host: Host) -> None:
    path = host.job().make()["path"]
    for name in ("uploads", "webui.db", "webui.db-wal", "cache", "vector_db", ".private_llm.partial"):
        place = host.data / name
        if place.is_dir():
            place.rename(host.data / "moved")
        elif place.exists():
            place.unlink()
        place.symlink_to(host.outside)
    host.restore().prepare(path, ANY)
    host.restore().apply()
    host.assert_untouched()
    assert (host.data / "uploads" / "a").read_text() == "a"
    for name in ("cache", "webui.db-shm"):
        (host.data / name).symlink_to(host.outside)
    host.restore().undo()
    host.assert_untouched()
    assert (host.data / "uploads").is_symlink()


@pytest.mark.parametrize("name", ["webui.db", "webui.db-wal", "webui.db-shm", "webui.db-journal"])
def test_sqlite_reads_and_writes_nothing_outside_of_the_data(host: Host, name: str) -> None:
    secret = host.outside / "secret.db"
    with contextlib.closing(sqlite3.connect(secret)) as database:
        database.execute("CREATE TABLE theirs (id)")
        database.commit()
    before = secret.read_bytes()
    (host.data / name).unlink(missing_ok=True)
    (host.data / name).symlink_to(secret)
    with contextlib.suppress(_data.DataError):
        made = host.job().make()
        assert "theirs" not in host.texts(made["path"])
    with contextlib.suppress(_data.DataError):
        _data.schema_of_sqlite(str(host.data))
    assert secret.read_bytes() == before
    assert sorted(os.listdir(host.outside)) == ["folder", "secret.db", "shadow"]


def test_a_journal_of_sqlite_that_names_a_file_of_the_host_does_not_remove_it(host: Host) -> None:
    """SQLite removes the journal of several databases that a journal names at its end, when nobody needs it."""
    name = str(host.outside / "shadow").encode()
    page = (host.data / "webui.db").read_bytes()[:4096]
    header = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + (0).to_bytes(4, "big") + bytes(4) + (1).to_bytes(4, "big")
    journal = (header + (512).to_bytes(4, "big") + len(page).to_bytes(4, "big")).ljust(512, b"\0")
    lock_page = (0x40000000 // len(page) + 1).to_bytes(4, "big")
    checksum = (sum(name) & 0xFFFFFFFF).to_bytes(4, "big")
    journal += lock_page + name + len(name).to_bytes(4, "big") + checksum + header[:8]
    (host.data / "webui.db-journal").write_bytes(journal)
    with contextlib.suppress(_data.DataError):
        host.job().make()
    host.assert_untouched()


class Swapper(threading.Thread):
    """Swaps a folder of the data for a link and back, as fast as it can."""

    def __init__(self, folder: Path, target: Path) -> None:
        super().__init__()
        self.folder, self.target, self.aside = folder, target, folder.parent / "aside"
        self.done = threading.Event()
        self.link = folder.parent / "link"

    def run(self) -> None:
        self.link.symlink_to(self.target)
        while not self.done.is_set():
            with contextlib.suppress(OSError):
                self.folder.rename(self.aside)
                self.link.rename(self.folder)
                self.folder.rename(self.link)
                self.aside.rename(self.folder)


@contextlib.contextmanager
def swapping(folder: Path, target: Path) -> t.Iterator[None]:
    thread = Swapper(folder, target)
    thread.start()
    try:
        yield
    finally:
        thread.done.set()
        thread.join()


@pytest.mark.parametrize("place", ["uploads", "vector_db"])
def test_a_backup_does_not_follow_a_folder_that_is_swapped_for_a_link_meanwhile(host: Host, place: str) -> None:
    folder = host.data / place
    folder.mkdir(exist_ok=True)
    for name in ("shadow", *map(str, range(50))):
        (folder / name).write_text("of the data")
    with swapping(folder, host.outside):
        for _attempt in range(15):
            with contextlib.suppress(_data.DataError), pytest.MonkeyPatch.context() as patch:
                patch.setattr(_data, "_PAUSE_SECONDS", 0)
                found = _data.snapshot(str(host.data), str(host.outside.parent / "copy"), lambda _seconds: None)
                assert found
            with _tree.opened_root(str(host.outside.parent)) as parent:
                _tree.remove(parent, "copy")
            writer_path = str(host.outside.parent / "archive")
            writer = _archive.Writer(writer_path)
            with _tree.opened_root(str(host.data)) as root:
                for name in ("shadow", "1", "2"):
                    writer.add(f"data/{place}/{name}", root, f"{place}/{name}")
            writer.finish(_archive.Manifest("", "", "", "sqlite", "", writer.entries))
            writer.close()
            assert "root's secret" not in host.texts(writer_path)
            os.unlink(writer_path)
    host.assert_untouched()


def test_removing_does_not_follow_a_folder_that_is_swapped_for_a_link_meanwhile(host: Host) -> None:
    for _attempt in range(20):
        folder = host.data / "cache"
        folder.mkdir(exist_ok=True)
        for name in ("shadow", "folder", *map(str, range(30))):
            (folder / name).write_text("x")
        with swapping(folder, host.outside), _tree.opened_root(str(host.data)) as root:
            for name in ("cache", "aside", "link"):
                with contextlib.suppress(OSError):
                    _tree.remove(root, name)
        with _tree.opened_root(str(host.data)) as root:
            for name in ("cache", "aside", "link"):
                _tree.remove(root, name)
    host.assert_untouched()


def test_links_that_lead_out_are_left_out_of_a_backup_and_named(host: Host) -> None:
    links = {"abs": "/etc", "up": "../../outside", "hop": "fine/../..", "fine": ".", "good": "a"}
    for name, target in links.items():
        (host.data / "uploads" / name).symlink_to(target)
    (host.data / "uploads" / "through").symlink_to("down/../..")
    (host.data / "uploads" / "down").symlink_to("../uploads")
    made = host.job().make()
    assert made["left_out"] == ["uploads/abs", "uploads/hop", "uploads/through", "uploads/up"]
    assert host.job().predict()["left_out"] == made["left_out"]
    assert host.restore().prepare(made["path"], ANY).entries["data/uploads/good"].target == "a"
    assert host.restore().keep() is True
    assert host.restore().undo() is True
    assert os.readlink(host.data / "uploads" / "abs") == "/etc"


def test_devices_pipes_and_sockets_are_no_data(host: Host) -> None:
    os.mkfifo(host.data / "uploads" / "pipe")
    os.mkfifo(host.data / "pipe")
    made = host.job().make()
    assert not [name for name in _archive.check(made["path"]).entries if "pipe" in name]
    host.restore().keep()
    host.restore().undo()
    assert (host.data / "pipe").is_fifo()


def nest(folder: Path, depth: int) -> None:
    here = os.getcwd()
    os.chdir(folder)
    try:
        for _level in range(depth):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)


def test_a_folder_deeper_than_any_path_is_told_and_can_be_removed(host: Host) -> None:
    nest(host.data / "uploads", 3000)
    with pytest.raises(_data.DataError, match="100 folders deep"):
        host.job().make()
    with _tree.opened_root(str(host.data)) as root:
        _tree.remove(root, "uploads")
    assert sorted(os.listdir(host.data)) == ["webui.db"]


# --- archives ---

OWN = (os.geteuid(), os.getegid())


def forge(path: Path, members: t.Sequence[tuple[tarfile.TarInfo, bytes]], **changes: t.Any) -> str:
    """Write an archive whose manifest says what is in it, whatever that is."""
    writer = _archive.Writer(str(path))
    writer.close()
    path.unlink()
    entries: dict[str, t.Any] = {}
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            kind = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}.get(info.type, "file")
            digest = _archive.hashlib.sha256(data).hexdigest() if kind == "file" else ""
            entries[info.name] = {
                "kind": kind,
                "mode": info.mode,
                "uid": info.uid,
                "gid": info.gid,
                "mtime": 0,
                "size": len(data),
                "sha256": digest,
                "target": info.linkname,
            }
        raw = {"format": 1, "created": "", "host": "", "webui_version": "", "database": "sqlite", "schema": ""}
        for name, change in changes.pop("entries", {}).items():
            entries[name] = {**entries.get(name, {}), **change}
        text = json.dumps({**raw, "entries": entries, **changes}).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return str(path)


def member(name: str, mode: int = 0o644, uid: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> t.Any:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.type, info.linkname = mode, uid, uid, kind, link
    return info


def test_a_restored_archive_sets_neither_setuid_nor_foreign_owners_nor_open_folders(host: Host, tmp_path: Path) -> None:
    path = forge(
        tmp_path / "a.tar.gz",
        [
            (member("data/uploads", 0o7777, 4242, tarfile.DIRTYPE), b""),
            (member("data/uploads/sh", 0o4755), b"#!"),
            (member("data/uploads/theirs", 0o6777, 4242), b"x"),
            (member("config/secret_key", 0o4777, 4242), b"key"),
        ],
    )
    host.restore().prepare(path, ANY)
    host.restore().apply()
    found = {}
    for one in ("data/uploads", "data/uploads/sh", "data/uploads/theirs", "config/secret_key"):
        about = (host.data.parent / one).stat()
        found[one] = (oct(about.st_mode & 0o7777), about.st_uid, about.st_gid)
    assert found == {
        "data/uploads": ("0o775", *OWN),
        "data/uploads/sh": ("0o755", *OWN),
        "data/uploads/theirs": ("0o775", *OWN),
        "config/secret_key": ("0o600", *OWN),
    }


def test_an_archive_that_unpacks_to_more_than_is_free_is_refused_before_the_first_byte(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forge(tmp_path / "a.tar.gz", [(member("data/uploads/zeros"), bytes(50 << 20))])
    assert os.stat(path).st_size < 1 << 20
    monkeypatch.setattr(_tree, "free_bytes", lambda _path: 10 << 20)
    with pytest.raises(
        _data.DataError, match=r"unpacks to more than the 10\.5 MB that are free for it; nothing was res"
    ):
        host.restore().prepare(path, ANY)
    assert not host.work.exists()
    host.assert_untouched()


def test_a_copy_for_an_upgrade_that_has_no_room_is_refused_before_the_first_byte(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tree, "free_bytes", lambda _path: 10)
    with pytest.raises(_data.DataError, match="make room, or use a folder on a larger file system"):
        host.restore().keep()
    assert not host.work.exists()


FILE = [(member("data/a"), b"a")]
ODD: dict[str, tuple[t.Sequence[t.Any], dict[str, t.Any]]] = {
    "mode as text": (FILE, {"entries": {"data/a": {"mode": "0644"}}}),
    "mode with more": (FILE, {"entries": {"data/a": {"mode": 0o100644}}}),
    "size as a truth": (FILE, {"entries": {"data/a": {"size": True}}}),
    "negative size": (FILE, {"entries": {"data/a": {"size": -1}}}),
    "owner as a list": (FILE, {"entries": {"data/a": {"uid": [0]}}}),
    "endless time": (FILE, {"entries": {"data/a": {"mtime": 1 << 80}}}),
    "unknown kind": (FILE, {"entries": {"data/a": {"kind": "device"}}}),
    "unknown key": (FILE, {"entries": {"data/a": {"more": 1}}}),
    "sum as a number": (FILE, {"entries": {"data/a": {"sha256": 1}}}),
    "target as a number": (FILE, {"entries": {"data/a": {"target": 1}}}),
    "host as a list": (FILE, {"host": []}),
    "entries as a list": (FILE, {"entries_": [], "entries": {}}),
    "file and folder": ([*FILE, (member("data/a/b"), b"b")], {}),
    "through a link": ([(member("data/l", kind=tarfile.SYMTYPE, link="."), b""), (member("data/l/b"), b"b")], {}),
    "twice": ([*FILE, *FILE], {}),
    "absolute link": ([(member("data/l", kind=tarfile.SYMTYPE, link="/etc"), b"")], {}),
    "links through links": (
        [
            (member("data/d", kind=tarfile.DIRTYPE), b""),
            (member("data/d/up", kind=tarfile.SYMTYPE, link="../d"), b""),
            (member("data/d/out", kind=tarfile.SYMTYPE, link="up/../.."), b""),
        ],
        {},
    ),
    "a circle": ([(member("data/l", kind=tarfile.SYMTYPE, link="l"), b"")], {}),
    "a folder of secrets": ([(member("config/container", kind=tarfile.DIRTYPE), b"")], {}),
    "a deep secret": ([(member("config/container/env"), b"x")], {}),
    "a link as a secret": ([(member("config/secret_key", kind=tarfile.SYMTYPE, link="admin_password"), b"")], {}),
    "a hidden secret": ([(member("config/.private_llm"), b"x")], {}),
    "a hard link": ([(member("data/l", kind=tarfile.LNKTYPE, link="data/a"), b"")], {}),
    "a device": ([(member("data/l", kind=tarfile.BLKTYPE), b"")], {}),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_archive_is_refused_in_plain_words_and_leaves_nothing(host: Host, tmp_path: Path, case: str) -> None:
    members, changes = ODD[case]
    path = forge(tmp_path / "a.tar.gz", members, **changes)
    with pytest.raises(_data.DataError, match=r"a\.tar\.gz") as refused:
        host.restore().prepare(path, ANY)
    assert "Errno" not in str(refused.value)
    assert not host.work.exists()
    host.assert_untouched()


def test_a_header_that_would_fill_the_memory_is_refused_before_it_is_read(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    info = member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 40
    with _archive.tarfile.open(path, "w:gz") as tar:
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
    with pytest.raises(_data.DataError, match="larger than any of a backup"):
        host.restore().prepare(str(path), ANY)


def test_a_manifest_that_would_fill_the_memory_is_refused(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_archive, "_MANIFEST_LIMIT", 100)
    with pytest.raises(_data.DataError, match="too large to be one"):
        host.restore().prepare(forge(tmp_path / "a.tar.gz", FILE), ANY)


def test_names_are_the_same_whatever_the_locale_of_either_host_is(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"not utf-8 \xff")
    for name in ("Bericht \u00fcber \u4e2d\u6587.pdf", odd):
        (host.data / "uploads" / name).write_text("x")
    monkeypatch.setattr(tarfile, "ENCODING", "ascii")
    path = host.job().make()["path"]
    monkeypatch.setattr(tarfile, "ENCODING", "utf-8")
    assert {f"data/uploads/{name}" for name in ("Bericht \u00fcber \u4e2d\u6587.pdf", odd)} <= set(
        _archive.check(path).entries
    )


# --- another file system ---


@pytest.fixture
def elsewhere(tmp_path: Path) -> t.Iterator[Path]:
    """A folder on another file system than that of the tests."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = other / f"open-webui-{os.getpid()}"
    folder.mkdir()
    yield folder
    with _tree.opened_root(str(other)) as root:
        _tree.remove(root, folder.name)


@pytest.mark.parametrize("after", range(14))
def test_data_on_a_file_system_of_their_own_are_swapped_and_taken_back_also_after_a_crash(
    elsewhere: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = {"webui.db": "old", "uploads": "old"}, {"webui.db": "new", "cache": "new"}
    for name, text in old.items():
        (elsewhere / name).mkdir()
        (elsewhere / name / "x").write_text(text)
    work = tmp_path / "work"
    work.mkdir(0o700)
    for name, text in new.items():
        (work / "new" / name).mkdir(parents=True)
        (work / "new" / name / "x").write_text(text)
    swap = _swap.Swap([_swap.Place(str(elsewhere), str(work))])
    swap.begin([True])
    done = 0
    with monkeypatch.context() as patch:

        def crash(folder: int, name: str) -> None:
            nonlocal done
            done += 1
            if done == after:
                raise KeyboardInterrupt
            remove(folder, name)

        remove = _tree.remove
        patch.setattr(_tree, "remove", crash)
        try:
            swap.apply()
        except KeyboardInterrupt:
            assert after
        else:
            assert {path.name: (path / "x").read_text() for path in elsewhere.iterdir()} == new
    swap.undo()
    assert {path.name: (path / "x").read_text() for path in elsewhere.iterdir()} == old
    assert not work.exists()


MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv/share rw,relatime shared:2 - nfs4 server:/export rw
31 30 8:2 / /srv/share/local\\040disk rw - xfs /dev/sdb1 rw
32 21 0:41 / /mnt/win rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/open-webui", ""),
        ("/srv/share", "nfs4"),
        ("/srv/share/open-webui", "nfs4"),
        ("/srv/shared", ""),
        ("/srv/share/local disk/open-webui", ""),
        ("/mnt/win/x", "cifs"),
    ],
)
def test_a_network_file_system_is_told_by_the_mount_that_the_folder_is_on(path: str, kind: str) -> None:
    assert _tree.network_file_system(path, MOUNTS.splitlines()) == kind
