# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _swap

OLD = {"webui.db": "old", "webui.db-wal": "old", "uploads/a": "old", "audit.log": "old"}
NEW = {"webui.db": "new", "uploads/b": "new", "vector_db/x/i": "new"}
SECRETS_OLD = {"secret_key": "old", "container/env": "old"}
SECRETS_NEW = {"secret_key": "new"}


class CrashError(Exception):
    """Stands for a machine that went down."""


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".private_llm"
    }


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    data, config = tmp_path / "data", tmp_path / "config"
    fill(data, OLD)
    fill(config, SECRETS_OLD)
    fill(tmp_path / ".data.private_llm" / "new", NEW)
    (tmp_path / ".data.private_llm").chmod(0o700)
    fill(config / ".private_llm" / "new", SECRETS_NEW)
    (config / ".private_llm").chmod(0o700)
    return [data, config]


def swap_of(roots: list[Path]) -> _swap.Swap:
    return _swap.Swap([_swap.Place.beside(str(roots[0])), _swap.Place.inside(str(roots[1]))])


def test_everything_is_replaced_and_only_what_is_named_among_the_secrets(roots: list[Path]) -> None:
    swap = swap_of(roots)
    swap.begin([True, False])
    swap.apply()
    assert read(roots[0]) == NEW
    assert read(roots[1]) == {**SECRETS_OLD, **SECRETS_NEW}
    swap.forget()
    assert swap.journal is None
    assert sorted(os.listdir(roots[0])) == ["uploads", "vector_db", "webui.db"]


def test_what_is_replaced_takes_the_files_beside_a_database_with_it(roots: list[Path]) -> None:
    shutil.rmtree(roots[0].parent / ".data.private_llm" / "new" / "uploads")
    swap = swap_of(roots)
    swap.begin([False, False])
    swap.apply()
    assert read(roots[0]) == {"audit.log": "old", "uploads/a": "old", "webui.db": "new", "vector_db/x/i": "new"}
    fill(roots[0], {"webui.db-wal": "of the new one", "uploads/c": "added"})
    swap.undo()
    assert read(roots[0]) == {**OLD, "uploads/c": "added"}


def test_what_a_server_made_meanwhile_goes_when_it_is_taken_back(roots: list[Path]) -> None:
    swap = swap_of(roots)
    swap.begin([True, False])
    swap.apply()
    fill(roots[0], {"webui.db-wal": "of the new one", "cache/x": "of the new one"})
    swap.undo()
    assert read(roots[0]) == OLD
    assert read(roots[1]) == SECRETS_OLD
    assert swap.journal is None
    swap.undo()
    assert read(roots[0]) == OLD


def crashing(monkeypatch: pytest.MonkeyPatch, after: int) -> t.Callable[[], int]:
    """Let so many renames pass, and count them."""
    done, rename = 0, os.rename

    def rename_or_crash(source: str, target: str, **folders: int) -> None:
        nonlocal done
        if done == after:
            raise CrashError
        done += 1
        rename(source, target, **folders)

    monkeypatch.setattr(os, "rename", rename_or_crash)
    return lambda: done


# Two journals, four and three names of the data, one and one of the secrets.
RENAMES = 11


@pytest.mark.parametrize("after", range(RENAMES + 1))
def test_a_crash_at_any_moment_leaves_the_old_or_the_new_whole(
    roots: list[Path], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patch:
        count = crashing(patch, after)
        try:
            swap = swap_of(roots)
            swap.begin([True, False])
            swap.apply()
        except CrashError:
            assert after < RENAMES
        else:
            assert count() == RENAMES
    journal = swap_of(roots).journal
    if journal and journal["state"] == "applied":
        assert (read(roots[0]), read(roots[1])) == (NEW, {**SECRETS_OLD, **SECRETS_NEW})
    swap_of(roots).undo()
    assert (read(roots[0]), read(roots[1])) == (OLD, SECRETS_OLD)


# Taken back: four names of the data and one of the secrets; what came in their place is removed.
@pytest.mark.parametrize("after", range(5))
def test_taking_back_may_be_cut_off_as_well(roots: list[Path], monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    swap = swap_of(roots)
    swap.begin([True, False])
    swap.apply()
    with monkeypatch.context() as patch:
        crashing(patch, after)
        try:
            swap_of(roots).undo()
        except CrashError:
            assert swap_of(roots).journal is not None
    swap_of(roots).undo()
    assert (read(roots[0]), read(roots[1])) == (OLD, SECRETS_OLD)
