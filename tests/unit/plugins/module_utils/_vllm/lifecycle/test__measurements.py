# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _measurements

FACTS = {"image": "vllm/vllm-openai:v0.32.0", "config_hash": "0123456789abcdef", "engine": {}}
READY = {"seconds": 32.5, "kv_cache_tokens": 1000, "max_concurrency": 3.9, "max_model_len": 256}


def test_a_record_holds_what_the_next_plan_needs() -> None:
    assert _measurements.record(FACTS, READY, 1_700_000_000.0) == {
        "release": "0.32.0",
        "image": "vllm/vllm-openai:v0.32.0",
        "config_hash": "0123456789abcdef",
        "kv_cache_tokens": 1000,
        "max_concurrency": 3.9,
        "max_model_len": 256,
        "started_in_seconds": 32.5,
        "measured_at": "2023-11-14T22:13:52Z",
    }
    assert _measurements.record({**FACTS, "image": "vllm:latest"}, READY, 0.0)["release"] is None  # type: ignore[index]


def test_a_start_that_was_not_seen_is_not_kept() -> None:
    assert _measurements.record(FACTS, {**READY, "seconds": None}, 0.0) is None


def test_written_read_and_removed(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "private_llm" / "vllm"
    assert _measurements.read("alpha", str(root)) is None
    _measurements.write("alpha", {"release": "0.32.0"}, str(root))
    file = root / "alpha.measured.json"
    assert _measurements.path_of("alpha", str(root)) == str(file)
    assert (file.stat().st_mode & 0o777, root.stat().st_mode & 0o777) == (0o644, 0o755)
    assert _measurements.read("alpha", str(root)) == {"release": "0.32.0"}
    inode = file.stat().st_ino
    _measurements.write("alpha", {"release": "0.32.0"}, str(root))
    assert file.stat().st_ino == inode
    _measurements.write("alpha", {"release": "0.33.0"}, str(root))
    assert _measurements.read("alpha", str(root)) == {"release": "0.33.0"}
    assert _measurements.kept("alpha", str(root))
    _measurements.remove("alpha", str(root))
    _measurements.remove("alpha", str(root))
    assert not root.exists()
    assert not _measurements.kept("alpha", str(root))


def test_what_was_kept_elsewhere_before_is_read_and_moves_with_the_next_record(tmp_path: pathlib.Path) -> None:
    before, root = tmp_path / "before", tmp_path / "now"
    _measurements.write("alpha", {"release": "0.31.0"}, str(before), str(root))
    assert _measurements.read("alpha", str(root), str(before)) == {"release": "0.31.0"}
    assert _measurements.kept("alpha", str(root), str(before))
    _measurements.write("alpha", {"release": "0.31.0"}, str(root), str(before))
    assert not before.exists()
    assert _measurements.read("alpha", str(root), str(before)) == {"release": "0.31.0"}
    _measurements.write("alpha", {"release": "0.30.0"}, str(before), str(tmp_path / "none"))
    assert _measurements.read("alpha", str(root), str(before)) == {"release": "0.31.0"}, "the newer place counts"
    _measurements.remove("alpha", str(root), str(before))
    assert not _measurements.kept("alpha", str(root), str(before))


def test_a_damaged_record_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "alpha.measured.json").write_text("[1")
    assert _measurements.read("alpha", str(tmp_path)) is None
    (tmp_path / "alpha.measured.json").write_text("[1]")
    assert _measurements.read("alpha", str(tmp_path)) is None
