# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof that containers get GPUs: which image to try it with, what to run, and what its answer means."""

from __future__ import annotations

import typing as t

from ._nvidia_smi import parse_list

# NVIDIA's base images set one of these, and all that is built upon them inherits it.
_MARKS = ("NVIDIA_VISIBLE_DEVICES=", "CUDA_VERSION=")

# By which one knows the container, should it be left behind.
LABEL = "private_llm.fleet.gpu_container_check"

Mapping = t.Mapping[str, t.Any]


def choose_image(images: t.Iterable[Mapping]) -> Mapping | None:
    """Choose the smallest image, of those that the engine describes, that is made for GPUs."""
    made_for_gpus = [
        image
        for image in images
        if any(str(one).startswith(_MARKS) for one in (image.get("Config") or {}).get("Env") or [])
    ]
    return min(made_for_gpus, key=lambda image: int(image.get("Size") or 0), default=None)


def name_of(image: Mapping) -> str:
    tags = image.get("RepoTags") or []
    return str(tags[0] if tags else image["Id"])


def wanted_uuids(gpus: t.Iterable[Mapping]) -> list[str]:
    """Return the UUIDs of all whole GPUs and MIG devices that can be used now."""
    wanted: list[str] = []
    for gpu in gpus:
        if gpu["problem"] or not gpu["uuid"]:
            continue
        wanted += [gpu["uuid"]] if gpu["mig"]["mode"] != "enabled" else [one["uuid"] for one in gpu["mig"]["devices"]]
    return wanted


def container_body(image: str, device_request: Mapping) -> dict[str, t.Any]:
    """Describe a container that lists its GPUs and ends. The toolkit brings the program in from the host.

    A terminal makes its output come as it is written. Whether the driver is new enough for the image's CUDA is another
    question, so what the image demands is passed over.
    """
    return {
        "Image": image,
        "Entrypoint": ["nvidia-smi"],
        "Cmd": ["-L"],
        "Env": ["NVIDIA_DRIVER_CAPABILITIES=utility", "NVIDIA_DISABLE_REQUIRE=true"],
        "Tty": True,
        "Labels": {LABEL: "true"},
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": {"Type": "json-file", "Config": {}},
            "DeviceRequests": [device_request],
        },
    }


def seen_uuids(output: str) -> list[str]:
    """Return the UUIDs in the container's answer. A divided GPU counts by its parts."""
    seen: list[str] = []
    for gpu in parse_list(output):
        seen += [part["uuid"] for part in gpu["mig"]] or [gpu["uuid"]]
    return seen
