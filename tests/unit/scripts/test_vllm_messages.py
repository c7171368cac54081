# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

import vllm_messages

SOURCE = """
class Cache:
    def check(self, seqs: int) -> None:
        if seqs:
            raise ValueError(f"max_num_seqs ({seqs.max_num}) exceeds available Mamba cache blocks ({self.num})")
        raise RuntimeError("nobody " + "knows {} of".format(1) + " this")

    async def other(self) -> None:
        assert self.names, f"one of {', '.join(self.names)} must be {self.kind!r} at least"
        raise KeyError(self.text)
        raise ValueError("short")
"""


def sources(tmp_path: Path) -> Path:
    (tmp_path / "vllm" / "config").mkdir(parents=True)
    (tmp_path / "vllm" / "config" / "cache.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "vllm" / "benchmarks.py").write_text('raise ValueError("is not part of a start")', encoding="utf-8")
    return tmp_path


def test_messages_of_a_start_are_read_without_running_it(tmp_path: Path) -> None:
    found = list(vllm_messages.messages(sources(tmp_path)))
    assert [(one.file, one.function, one.exception, one.text) for one in found] == [
        (
            "vllm/config/cache.py",
            "check",
            "ValueError",
            "max_num_seqs (7) exceeds available Mamba cache blocks (7)",
        ),
        ("vllm/config/cache.py", "check", "RuntimeError", "nobody knows sample of this"),
        ("vllm/config/cache.py", "other", "AssertionError", "one of ['one', 'two'] must be 'sample' at least"),
    ]
    assert [vllm_messages.recognized(one) for one in found] == ["state_blocks", "", ""]


def test_those_without_a_signature_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["vllm_messages.py", str(sources(tmp_path)), "--unknown"])
    assert vllm_messages.main() == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "vllm/config/cache.py:6 -: RuntimeError: nobody knows sample of this"
    assert printed.err == "3 messages, 1 of them recognized, 2 not\n"


def test_a_folder_without_vllm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["vllm_messages.py", str(tmp_path)])
    assert vllm_messages.main() == 1
    assert "holds no vllm" in capsys.readouterr().err
