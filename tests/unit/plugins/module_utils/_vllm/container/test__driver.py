# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._driver import cuda_of, driver_problems


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("vllm/vllm-openai:v0.32.0", 13),
        ("vllm/vllm-openai:v0.20.0-x86_64", 13),
        ("vllm/vllm-openai:v0.19.1", 12),
        ("registry.lan:5000/mirror/vllm-openai:v0.32.0-cu129", 12),
        ("vllm/vllm-openai:v0.32.0-cu129-ubuntu2404", 12),
        ("vllm/vllm-openai:v0.12.0-cu118", 11),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai@sha256:0123", None),
        ("vllm/vllm-openai-cpu:v0.32.0", None),
        ("vllm/vllm-openai-rocm:v0.32.0", None),
    ],
)
def test_cuda_of(image: str, cuda: int | None) -> None:
    assert cuda_of(image) == cuda


def server(**changes: t.Any) -> dict[str, t.Any]:
    return {"name": "a", "image": "vllm/vllm-openai:v0.32.0", "gpus": ["0"], "env": {}, "state": "started", **changes}


TOO_OLD = "server a on gpu-02: vllm/vllm-openai:v0.32.0 holds CUDA 13, which the driver 550.90.07 is too old for;"


@pytest.mark.parametrize(
    ("instance", "driver", "problem"),
    [
        (
            server(),
            "550.90.07",
            f"{TOO_OLD} update the driver to 580 or newer, or use the image vllm/vllm-openai:v0.32.0-cu129",
        ),
        (server(), "580.65.06", None),
        (server(), None, None),
        (server(gpus=[]), "550.90.07", None),
        (server(gpus=2), "550.90.07", f"{TOO_OLD} update the driver to 580 or newer"),
        (server(state="absent"), "550.90.07", None),
        (server(env={"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}), "550.90.07", None),
        (server(image="vllm/vllm-openai:v0.32.0-cu129"), "550.90.07", None),
        (
            server(image="vllm/vllm-openai:v0.32.0-cu129"),
            "470.256.02",
            "server a on gpu-02: vllm/vllm-openai:v0.32.0-cu129 holds CUDA 12, which the driver 470.256.02 is too old"
            " for; update the driver to 525 or newer",
        ),
        (server(image="vllm/vllm-openai:nightly"), "470.256.02", None),
    ],
)
def test_driver_problems(instance: dict[str, t.Any], driver: str | None, problem: str | None) -> None:
    found = driver_problems([instance], driver, "gpu-02")
    assert len(found) == (problem is not None)
    if problem is not None:
        assert found[0].startswith(problem)
