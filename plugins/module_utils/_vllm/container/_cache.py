# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where compiled graphs and kernels are kept on the host: folders of each server's own, by image and kind of GPU.

What vLLM compiles depends on its own release, PyTorch's, and the GPU's kind, and is keyed by model and options below
that by vLLM itself. It is code that the server runs, so no server may write what another one loads. An image that has
gone leaves its folders to be removed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import typing as t

from ... import _paths

ROOT = _paths.COMPILED
SERVERS = "servers"  # below the root, with a folder for each server

_ID_AT_END = re.compile(r"-([0-9a-f]{12})$")
_UNFIT = re.compile(r"[^a-z0-9.]+")


class CacheError(ValueError):
    """The folder of a server's kernels cannot be used."""


def directory_of(name: str, tag: str, image_id: str, gpu_names: t.Iterable[str], root: str = ROOT) -> str:
    """Return the folder of a server for an image (the tag is for people, the id tells it apart) and these GPUs."""
    image = f"{_plain(tag) or 'image'}-{image_id.rpartition(':')[2][:12] or 'unknown'}"
    kind = "+".join(sorted({_plain(gpu) for gpu in gpu_names})) or "cpu"
    return os.path.join(root, SERVERS, name, image, kind)


def make(directory: str, root: str = ROOT) -> None:
    """Make the folder. Nothing above it can be written by a container; CacheError where a link is in its place."""
    try:
        os.makedirs(root, mode=0o755, exist_ok=True)
        path = root
        for part in os.path.relpath(directory, root).split(os.sep):
            path = os.path.join(path, part)
            if not os.path.lexists(path):
                os.mkdir(path, 0o755)
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise CacheError(f"{path} is not a folder for compiled kernels; remove what is in its place")
    except OSError as error:
        raise CacheError(
            f"the folder {directory} for compiled kernels cannot be made: {error.strerror or error}; "
            "make room on that disk, or see why root may not write there"
        ) from error


def prune(image_ids: t.Iterable[str], root: str = ROOT) -> list[str]:
    """Remove the folders of images that are no longer on the host; return their paths below the root."""
    there = {image_id.rpartition(":")[2][:12] for image_id in image_ids}
    gone = []
    for folder in ("", *(os.path.join(SERVERS, name) for name in _listed(os.path.join(root, SERVERS)))):
        for name in _listed(os.path.join(root, folder)):
            match = _ID_AT_END.search(name)
            if match and match.group(1) not in there:
                shutil.rmtree(os.path.join(root, folder, name), ignore_errors=True)
                gone.append(os.path.join(folder, name))
    return gone


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _plain(text: str) -> str:
    return _UNFIT.sub("-", text.lower()).strip("-.")
