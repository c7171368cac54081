# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host says about itself: how many files containers may open, which GPUs CDI can inject, where a model is."""

from __future__ import annotations

import os
import re
import typing as t

from ..._gpu._cdi import CDI_KIND, names_by_file

NOFILE = 65535
_CAP_SYS_RESOURCE = 24

# A folder is a model when it holds one of these; the second is Mistral's own format.
CONFIG_FILES = ("config.json", "params.json")


class ModelError(ValueError):
    """The path is no model."""


def resolve_model(path: str) -> str:
    """Return the folder that the path leads to, all links followed; raise ModelError when it holds no model."""
    resolved = os.path.realpath(path)
    via = "" if resolved == path else f" (which is {resolved})"
    if not os.path.exists(resolved):
        raise ModelError(f"the model {path}{via} does not exist; download it first, or correct model")
    if not os.path.isdir(resolved):
        raise ModelError(f"the model {path}{via} is not a directory; name the directory that holds config.json")
    if not any(os.path.isfile(os.path.join(resolved, name)) for name in CONFIG_FILES):
        raise ModelError(
            f"{os.path.join(resolved, CONFIG_FILES[0])} does not exist, so {path} is not a model that vLLM can serve; "
            "check that the download is complete, or correct model"
        )
    return resolved


def nofile_limit(init_status: str) -> int:
    """Return how many files a container may open: vLLM's wish, or 0 (the engine's own) where limits cannot be raised.

    ``init_status`` is the text of /proc/1/status; its bounding set is what a container runtime can have at most.
    """
    match = re.search(r"^CapBnd:\s*([0-9a-fA-F]+)$", init_status, re.MULTILINE)
    if match and not int(match.group(1), 16) >> _CAP_SYS_RESOURCE & 1:
        return 0
    return NOFILE


def read_init_status() -> str:
    try:
        with open("/proc/1/status", encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


# --- CDI --------------------------------------------------------------------------------------------------------------


def cdi_devices(info: t.Mapping[str, t.Any]) -> set[str]:
    """Return the NVIDIA devices that the engine can inject by CDI, without their kind; empty when it has CDI off.

    ``info`` is the engine's own. Newer engines list the devices; for others the specifications are read.
    """
    directories = info.get("CDISpecDirs") or []
    if not directories:
        return set()
    discovered = info.get("DiscoveredDevices")
    if discovered is not None:
        names = (str(device.get("ID", "")) for device in discovered if device.get("Source") == "cdi")
        return {name.partition("=")[2] for name in names if name.startswith(CDI_KIND + "=")}
    return set().union(*names_by_file(directories).values())


def choose_driver(
    uuids: t.Sequence[str], gpus: t.Sequence[t.Mapping[str, t.Any]], cdi: t.Collection[str]
) -> tuple[str, list[str]]:
    """Return how to ask for these GPUs, and by which names: CDI when it knows all of them, else NVIDIA's runtime.

    CDI keeps a container's GPUs over a reload of systemd, which the runtime's hook does not.
    """
    if not uuids:
        return "nvidia", []
    indices = {str(gpu["uuid"]): str(gpu["index"]) for gpu in gpus}
    names = []
    for uuid in uuids:
        name = uuid if uuid in cdi else indices.get(uuid, "")
        if not name or name not in cdi:
            return "nvidia", list(uuids)
        names.append(f"{CDI_KIND}={name}")
    return "cdi", names


def uuid_of(device: str, gpus: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Return the UUID behind a name in a container's device request: a UUID, an index, or a CDI name of either."""
    name = device.partition("=")[2] if device.startswith(CDI_KIND + "=") else device
    if name.isdigit():
        for gpu in gpus:
            if int(gpu["index"]) == int(name):
                return str(gpu["uuid"])
    return name
