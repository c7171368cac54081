# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _transport
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Origin
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._model_config import (
    file_url,
    from_hub,
    model_config,
)

from .conftest import COMMIT, entry

CONFIG = {"model_type": "qwen3"}
CONTENT = json.dumps(CONFIG).encode()
ENTRY = entry("config.json", CONTENT)
ORIGIN = Origin("modelscope", "https://hub.example.com", "acme/tiny", "master", COMMIT, (), ())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    urls: list[str] = []

    def get(url: str, *_rest: t.Any) -> bytes:
        urls.append(url)
        return CONTENT

    monkeypatch.setattr(_transport, "get", get)
    return urls


def find(folder: Path, origin: Origin, entries: list[Entry]) -> dict[str, t.Any] | None:
    return model_config(str(folder), entries, lambda: from_hub(origin, None, 10, None))


def test_one_file_is_asked_for(tmp_path: Path, asked: list[str]) -> None:
    assert find(tmp_path, ORIGIN, [ENTRY]) == CONFIG
    assert asked == [f"https://hub.example.com/api/v1/models/acme/tiny/repo?Revision={COMMIT}&FilePath=config.json"]


def test_what_is_on_the_host_is_not_asked_for(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    assert find(tmp_path, ORIGIN, [ENTRY]) == {"model_type": "llama"}
    assert asked == []


@pytest.mark.parametrize(
    ("origin", "entries"),
    [
        (ORIGIN, []),
        (ORIGIN, [Entry("config.json", 2**30, "")]),
        (ORIGIN, [Entry("config.json", len(CONTENT), "0" * 64)]),
        (dataclasses.replace(ORIGIN, source="git_lfs"), [ENTRY]),
    ],
)
def test_what_is_not_there_or_not_that_file_is_nothing(
    tmp_path: Path, asked: list[str], origin: Origin, entries: list[Entry]
) -> None:
    assert find(tmp_path, origin, entries) is None


def test_a_hub_that_refuses_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_arguments: t.Any) -> bytes:
        raise _transport.TransportError("no", 403)

    monkeypatch.setattr(_transport, "get", get)
    assert find(tmp_path, ORIGIN, [ENTRY]) is None


def test_addresses() -> None:
    hub = dataclasses.replace(ORIGIN, source="huggingface", commit=None, revision="refs/pr/1")
    assert file_url(hub, "config.json") == "https://hub.example.com/acme/tiny/resolve/refs%2Fpr%2F1/config.json"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("huggingface", ["Bearer T"]), ("modelscope", ["Bearer T", "m_session_id=T"])],
)
def test_each_hub_gets_its_token_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch, source: str, expected: list[str]
) -> None:
    sent: list[str] = []

    def get(url: str, headers: t.Mapping[str, str], *_rest: t.Any) -> bytes:
        sent.extend(value for value in headers.values() if "T" in value.split("=")[-1].split(" ")[-1])
        return CONTENT

    monkeypatch.setattr(_transport, "get", get)
    assert from_hub(dataclasses.replace(ORIGIN, source=source), "T", 10, None) == CONTENT
    assert sent == expected


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"null", b"", b'{"a":'])
def test_config_that_is_none_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert find(tmp_path, ORIGIN, [Entry("config.json", len(content), "")]) is None
