# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of a host that matter to its vLLM servers: models, images, free space, GPUs, containers. Changes nothing."""

from __future__ import annotations

import os
import typing as t

from ..._engine._api import EngineError
from ..._engine._client import Engine
from ..._gpu import _look
from ..container import _labels, _model_files
from . import _measurements

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "names": {"type": "list", "elements": "str", "default": []},
    "models": {"type": "list", "elements": "path", "default": []},
    "images": {"type": "list", "elements": "str", "default": []},
    "folders": {"type": "list", "elements": "path", "default": []},
    "paths": {"type": "list", "elements": "path", "default": []},
    "gpus": {"type": "bool", "default": True},
}

IMAGE_FOLDER = "/var/lib/docker"
GPU_TIMEOUT = 20.0


def look(wanted: t.Mapping[str, t.Any], find_program: t.Callable[..., str | None]) -> dict[str, t.Any]:
    """Return what the host has of what is wanted, by the names of `ARGUMENTS`; what cannot be told is None."""
    result: dict[str, t.Any] = {
        "gpu": None,
        "models": {folder: _model_files.look(folder) for folder in wanted["models"]},
        "images": dict.fromkeys(wanted["images"]),
        "image_folder": {"path": IMAGE_FOLDER},
        "folders": {folder: room(folder) for folder in wanted["folders"]},
        "paths": {path: os.path.exists(path) for path in wanted["paths"]},
        "containers": [],
        "measured": {name: _measurements.read(name) for name in wanted["names"]},
    }
    ask_engine(result)
    result["image_folder"].update(room(result["image_folder"]["path"]))
    if wanted["gpus"]:
        program = find_program("nvidia-smi", opt_dirs=_look.OTHER_FOLDERS)
        result["gpu"] = _look.look(_look.asker(program, GPU_TIMEOUT) if program else None, GPU_TIMEOUT)
    return result


def existing(folder: str) -> str:
    """Return the folder, or the nearest one above it that is there."""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder or os.curdir


def room(folder: str) -> dict[str, int]:
    """Return the bytes that are free where the folder is, or will be."""
    there = existing(folder)
    numbers = os.statvfs(there)
    return {"free": numbers.f_bavail * numbers.f_frsize, "device": os.stat(there).st_dev}


def running(engine: Engine) -> list[dict[str, t.Any]]:
    """Return the containers that run, and which of them are servers of this collection."""
    rows = []
    for row in engine.containers():
        labels = row.get("Labels") or {}
        server = labels.get(_labels.LABEL_NAME) if _labels.is_managed({"Config": {"Labels": labels}}) else None
        names = [str(name).lstrip("/") for name in row.get("Names") or []]
        rows.append({"id": str(row["Id"]), "name": names[0] if names else "", "server": server})
    return rows


def ask_engine(result: dict[str, t.Any]) -> None:
    """Fill in what only the engine knows; a host where it cannot be asked keeps what is there."""
    try:
        engine = Engine.connect()
        result["image_folder"]["path"] = str(engine.info().get("DockerRootDir") or IMAGE_FOLDER)
        result["images"] = {image: engine.inspect_image(image) is not None for image in result["images"]}
        result["containers"] = running(engine)
    except EngineError:
        return
