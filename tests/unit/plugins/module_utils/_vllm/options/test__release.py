# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._release import (
    Release,
    as_text,
    release_of,
    repository_of,
    tag_of,
)


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("vllm/vllm-openai:v0.32.0", (0, 32, 0)),
        ("vllm/vllm-openai:v0.33.0-cu129-ubuntu2404", (0, 33, 0)),
        ("vllm/vllm-openai-cpu:v0.10.2-x86_64", (0, 10, 2)),
        ("registry.example.com:5000/vllm/vllm-openai:0.31.1", (0, 31, 1)),
        ("vllm/vllm-openai:v0.33.0rc1", (0, 33, 0)),
        ("vllm/vllm-openai:v0.32.0@sha256:0123", (0, 32, 0)),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai", None),
        ("registry.example.com:5000/vllm/vllm-openai", None),
        ("vllm/vllm-openai@sha256:0123", None),
        ("vllm/vllm-openai:nightly-0a1b2c", None),
    ],
)
def test_release_of(image: str, release: Release | None) -> None:
    assert release_of(image) == release


def test_tag_and_text() -> None:
    assert repository_of("registry.example.com:5000/a/b:c@sha256:0123") == "registry.example.com:5000/a/b"
    assert repository_of("registry.example.com:5000/a/b") == "registry.example.com:5000/a/b"
    assert tag_of("registry.example.com:5000/a/b:c") == "c"
    assert as_text((0, 32, 0)) == "0.32.0"
