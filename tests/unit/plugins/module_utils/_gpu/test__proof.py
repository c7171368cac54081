# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _proof

LISTS = pathlib.Path(__file__).parents[3] / "fixtures/nvidia_smi/list"


def image(name: str, size: int, *env: str) -> dict[str, t.Any]:
    return {"Id": f"sha256:{name}", "RepoTags": [f"{name}:1"], "Size": size, "Config": {"Env": list(env)}}


def test_the_smallest_image_that_is_made_for_gpus_is_chosen() -> None:
    images = [
        image("debian", 10, "PATH=/usr/bin"),
        image("vllm", 9000, "PATH=/usr/bin", "CUDA_VERSION=13.0.1"),
        image("cuda", 200, "NVIDIA_VISIBLE_DEVICES=all"),
        {"Id": "sha256:bare", "RepoTags": None, "Size": 1, "Config": {"Env": None}},
    ]
    chosen = _proof.choose_image(images)
    assert chosen is not None
    assert _proof.name_of(chosen) == "cuda:1"
    assert _proof.name_of({"Id": "sha256:x", "RepoTags": []}) == "sha256:x"
    assert _proof.choose_image(images[:1]) is None


def test_what_a_container_should_have() -> None:
    gpus = [
        {"uuid": "GPU-a", "problem": None, "mig": {"mode": "unsupported", "devices": []}},
        {"uuid": "GPU-b", "problem": "GPU requires reset", "mig": {"mode": "disabled", "devices": []}},
        {
            "uuid": "GPU-c",
            "problem": None,
            "mig": {"mode": "enabled", "devices": [{"uuid": "MIG-1"}, {"uuid": "MIG-2"}]},
        },
    ]
    assert _proof.wanted_uuids(gpus) == ["GPU-a", "MIG-1", "MIG-2"]


def test_what_a_container_has() -> None:
    whole = (LISTS / "h100__590.48.01.txt").read_text(encoding="utf-8").replace("\n", "\r\n")
    assert _proof.seen_uuids(whole) == ["GPU-00000000-0000-0000-0000-000000000000"]
    divided = (LISTS / "h100-mig__590.48.01.txt").read_text(encoding="utf-8")
    assert [uuid[:12] for uuid in _proof.seen_uuids(divided)] == [
        "MIG-00000000",
        "MIG-00000001",
        "MIG-00000002",
        "MIG-00000003",
    ]
    assert _proof.seen_uuids("Failed to initialize NVML: Unknown Error") == []
