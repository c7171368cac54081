# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _hashing

SIZE = 3 * _hashing.WINDOW + 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(1000) * (SIZE // 1000) + b"x" * (SIZE % 1000))
    return path


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    windows: list[int] = []
    monkeypatch.setattr(_hashing, "_give_back", lambda descriptor, window: windows.append(window))
    return windows


def test_sum_and_progress(file: Path) -> None:
    told: list[int] = []
    assert _hashing.sha256_of(str(file), told.append) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sum(told) == SIZE


@pytest.mark.parametrize(("cached", "expected"), [(set(), [0, 1, 2, 3]), ({1, 3}, [0, 2]), ({0, 1, 2, 3}, [])])
def test_only_what_was_not_in_memory_is_given_back(
    file: Path, given_back: list[int], monkeypatch: pytest.MonkeyPatch, cached: set[int], expected: list[int]
) -> None:
    monkeypatch.setattr(_hashing, "cached_windows", lambda descriptor, size: cached)
    _hashing.sha256_of(str(file))
    assert sorted(set(given_back)) == expected


def test_kernel_tells_what_is_in_memory(file: Path) -> None:
    file.read_bytes()
    with file.open("rb") as stream:
        cached = _hashing.cached_windows(stream.fileno(), SIZE)
        assert cached <= {0, 1, 2, 3}
        assert cached  # the file was read a moment ago; at least some of it is in memory
        assert _hashing.cached_windows(stream.fileno(), 0) == set()


def test_several_files(file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    paths = [str(tmp_path / "empty"), str(file)]
    assert _hashing.hash_files(paths) == {p: hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths}
    assert _hashing.hash_files([]) == {}
