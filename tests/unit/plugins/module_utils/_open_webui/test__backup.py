# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup and restore of a data folder with real SQLite in it: what the data, the archive and the way back are like."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _backup, _data, _restore

SCHEMA = "0bd252b206fb"
ANY = _restore.Expected()


class Host:
    """The folders of an Open WebUI."""

    def __init__(self, root: Path) -> None:
        self.data, self.config, self.backups = root / "data", root / "config", root / "backups"
        for folder in (self.data, self.config):
            folder.mkdir(parents=True)

    def fill(self) -> None:
        (self.data / "uploads").mkdir()
        (self.data / "uploads" / "report.pdf").write_bytes(b"%PDF")
        # Looks like a database, and is somebody's file.
        (self.data / "uploads" / "broken.sqlite").write_bytes(b"SQLite format 3\x00 not really")
        (self.data / "vector_db" / "index").mkdir(parents=True)
        (self.data / "vector_db" / "index" / "data.bin").write_bytes(b"\1\2")
        (self.data / "cache").mkdir()
        (self.data / "cache" / "model").symlink_to("blobs/1")
        (self.config / "secret_key").write_text("the key\n")
        (self.config / "admin_password").write_text("the password\n")
        (self.config / "container").mkdir()
        (self.config / "container" / "env").write_text("RENDERED=1")
        (self.config / "secret_key").chmod(0o600)
        with contextlib.closing(sqlite3.connect(self.data / "webui.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE alembic_version (version_num)")
            database.execute("INSERT INTO alembic_version VALUES (?)", [SCHEMA])
            database.execute("CREATE TABLE chat (id INTEGER PRIMARY KEY)")
            database.commit()

    def connect(self) -> t.Any:
        return contextlib.closing(sqlite3.connect(self.data / "webui.db"))

    def chats(self) -> int:
        with self.connect() as database:
            return database.execute("SELECT count(*) FROM chat").fetchone()[0]

    def job(self, **options: t.Any) -> _backup.Job:
        return _backup.Job(str(self.data), str(self.config), str(self.backups), None, **options)

    def restore(self) -> _restore.Restore:
        return _restore.Restore(str(self.data), str(self.config), None)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    one = Host(tmp_path / "one")
    one.fill()
    return one


@pytest.fixture
def other(tmp_path: Path) -> Host:
    return Host(tmp_path / "other")


def test_what_was_saved_last_is_in_it_although_it_is_not_in_the_database_file_yet(host: Host, other: Host) -> None:
    with host.connect() as database:
        database.execute("INSERT INTO chat DEFAULT VALUES")
        database.commit()
        assert (host.data / "webui.db-wal").stat().st_size > 0
        made = host.job(webui_version="0.12.4").make()
    assert (made["schema"], made["database"]) == (SCHEMA, "sqlite")
    assert oct(os.stat(made["path"]).st_mode & 0o777) == "0o600"
    assert oct(host.backups.stat().st_mode & 0o777) == "0o700"

    manifest = other.restore().prepare(made["path"], _restore.Expected("the key", frozenset({SCHEMA, "older"})))
    assert (manifest.schema, manifest.webui_version) == (SCHEMA, "0.12.4")
    assert os.listdir(other.data) == []
    assert other.restore().apply() is True
    assert other.restore().finish() is True
    assert other.chats() == 1
    assert (other.data / "uploads" / "report.pdf").read_bytes() == b"%PDF"
    assert (other.data / "uploads" / "broken.sqlite").read_bytes() == b"SQLite format 3\x00 not really"
    assert os.readlink(other.data / "cache" / "model") == "blobs/1"
    assert (other.data / "vector_db" / "index" / "data.bin").read_bytes() == b"\1\2"
    assert (other.config / "secret_key").read_text() == "the key\n"
    assert oct((other.config / "secret_key").stat().st_mode & 0o777) == "0o600"
    assert sorted(os.listdir(other.config)) == ["admin_password", "secret_key"]


WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30)
while True:
    database.execute("INSERT INTO chat DEFAULT VALUES")
    database.commit()
"""


def test_a_backup_under_writes_has_every_chat_that_was_there_before_it(host: Host, other: Host) -> None:
    # A process of its own, as the server is.
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(host.data / "webui.db")])
    try:
        while host.chats() < 20:
            assert writer.poll() is None
            time.sleep(0.01)
        before = host.chats()
        made = host.job().make()
    finally:
        writer.kill()
        writer.wait()
    other.restore().prepare(made["path"], ANY)
    other.restore().apply()
    assert before <= other.chats() <= host.chats()
    with other.connect() as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_vector_index_that_changes_meanwhile_is_copied_again(host: Host, tmp_path: Path) -> None:
    index = host.data / "vector_db" / "index" / "data.bin"
    pauses: list[float] = []
    copy = _data.copy_sqlite

    def copy_while_somebody_writes(root: str, path: str, target: str) -> None:
        copy(root, path, target)
        if not pauses:
            index.write_bytes(b"longer than before")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_data, "copy_sqlite", copy_while_somebody_writes)
        _data.snapshot(str(host.data), str(tmp_path / "copy"), pauses.append)
    assert len(pauses) == 1
    assert (tmp_path / "copy" / "vector_db" / "index" / "data.bin").read_bytes() == b"longer than before"


def test_a_vector_index_that_never_rests_is_an_error(host: Host, tmp_path: Path) -> None:
    index = host.data / "vector_db" / "index" / "data.bin"
    copy = _data.copy_sqlite

    def copy_while_somebody_writes(root: str, path: str, target: str) -> None:
        copy(root, path, target)
        with index.open("ab") as handle:
            handle.write(b"more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_data, "copy_sqlite", copy_while_somebody_writes)
        with pytest.raises(_data.DataError, match="changed during each of 5 copies"):
            _data.snapshot(str(host.data), str(tmp_path / "copy"), lambda _seconds: None)


def test_a_damaged_database_makes_no_backup(host: Host) -> None:
    host.job().make()
    with host.connect() as database:
        database.executemany("INSERT INTO chat VALUES (?)", [[number] for number in range(5000)])
        database.commit()
    raw = bytearray((host.data / "webui.db").read_bytes())
    raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
    (host.data / "webui.db").write_bytes(raw)
    before = sorted(os.listdir(host.backups))
    with pytest.raises(_data.DataError, match="SQLite says"):
        host.job().make()
    assert sorted(os.listdir(host.backups)) == before


def test_old_backups_go_and_other_files_stay(host: Host) -> None:
    host.backups.mkdir()
    for name in ("open-webui-20250101T000000Z-0.12.0.tar.gz", "open-webui-20250102T000000Z.tar.gz", "notes.tar.gz"):
        (host.backups / name).write_text("")
    assert host.job(keep=2).predict()["pruned"] == ["open-webui-20250101T000000Z-0.12.0.tar.gz"]
    made = host.job(keep=2).make()
    assert made["pruned"] == ["open-webui-20250101T000000Z-0.12.0.tar.gz"]
    assert sorted(os.listdir(host.backups)) == [
        ".lock",
        "notes.tar.gz",
        "open-webui-20250102T000000Z.tar.gz",
        os.path.basename(made["path"]),
    ]


def test_check_mode_writes_nothing(host: Host) -> None:
    before = sorted(str(path) for path in host.data.rglob("*"))
    assert host.job().predict()["members"] == 11
    assert not host.backups.exists()
    assert sorted(str(path) for path in host.data.rglob("*")) == before


def test_the_schema_is_read_without_a_trace(host: Host) -> None:
    before = sorted(os.listdir(host.data))
    assert _data.schema_of_sqlite(str(host.data)) == SCHEMA
    assert sorted(os.listdir(host.data)) == before


def change(path: Path, edit: t.Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> None:
    """Write an archive anew with other contents."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (extra or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for member, data in members:
            edited = edit(member.name, data)
            if edited is not None:
                member.size = len(edited) if member.isreg() else 0
                tar.addfile(member, io.BytesIO(edited))


def as_it_is(_name: str, data: bytes) -> bytes:
    return data


def other_format(name: str, data: bytes) -> bytes:
    return json.dumps({**json.loads(data), "format": 2}).encode() if name == "manifest.json" else data


DAMAGE: dict[str, tuple[t.Callable[[Path], t.Any], str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is damaged|cut off"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "a page": (lambda path: path.write_text("<html>"), "is damaged"),
    "half of a tar": (
        lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:1500])),
        "is damaged|cut off",
    ),
    "another upload": (
        lambda path: change(path, lambda name, data: b"other" if name.endswith("report.pdf") else data),
        "data/uploads/report.pdf is not as its manifest says",
    ),
    "a lost upload": (
        lambda path: change(path, lambda name, data: None if name.endswith("report.pdf") else data),
        "data/uploads/report.pdf is not as its manifest says",
    ),
    "an added file": (
        lambda path: change(path, as_it_is, {"data/more": b"x"}),
        "data/more is not as its manifest says",
    ),
    "a way out": (
        lambda path: change(path, as_it_is, {"data/../../etc/cron.d/x": b"x"}),
        "which no backup of Open WebUI",
    ),
    "an absolute path": (lambda path: change(path, as_it_is, {"/etc/cron.d/x": b"x"}), "which no backup of Open WebUI"),
    "no manifest": (lambda path: change(path, lambda name, data: None if name == "manifest.json" else data), "cut off"),
    "a newer format": (lambda path: change(path, other_format), "format 2; this collection reads format 1"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_backup_is_refused_and_leaves_nothing(host: Host, case: str) -> None:
    path = Path(host.job().make()["path"])
    damage, message = DAMAGE[case]
    damage(path)
    before = sorted(str(one) for one in host.data.parent.rglob("*"))
    with pytest.raises(_data.DataError, match=message):
        host.restore().prepare(str(path), ANY)
    assert sorted(str(one) for one in host.data.parent.rglob("*")) == before
    with pytest.raises(_data.DataError, match="nothing is prepared"):
        host.restore().apply()


def test_a_backup_that_does_not_fit_is_refused(host: Host, other: Host) -> None:
    path = host.job(webui_version="0.12.4").make()["path"]
    with pytest.raises(_data.DataError, match=f"schema {SCHEMA}; the image to be started does not know it"):
        other.restore().prepare(path, _restore.Expected("", frozenset({"older"})))
    with pytest.raises(_data.DataError, match="another secret key than open_webui_secret_key"):
        other.restore().prepare(path, _restore.Expected("another key"))
    with pytest.raises(_data.DataError, match="there is no backup"):
        other.restore().prepare(path + ".gone", ANY)
    assert os.listdir(other.data) == []


def test_a_restore_can_be_taken_back(host: Host) -> None:
    path = host.job().make()["path"]
    with host.connect() as database:
        database.execute("INSERT INTO chat DEFAULT VALUES")
        database.commit()
    (host.config / "secret_key").write_text("changed since\n")
    host.restore().prepare(path, ANY)
    host.restore().apply()
    assert host.restore().apply() is False
    assert (host.chats(), (host.config / "secret_key").read_text()) == (0, "the key\n")
    with pytest.raises(_data.DataError, match="under way or was cut off"):
        host.job().make()
    assert host.restore().undo() is True
    assert (host.chats(), (host.config / "secret_key").read_text()) == (1, "changed since\n")
    assert (host.config / "container" / "env").exists()
    assert host.restore().undo() is False
    assert host.restore().finish() is False


def test_an_upgrade_works_on_a_copy_and_what_was_there_comes_back(host: Host) -> None:
    original = (host.data / "webui.db").read_bytes()
    assert host.restore().keep() is True
    with host.connect() as database:
        database.execute("DROP TABLE chat")
        database.commit()
    (host.data / "vector_db" / "index" / "data.bin").write_bytes(b"migrated")
    (host.data / "uploads" / "new.pdf").write_bytes(b"added meanwhile")
    assert host.restore().undo() is True
    assert (host.data / "webui.db").read_bytes() == original
    assert (host.data / "vector_db" / "index" / "data.bin").read_bytes() == b"\1\2"
    # What people brought since is theirs, and does no harm.
    assert sorted(os.listdir(host.data / "uploads")) == ["broken.sqlite", "new.pdf", "report.pdf"]
    assert sorted(os.listdir(host.data)) == ["cache", "uploads", "vector_db", "webui.db"]


def test_the_backup_just_made_stays_where_the_clock_was_ahead(host: Host) -> None:
    ahead = [f"open-webui-209{number}0101T000000Z.tar.gz" for number in range(3)]
    host.backups.mkdir()
    for name in ("open-webui-20250101T000000Z.tar.gz", *ahead):
        (host.backups / name).write_text("")
    made = host.job(keep=2).make()
    assert os.path.exists(made["path"])
    assert made["pruned"] == ahead
