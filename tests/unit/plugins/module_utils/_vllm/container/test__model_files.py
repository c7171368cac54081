# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._model_files import (
    look,
    weight_bytes,
    weights_in,
)

SHARDS = [("model-00001-of-00002.safetensors", 60), ("model-00002-of-00002.safetensors", 40)]
INDEX = ("model.safetensors.index.json", 1)


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ([("model.safetensors", 100), ("consolidated.safetensors", 100)], 100),
        ([*SHARDS, INDEX, ("consolidated.safetensors", 100)], 100),
        ([*SHARDS, INDEX, ("model.safetensors", 100)], 100),
        ([*SHARDS, ("extra.safetensors", 5)], 105),
        ([("consolidated-00001-of-00001.safetensors", 100), ("consolidated.safetensors.index.json", 1)], 100),
        ([("model.safetensors", 100), ("pytorch_model.bin", 100), ("original/consolidated.00.pth", 100)], 100),
        ([("pytorch_model.bin", 70), ("training_args.bin", 1), ("optimizer.bin", 140)], 70),
        ([("model-q4.gguf", 30)], 30),
        ([("config.json", 1)], None),
        ([], None),
    ],
)
def test_weights_that_lie_there_twice_are_counted_once(files: t.Sequence[tuple[str, int]], size: int | None) -> None:
    assert weight_bytes(files) == size


def test_the_plan_and_the_server_count_the_same(tmp_path: pathlib.Path) -> None:
    for name in ("model.safetensors", "consolidated.safetensors"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert weights_in(str(tmp_path)) == look(str(tmp_path))["weight_bytes"] == 100
    assert weights_in(str(tmp_path / "nowhere")) is None


def test_a_model_in_the_format_of_mistral_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "params.json").write_text(json.dumps({"dim": 64, "n_layers": 2}), encoding="utf-8")
    (tmp_path / "consolidated.safetensors").write_bytes(b"\0" * 100)
    assert look(str(tmp_path)) == {"config": {"dim": 64, "n_layers": 2}, "weight_bytes": 100}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral"}), encoding="utf-8")
    assert look(str(tmp_path))["config"] == {"model_type": "mistral"}


def test_a_pipe_in_a_model_s_folder_keeps_nobody_waiting(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert look(str(tmp_path)) == {"config": None, "weight_bytes": None}
