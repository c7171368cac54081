# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be there before a server starts: its GPUs, the engine's way to them, and its files.

After a boot these come one by one. A container that is started before them fails, or gets an empty folder in place of a
store that is not mounted yet, for the engine makes what a mount lacks.
"""

from __future__ import annotations

import os
import shutil
import typing as t

from .._engine._driver import Driver
from .._gpu import _look
from .._vllm.container import _host, _spec

LOOK_SECONDS = 20.0  # for nvidia-smi, which can hang with its GPU
GPU_TOOL_FOLDERS = ("/usr/lib/wsl/lib", "/run/nvidia/driver/usr/bin", "/opt/bin")


def missing(engine: Driver, container: t.Mapping[str, t.Any]) -> str:
    """Return what is not there yet, in few words; empty when everything is."""
    spec = _spec.spec_of(container)
    for volume in spec.volumes:
        source = volume.split(":")[0]
        if source.startswith("/") and not os.path.exists(source):
            return f"waiting for {source}"
    if spec.model.startswith("/"):
        try:
            _host.resolve_model(spec.model)  # is mounted under its own path
        except _host.ModelError as error:
            return f"waiting for its model: {error}"
    if not spec.gpus:
        return ""
    gpus = _gpus()
    here = {str(gpu["uuid"]) for gpu in gpus} | {str(gpu["index"]) for gpu in gpus}
    lost = [device for device in spec.gpus if _host.uuid_of(device, gpus) not in here and not _is_part(device)]
    if lost:
        return f"waiting for the GPU {lost[0]}"
    if spec.gpu_driver == "cdi":
        offered = _host.cdi_devices(engine.info())
        unknown = [device for device in spec.gpus if device.partition("=")[2] not in offered]
        if unknown:
            return f"waiting for the CDI device {unknown[0]}"
    return ""


def _is_part(device: str) -> bool:
    """Return whether a device is a part of a GPU, which is not in the list of GPUs."""
    name = device.partition("=")[2] or device
    return name.startswith("MIG-") or ":" in name


def _gpus() -> list[dict[str, t.Any]]:
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=os.pathsep.join(GPU_TOOL_FOLDERS))
    found = _look.look(_look.asker(program, LOOK_SECONDS) if program else None, LOOK_SECONDS)
    return list(found["gpus"])
