# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._run import (
    ENDED,
    FETCHING,
    PENDING,
    RunFolder,
    note_on,
    run_name,
)

TOKEN = "0123456789abcdef" * 2
DIGEST = "d" * 64


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(TOKEN, str(tmp_path / "run" / "private_llm" / "spread"))
    made.make()
    return made


def test_the_name_of_a_run_does_not_tell_its_token() -> None:
    assert run_name(TOKEN) == run_name(TOKEN)
    assert run_name(TOKEN) != run_name(TOKEN[::-1])
    assert not any(TOKEN[start : start + 8] in run_name(TOKEN) for start in range(16))


def test_the_folder_is_for_one_user_alone(folder: RunFolder) -> None:
    assert os.stat(folder.path).st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "private_llm" / "spread"
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    with pytest.raises(HubError, match="others can write it"):
        RunFolder(TOKEN, str(directory)).make()


def test_what_is_known_of_a_release(folder: RunFolder) -> None:
    assert folder.state(DIGEST) == PENDING
    assert not folder.is_busy()
    with folder.fetching(DIGEST):
        assert folder.state(DIGEST) == FETCHING
        assert folder.is_busy()
    assert folder.state(DIGEST) == ENDED
    assert not folder.is_busy()
    with folder.fetching(DIGEST):
        assert folder.state(DIGEST) == FETCHING


def test_a_release_that_is_about_to_be_fetched_is_never_one_that_has_ended(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks at that moment would be told that the release is not to come, and go to the hub."""
    before, flock = [], fcntl.flock

    def look_first(descriptor: int, kind: int) -> None:
        if kind == fcntl.LOCK_EX:
            before.append(folder.state(DIGEST))
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", look_first)
    with folder.fetching(DIGEST):
        assert before == [PENDING]
        assert folder.state(DIGEST) == FETCHING
    assert os.listdir(folder.path) == [DIGEST]


def test_without_a_server_nothing_is_noted(tmp_path: Path) -> None:
    alone = RunFolder(TOKEN, str(tmp_path / "run" / "private_llm" / "spread"))
    with alone.fetching(DIGEST):
        assert alone.state(DIGEST) == PENDING
    assert list(tmp_path.iterdir()) == []


def test_one_server_lives_until_its_file_is_gone(folder: RunFolder) -> None:
    assert folder.server_note() is None
    lock = folder.take_server(note_on(["a"]))
    assert folder.server_note() == note_on(["a"])
    assert folder.is_wanted(lock)
    with pytest.raises(OSError, match=r"temporarily unavailable|would block"):
        folder.take_server(note_on(["b"]))
    os.unlink(os.path.join(folder.path, "server"))
    assert not folder.is_wanted(lock)
    os.close(lock)
    assert folder.server_note() is None
    assert folder.stop_server() is False


def test_what_a_dead_server_left_is_no_server(folder: RunFolder) -> None:
    os.close(folder.take_server("note"))
    assert folder.server_note() is None
    assert folder.stop_server() is False
    assert not os.path.exists(folder.path)
