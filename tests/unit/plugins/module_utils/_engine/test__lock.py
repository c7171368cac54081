# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._lock import (
    Holder,
    LockError,
    hold,
    hold_all,
    holder_of,
)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "private_llm" / "locks")


HOLDER = textwrap.dedent(
    """
    import sys, time
    from ansible_collections.private_llm.fleet.plugins.module_utils._engine._lock import hold
    with hold("server", "alpha", "loading weights", directory=sys.argv[1]):
        print("held", flush=True)
        time.sleep(60)
    """
)


def another_process(folder: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_waits_says_for_whom_and_goes_on_when_the_other_is_killed(folder: str) -> None:
    other = another_process(folder)
    seen: list[Holder] = []

    def waiting(holder: Holder) -> None:
        seen.append(holder)
        other.send_signal(signal.SIGKILL)
        other.communicate()

    assert holder_of("server", "alpha", folder) is not None
    with hold("server", "alpha", waiting=waiting, directory=folder, sleep=lambda seconds: None):
        assert seen[0].pid == other.pid
        assert seen[0].doing == "loading weights"
        assert f"process {other.pid}, since " in str(seen[0])
    assert holder_of("server", "alpha", folder) is None


def test_another_object_is_not_waited_for(folder: str) -> None:
    other = another_process(folder)
    try:
        with hold("server", "beta", waiting=lambda holder: pytest.fail("waited"), directory=folder):
            pass
        with hold("web", "alpha", waiting=lambda holder: pytest.fail("waited"), directory=folder):
            pass
    finally:
        other.kill()
        other.communicate()


def test_only_one_of_many_is_inside_at_a_time_and_nothing_is_left(folder: str) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _round in range(10):
            with hold("server", "alpha", directory=folder, sleep=lambda seconds: time.sleep(0.001)):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1
    assert os.listdir(folder) == []


def test_several_are_taken_in_one_order_by_everyone(folder: str) -> None:
    done: list[str] = []

    def work(names: t.Sequence[str]) -> None:
        for _round in range(20):
            with hold_all("server", names, directory=folder, sleep=lambda seconds: time.sleep(0.001)) as locks:
                assert list(locks) == ["a", "b", "c"]
        done.append("".join(names))

    threads = [
        threading.Thread(target=work, args=(names,), daemon=True) for names in (["a", "b", "c"], ["c", "b", "a"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == ["abc", "cba"]


def test_the_holder_says_what_it_is_doing(folder: str) -> None:
    with hold("server", "alpha", "begins", directory=folder) as lock:
        lock.note("a long text that is followed by a shorter one")
        lock.note("loads")
        holder = holder_of("server", "alpha", folder)
        assert holder is not None
        assert holder.doing == "loads"
        assert holder.pid == os.getpid()


def test_nobody_else_can_read_or_replace_locks(folder: str, tmp_path: pathlib.Path) -> None:
    with hold("server", "alpha", directory=folder):
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.stat(os.path.join(folder, "server.alpha.lock")).st_mode & 0o777 == 0o600
    victim = tmp_path / "victim"
    os.symlink(victim, os.path.join(folder, "server.alpha.lock"))
    with pytest.raises(LockError, match=r"server\.alpha\.lock cannot be taken"), hold(
        "server", "alpha", directory=folder
    ):
        pass
    assert not victim.exists()


def test_a_folder_that_is_a_link_or_anothers_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "private_llm").mkdir()
    (tmp_path / "private_llm" / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockError, match="cannot be used"), hold(
        "a", "b", directory=str(tmp_path / "private_llm/locks")
    ):
        pass
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(LockError, match="everyone can write there"), hold(
        "a", "b", directory=str(tmp_path / "open/locks")
    ):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_name_that_is_no_file_name_is_locked_all_the_same(folder: str) -> None:
    with hold("server", "../a/b", directory=folder):
        assert holder_of("server", "../a/b", folder) is not None
        assert len(os.listdir(folder)) == 1


def test_a_note_that_makes_no_sense_is_borne(folder: str) -> None:
    with hold("server", "alpha", directory=folder):
        (pathlib.Path(folder) / "server.alpha.lock").write_bytes(b"\xff{}")
        holder = holder_of("server", "alpha", folder)
        assert holder == Holder(0, 0.0, "")
        assert str(holder) == "another run on this host (its process is not known)"


@pytest.mark.parametrize("where", ["_open_file", "_step"])
def test_a_removal_that_takes_the_folder_away_meanwhile_is_no_fault(
    folder: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A removal deletes the folders that are empty, and another run may be about to take a lock in one of them."""
    real, times = getattr(_lock, where), iter(range(9))

    def removed_first(opened: int, *rest: t.Any) -> t.Any:
        if next(times) == 1:
            for gone in (pathlib.Path(folder), pathlib.Path(folder).parent):
                if gone.exists():
                    gone.rmdir()
        return real(opened, *rest)

    with hold("server", "alpha", directory=folder):
        pass
    monkeypatch.setattr(_lock, where, removed_first)
    for _time in (1, 2):
        with hold("server", "alpha", directory=folder):
            assert len(list(pathlib.Path(folder).iterdir())) == 1
    assert next(times) > 2


def test_a_folder_that_always_goes_is_told(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_arguments: t.Any) -> t.NoReturn:
        raise FileNotFoundError

    monkeypatch.setattr(_lock, "_step", gone)
    with pytest.raises(LockError, match="is removed again and again"), hold("server", "alpha", directory=folder):
        pass
