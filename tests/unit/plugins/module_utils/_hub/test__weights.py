# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 123\n" % (b"a" * 64)


def safetensors(data: bytes = b"12345678", end: int | None = None) -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, len(data) if end is None else end]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (POINTER, ("a" * 64, 123)),
        (POINTER.replace(b"oid", b"ext-0-x sha256:%s\noid" % (b"b" * 64)), ("a" * 64, 123)),
        (POINTER.replace(b"a" * 64, b"a" * 63), None),
        (POINTER.replace(b"size 123", b"size"), None),
        (POINTER + b" " * 1024, None),
        (b"version 1\n", None),
        (b"", None),
        (POINTER.replace(b"\n", b"\r\n"), ("a" * 64, 123)),
        (POINTER.replace(b"git-lfs.github", b"hawser.github"), ("a" * 64, 123)),
        (POINTER.replace(b"a" * 64, b"A" * 64), ("a" * 64, 123)),
        (b"\n" + POINTER.replace(b"123", b"123 "), ("a" * 64, 123)),
    ],
)
def test_parse_pointer(content: bytes, expected: tuple[str, int] | None) -> None:
    assert _weights.parse_pointer(content) == expected


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.safetensors", safetensors(), ""),
        ("m.safetensors", safetensors(b"x" * 100_000), ""),
        ("m.safetensors", struct.pack("<Q", 2) + b"{}", ""),
        ("m.safetensors", b"", "it is too short"),
        ("m.safetensors", b"{'error': 1}", "its header is longer than the file"),
        ("m.safetensors", safetensors()[:40], "its header is longer than the file"),
        ("m.safetensors", safetensors(end=9), "its header describes"),
        ("m.safetensors", safetensors()[:-1], "its header describes"),
        ("m.safetensors", struct.pack("<Q", 4) + b"1234" + b"x" * 50, "its header is not that of a safetensors file"),
        ("m.safetensors", struct.pack("<Q", 2) + b"[]", "its header is not that of a safetensors file"),
        ("m.safetensors", POINTER, "it is a Git LFS pointer"),
        ("m.bin", POINTER, "it is a Git LFS pointer"),
        ("m.bin", POINTER.replace(b"\n", b"\r\n"), "it is a Git LFS pointer"),
        ("m.bin", b"anything", ""),
        ("README.md", b"", ""),
    ],
)
def test_problem_of(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = _weights.problem_of(str(path))
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": {"data_offsets": [0, "4"]}}',
        b'{"a": {"data_offsets": [0, null]}}',
        b'{"a": {"data_offsets": [0, 4.0]}}',
        b'{"a": {"data_offsets": [0, -4]}}',
        b'{"a": {"data_offsets": [0, "4"]}, "b": {"data_offsets": [0, 4]}}',
        b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    ],
)
def test_odd_headers_are_no_traceback(header: bytes) -> None:
    found = _weights.safetensors_problem(struct.pack("<Q", len(header)) + header, 12 + len(header))
    assert found == "its header is not that of a safetensors file"
