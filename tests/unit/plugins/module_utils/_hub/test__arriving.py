# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._arriving import ArrivingFile, WrongContent

from .conftest import entry

CONTENT = b"0123456789"


@pytest.fixture
def told() -> list[int]:
    return []


def arrive(folder: Path, told: list[int], content: bytes = CONTENT) -> ArrivingFile:
    return ArrivingFile(str(folder), entry("sub/w.bin", content), told.append)


def test_arrives_in_parts(tmp_path: Path, told: list[int]) -> None:
    with arrive(tmp_path, told) as file:
        file.write(CONTENT[:4])
        assert os.listdir(tmp_path / "sub") == ["w.bin.incomplete"]
    with arrive(tmp_path, told) as file:
        assert file.tell() == 4
        file.write(CONTENT[4:])
        file.finish()
    assert (tmp_path / "sub" / "w.bin").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "sub") == ["w.bin"]
    assert told == [4, 6]


def test_starts_over(tmp_path: Path, told: list[int]) -> None:
    with arrive(tmp_path, told) as file:
        file.write(b"wrong")
        file.seek(0)
        file.truncate()
        file.write(CONTENT)
        file.finish()
    assert (tmp_path / "sub" / "w.bin").read_bytes() == CONTENT
    assert told == [5, -5, 10]
    with arrive(tmp_path, told, b"longer") as file, pytest.raises(OSError, match="from its start only"):
        file.seek(3)


@pytest.mark.parametrize("content", [b"01234", b"012345678X"])
def test_wrong_content_gets_no_name(tmp_path: Path, told: list[int], content: bytes) -> None:
    with arrive(tmp_path, told) as file:
        file.write(content)
        with pytest.raises(WrongContent, match=rf"sub/w\.bin came with {len(content)} bytes and SHA-256 .* 10 bytes"):
            file.finish()
        file.discard()
    assert os.listdir(tmp_path / "sub") == []
    assert sum(told) == 0


def test_too_much_is_not_written(tmp_path: Path, told: list[int]) -> None:
    with arrive(tmp_path, told) as file:
        file.write(CONTENT)
        with pytest.raises(WrongContent, match="longer than the 10 bytes it is listed with"):
            file.write(b"!")
    assert (tmp_path / "sub" / "w.bin.incomplete").read_bytes() == CONTENT


def test_what_cannot_be_a_part_is_dropped(tmp_path: Path, told: list[int]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin.incomplete").write_bytes(CONTENT * 2)
    with arrive(tmp_path, told) as file:
        assert file.tell() == 0


def test_links_are_not_followed(tmp_path: Path, told: list[int]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine").write_bytes(b"precious")
    (tmp_path / "sub" / "w.bin.incomplete").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"):
        arrive(tmp_path, told)
    assert (tmp_path / "mine").read_bytes() == b"precious"
