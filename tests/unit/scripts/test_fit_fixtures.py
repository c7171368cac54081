# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import pytest

import fit_fixtures

CASE = {"engine": {}, "kv_bytes": 1024, "max_model_len": 64, "config": {"model_type": "tiny"}}


def vllm(monkeypatch: pytest.MonkeyPatch, *lines: str, code: int = 0) -> None:
    """Let vLLM's container print these lines."""

    def run(command: t.Sequence[str], **_more: t.Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, "\n".join(lines), "the end of its log")

    monkeypatch.setattr(fit_fixtures.subprocess, "run", run)


def answer(name: str, **more: t.Any) -> str:
    return fit_fixtures.MARK + json.dumps({name: more})


def test_the_fixtures_are_as_the_script_writes_them() -> None:
    for path in fit_fixtures.FIXTURES.glob("kv_cache_*.json"):
        found = json.loads(path.read_text("utf-8"))
        assert fit_fixtures.written(found["about"], found["cases"]) == path.read_text("utf-8")


def test_a_new_release_gets_a_table_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"about": "", "cases": {"one": {**CASE, "tokens": 1, "concurrency": 1.0}, "two": {**CASE, "error": "no"}}}
    (tmp_path / "kv_cache_0.9.0.json").write_text(json.dumps({"cases": {}}), "utf-8")
    (tmp_path / "kv_cache_0.32.0.json").write_text(json.dumps(old), "utf-8")
    monkeypatch.setattr(fit_fixtures, "FIXTURES", tmp_path)
    monkeypatch.setattr("sys.argv", ["fit_fixtures.py", "some/image:v0.33.0"])
    vllm(monkeypatch, "INFO", answer("one", tokens=2, concurrency=2.0), answer("two", error="ValueError: it cannot"))
    assert fit_fixtures.main() == 0
    found = json.loads((tmp_path / "kv_cache_0.33.0.json").read_text("utf-8"))
    assert "vLLM 0.33.0" in found["about"]
    assert found["cases"]["one"] == {**CASE, "tokens": 2, "concurrency": 2.0}
    assert found["cases"]["two"] == {**CASE, "error": "ValueError: it cannot"}


def test_a_case_without_an_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm(monkeypatch, answer("one", tokens=2), code=137)
    with pytest.raises(SystemExit, match=r"exit 137.*\nthe end of its log"):
        fit_fixtures.ask("image", {"one": CASE, "two": CASE})
