# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Where compiled graphs and kernels are kept on the host: one folder for each image and kind of GPU.

What vLLM compiles depends on its own release, PyTorch's, and the GPU's kind, and is keyed by model and options below
that by vLLM itself. Servers of one image and kind share the kernels there; what vLLM writes by itself is in a folder of
each server's own (see `_container.cache_env`). An image that has gone leaves its folder to be removed.
"""

from __future__ import annotations

import os
import re
import shutil
import typing as t

ROOT = "/var/cache/private_llm/vllm"

_ID_AT_END = re.compile(r"-([0-9a-f]{12})$")
_UNFIT = re.compile(r"[^a-z0-9.]+")


def directory_of(tag: str, image_id: str, gpu_names: t.Iterable[str], root: str = ROOT) -> str:
    """The folder for an image (its tag is there for people, its id tells it apart) and GPUs of these names."""
    image = f"{_plain(tag) or 'image'}-{image_id.rpartition(':')[2][:12] or 'unknown'}"
    kind = "+".join(sorted({_plain(name) for name in gpu_names})) or "cpu"
    return os.path.join(root, image, kind)


def prune(image_ids: t.Iterable[str], root: str = ROOT) -> list[str]:
    """Remove the folders of images that are no longer on the host; returns their names."""
    there = {image_id.rpartition(":")[2][:12] for image_id in image_ids}
    try:
        names = os.listdir(root)
    except OSError:
        return []
    gone = []
    for name in sorted(names):
        match = _ID_AT_END.search(name)
        if match and match.group(1) not in there:
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)
            gone.append(name)
    return gone


def _plain(text: str) -> str:
    return _UNFIT.sub("-", text.lower()).strip("-.")
