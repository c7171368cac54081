# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._model_config import model_config

from .conftest import entry

CONFIG = {"model_type": "qwen3"}
CONTENT = json.dumps(CONFIG).encode()
ENTRY = entry("config.json", CONTENT)


class Asked:
    """A source that has one content for each file, and notes what it was asked for."""

    def __init__(self, content: bytes | None) -> None:
        super().__init__()
        self.content = content
        self.paths: list[str] = []

    def __call__(self, path: str) -> bytes | None:
        """Answer."""
        self.paths.append(path)
        return self.content


def test_one_file_is_asked_for(tmp_path: Path) -> None:
    asked = Asked(CONTENT)
    assert model_config(str(tmp_path), [ENTRY], asked) == CONFIG
    assert asked.paths == ["config.json"]


def test_what_is_on_the_host_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    asked = Asked(CONTENT)
    assert model_config(str(tmp_path), [ENTRY], asked) == {"model_type": "llama"}
    assert asked.paths == []


@pytest.mark.parametrize(
    ("entries", "content", "questions"),
    [
        ([], CONTENT, 0),
        ([Entry("config.json", 2**30, "")], CONTENT, 0),
        ([Entry("config.json", len(CONTENT), "0" * 64)], CONTENT, 1),
        ([ENTRY], None, 1),
    ],
)
def test_what_is_not_there_or_not_that_file_is_nothing(
    tmp_path: Path, entries: list[Entry], content: bytes | None, questions: int
) -> None:
    asked = Asked(content)
    assert model_config(str(tmp_path), entries, asked) is None
    assert len(asked.paths) == questions


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"null", b"", b'{"a":'])
def test_config_that_is_none_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert model_config(str(tmp_path), [Entry("config.json", len(content), "")], Asked(None)) is None
