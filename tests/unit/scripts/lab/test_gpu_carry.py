# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of gpu_carry.py: the model that it writes, the wheels that it finds, the variables that it sets."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import gpu_carry
import pytest


@pytest.mark.parametrize(("size", "parameters"), [("0.6b", 596_049_920), ("8b", 8_190_735_360)])
def test_a_model_has_as_many_parameters_as_the_real_one(size: str, parameters: int) -> None:
    assert sum(math.prod(shape) for shape in gpu_carry.tensors(size).values()) == parameters


def test_weights_are_a_file_that_readers_of_safetensors_know(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    gpu_carry.write_weights(path, {"a.weight": (3, 5), "b.norm.weight": (4,)})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert header["b.norm.weight"] == {"dtype": "BF16", "shape": [4], "data_offsets": [30, 38]}
    assert (8 + length) % 8 == 0
    assert len(data) == 38
    # 1.0 in bfloat16.
    assert data[30:] == b"\x80\x3f" * 4
    # Each number back to 32 bits: small, and not all the same.
    numbers = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, 30, 2)]
    assert len(set(numbers)) > 10
    assert all(abs(number) < 0.2 for number in numbers)


def test_what_is_carried_goes_together_and_is_not_there_already(tmp_path: Path) -> None:
    resolved = [
        {"name": "vllm", "version": "0.23.0", "requires_dist": ["torch==2.11.0", "fast_api[standard]<1", "tilelang"]},
        {"name": "torch", "version": "2.11.0", "requires_dist": ["triton"]},
        {"name": "Fast.API", "version": "0.5", "requires_dist": ['Some_Thing>=1; extra == "standard"', "absent"]},
        {"name": "some-thing", "version": "2", "requires_dist": ["vllm"]},
        {"name": "tilelang", "version": "1", "requires_dist": ["z3-solver"]},
        {"name": "z3-solver", "version": "4"},
        {"name": "triton", "version": "3"},
    ]
    assert gpu_carry.pins(resolved, {"torch"}) == ["fast-api==0.5", "some-thing==2", "vllm==0.23.0"]
    wheel = tmp_path / "Some_Thing-1.0-py3-none-any.whl"
    wheel.touch()
    assert gpu_carry.find_wheel(tmp_path, "some-thing") == wheel


def test_variables_of_what_was_carried(tmp_path: Path) -> None:
    found = gpu_carry.variables(tmp_path, "vllm/vllm-openai:v0.23.0", "http://127.0.0.1:1")
    assert "nvidia_toolkit_package_files" not in found
    (tmp_path / "packages").mkdir()
    package = tmp_path / "packages" / "libnvidia-container1_1.20.0-1_amd64.deb"
    package.touch()
    found = gpu_carry.variables(tmp_path, "vllm/vllm-openai:v0.23.0", "http://127.0.0.1:1")
    assert found["nvidia_toolkit_package_files"] == [str(package)]
    assert found["nvidia_toolkit_version"] == "1.20.0"
    assert found["vllm_server_image_pull"] == "never"
