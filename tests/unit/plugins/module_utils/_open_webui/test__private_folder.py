# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _private_folder

URL, EMAIL, PASSWORD, TOKEN = "http://web:3000", "admin@example.com", "a password", "eyJhbGciOi.a.token"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> _private_folder.SessionStore:
    made = _private_folder.SessionStore(str(tmp_path), clock)
    made.save(URL, EMAIL, PASSWORD, TOKEN)
    return made


def test_a_token_is_there_for_who_has_the_password(store: _private_folder.SessionStore) -> None:
    assert store.load(URL, EMAIL, PASSWORD) == TOKEN
    assert store.load(URL, " Admin@Example.com", PASSWORD) == TOKEN


@pytest.mark.parametrize(
    ("url", "email", "password"),
    [(URL, EMAIL, "another"), (URL, "other@example.com", PASSWORD), ("http://web:3001", EMAIL, PASSWORD)],
)
def test_and_for_nobody_else(store: _private_folder.SessionStore, url: str, email: str, password: str) -> None:
    assert store.load(url, email, password) is None
    assert store.load(URL, EMAIL, PASSWORD) == TOKEN


def test_the_file_is_its_owners_and_holds_no_token(store: _private_folder.SessionStore, tmp_path: Path) -> None:
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    for secret in (TOKEN, PASSWORD, EMAIL):
        assert secret not in text
    assert EMAIL not in file.name


def test_equal_tokens_are_sealed_differently(store: _private_folder.SessionStore, tmp_path: Path) -> None:
    first = json.loads(next(tmp_path.iterdir()).read_text())
    store.save(URL, EMAIL, PASSWORD, TOKEN)
    second = json.loads(next(tmp_path.iterdir()).read_text())
    assert first["sealed"] != second["sealed"]


def test_a_token_that_was_tampered_with_is_none(store: _private_folder.SessionStore, tmp_path: Path) -> None:
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "sealed": "AAAA" + kept["sealed"][4:]}))
    assert store.load(URL, EMAIL, PASSWORD) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"since": "x"}', "\0"])
def test_a_broken_file_is_no_session(store: _private_folder.SessionStore, tmp_path: Path, text: str) -> None:
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    assert store.load(URL, EMAIL, PASSWORD) is None


def test_a_token_lasts_while_it_is_used_but_not_for_ever(
    store: _private_folder.SessionStore, clock: Clock, tmp_path: Path
) -> None:
    for _use in range(6):
        clock.now += 550
        assert store.load(URL, EMAIL, PASSWORD) == TOKEN
    clock.now += 550
    assert store.load(URL, EMAIL, PASSWORD) is None
    assert list(tmp_path.iterdir()) == []


def test_a_token_nobody_uses_is_taken_away_by_whoever_comes(
    store: _private_folder.SessionStore, clock: Clock, tmp_path: Path
) -> None:
    clock.now += 601
    assert store.load("http://elsewhere", EMAIL, PASSWORD) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"since": "x"}', "\0"])
def test_what_a_killed_task_left_is_removed_by_the_next_one(
    store: _private_folder.SessionStore, clock: Clock, tmp_path: Path, text: str
) -> None:
    """It was killed while it wrote a session, or before it could use it; what is being written now stays."""
    for name, written in (("killed.draft", clock.now - 601), ("at work.draft", clock.now), ("cut.session", clock.now)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (written, written))
    (tmp_path / "somebody.lock").touch()
    assert store.load(URL, EMAIL, PASSWORD) == TOKEN
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 3
    assert {"at work.draft", "somebody.lock"} < left
    clock.now += 3601
    assert store.load(URL, EMAIL, PASSWORD) is None
    assert {path.name for path in tmp_path.iterdir()} == {"somebody.lock"}


@pytest.mark.parametrize("others", [True, False])
def test_at_the_end_no_session_is_left(
    store: _private_folder.SessionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    monkeypatch.setattr(_private_folder, "private_folder", lambda: str(tmp_path))
    (tmp_path / "killed.draft").touch()
    if others:
        (tmp_path / "somebody.lock").touch()
    _private_folder.end_sessions()
    assert tmp_path.exists() == others
    if others:
        assert store.load(URL, EMAIL, PASSWORD) is None
    _private_folder.end_sessions()
    monkeypatch.setattr(_private_folder, "private_folder", lambda: None)
    _private_folder.end_sessions()


def test_forget(store: _private_folder.SessionStore) -> None:
    store.forget(URL, EMAIL)
    store.forget(URL, EMAIL)
    assert store.load(URL, EMAIL, PASSWORD) is None


def test_without_a_folder_nothing_is_kept() -> None:
    store = _private_folder.SessionStore(None)
    store.save(URL, EMAIL, PASSWORD, TOKEN)
    store.forget(URL, EMAIL)
    assert store.load(URL, EMAIL, PASSWORD) is None


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_the_folder_must_be_ones_own(base: Path) -> None:
    # It is made by the user who runs the test, and so is not user 4242's.
    assert _private_folder.private_folder() is None
    assert (base / "private_llm-4242").is_dir()


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_folder_that_others_prepared_is_not_used(base: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    found = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: _owned(found(path)))
    path = base / "private_llm-4242"
    if kind == "open":
        path.mkdir(mode=0o700)
        path.chmod(0o750)
    elif kind == "link":
        (base / "target").mkdir(mode=0o700)
        path.symlink_to(base / "target")
    else:
        path.write_text("")
        path.chmod(0o600)
    assert _private_folder.private_folder() is None


def test_the_folder_is_made_for_its_user_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: _owned(found(path)))
    for _time in (1, 2):
        assert _private_folder.private_folder() == str(base / "private_llm-4242")
    assert (base / "private_llm-4242").stat().st_mode & 0o777 == 0o700


def _owned(found: os.stat_result) -> t.Any:
    """The same, as if it belonged to user 4242."""
    return type("Found", (), {"st_mode": found.st_mode, "st_uid": 4242})


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    pauses: list[float] = []
    second = _private_folder.only_writer(
        str(tmp_path), URL, patience=2, sleep=pauses.append, now=iter(range(9)).__next__
    )
    busy = pytest.raises(_private_folder.BusyError, match="another task on this host has been writing to Open WebUI at")
    with _private_folder.only_writer(str(tmp_path), URL), busy, second:
        pass
    assert pauses == [_lock.POLL]
    with _private_folder.only_writer(str(tmp_path), URL), _private_folder.only_writer(str(tmp_path), "http://other"):
        pass


def test_a_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    with _private_folder.only_writer(str(tmp_path), URL):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_next_writer_comes_when_the_first_is_done(tmp_path: Path) -> None:
    first = _private_folder.only_writer(str(tmp_path), URL)
    first.__enter__()
    ended: list[bool] = []

    def pause(_seconds: float) -> None:
        ended.append(True)
        first.__exit__(None, None, None)

    with _private_folder.only_writer(str(tmp_path), URL, sleep=pause):
        assert ended == [True]


def test_without_a_folder_nothing_is_locked() -> None:
    with _private_folder.only_writer(None, URL), _private_folder.only_writer(None, URL):
        pass
