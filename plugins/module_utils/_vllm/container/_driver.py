# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a host's NVIDIA driver is new enough for an image of vLLM, before the image is pulled."""

from __future__ import annotations

import re
import typing as t

from ..options._release import (
    release_of,
    repository_of,
    tag_of,
)

# The oldest branch of the driver that runs programs of a CUDA major version:
# https://docs.nvidia.com/deploy/cuda-compatibility, "minor version compatibility".
_OLDEST_BRANCH = {11: 450, 12: 525, 13: 580}
# CUDA's major version in vllm/vllm-openai by release, where the tag does not say another; by vLLM's build scripts.
_CUDA_SINCE = (((0, 20, 0), 13), ((0, 5, 0), 12))
_CUDA_TAG = re.compile(r"-cu(\d{2})\d(?:-|$)")
# Sets the libraries that run a newer CUDA on an older driver, on GPUs for data centers.
_COMPATIBILITY = "VLLM_ENABLE_CUDA_COMPATIBILITY"


def cuda_of(image: str) -> int | None:
    """Return the major version of CUDA in an image of vLLM's, by its name; None when the name does not tell."""
    if repository_of(image).rpartition("/")[2] != "vllm-openai":
        return None
    tagged = _CUDA_TAG.search(tag_of(image))
    if tagged:
        return int(tagged.group(1))
    release = release_of(image)
    return next((cuda for since, cuda in _CUDA_SINCE if release is not None and release >= since), None)


def driver_problems(instances: t.Iterable[t.Mapping[str, t.Any]], driver: str | None, host: str) -> list[str]:
    """Return a sentence for each server whose image wants a newer driver than the host's; instances have every key."""
    branch = re.match(r"\d+", driver or "")
    if not branch:
        return []
    problems = []
    for instance in instances:
        cuda = cuda_of(instance["image"])
        oldest = _OLDEST_BRANCH.get(cuda or 0, 0)
        off = instance["state"] == "absent" or not instance["gpus"] or _COMPATIBILITY in instance["env"]
        if off or int(branch.group()) >= oldest:
            continue
        advice = f"update the driver to {oldest} or newer"
        if cuda == 13 and int(branch.group()) >= _OLDEST_BRANCH[12] and "-cu" not in tag_of(instance["image"]):
            advice += f", or use the image {instance['image'].partition('@')[0]}-cu129"
        problems.append(
            f"server {instance['name']} on {host}: {instance['image']} holds CUDA {cuda}, which the driver {driver} "
            f"is too old for; {advice}"
        )
    return problems
