# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.filter.failure_messages import failure_messages
from ansible_collections.private_llm.fleet.plugins.filter.mirrored_image import mirrored_image


@pytest.mark.parametrize(
    ("reference", "mirror", "expected"),
    [
        ("vllm/vllm-openai:v1", "", "vllm/vllm-openai:v1"),
        ("vllm/vllm-openai:v1", "m.example.com", "m.example.com/vllm/vllm-openai:v1"),
        ("vllm/vllm-openai:v1", "10.0.0.1:5000/hub/", "10.0.0.1:5000/hub/vllm/vllm-openai:v1"),
        ("ghcr.io/open-webui/open-webui:v1", "m.example.com", "m.example.com/open-webui/open-webui:v1"),
        ("docker.io/alpine", "m.example.com", "m.example.com/library/alpine"),
        ("alpine:3", "m.example.com", "m.example.com/library/alpine:3"),
        ("localhost/x@sha256:ab", "m.example.com", "m.example.com/x@sha256:ab"),
        ("registry:5000/one", "m.example.com", "m.example.com/one"),
    ],
)
def test_mirrored_image(reference: str, mirror: str, expected: str) -> None:
    assert mirrored_image(reference, mirror) == expected


def test_failures_of_a_loop_are_told_one_by_one() -> None:
    result = {
        "results": [{"failed": True, "msg": "one "}, {"changed": True}, {"failed": True, "msg": "three"}],
        "msg": "no",
    }
    assert failure_messages(result) == ["one", "three"]


def test_failures_without_a_loop() -> None:
    assert failure_messages({"failed": True, "msg": "why"}) == ["why"]
    assert "secure_logging" in failure_messages({"failed": True, "censored": "hidden"})[0]
    assert failure_messages({"failed": True}) == ["failed without a message"]
    assert failure_messages({"failed": True, "msg": "died", "module_stderr": "No container\n"}) == ["No container"]
