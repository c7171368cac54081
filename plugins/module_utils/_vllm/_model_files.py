# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Which files of a model vLLM reads as weights, and what its config.json says."""

from __future__ import annotations

import json
import os
import typing as t

CONFIG = "config.json"
_CONFIG_LIMIT = 4 * 2**20

# What vLLM takes first when a folder has several kinds, and what lies beside them without being the model's weights.
_KINDS = (".safetensors", ".bin", ".pt")
_OTHERS = ("consolidated", "training_args", "optimizer", "scheduler", "rng_state")


def weight_bytes(files: t.Iterable[tuple[str, int]]) -> int | None:
    """Bytes that vLLM loads, from paths below the model's folder and their sizes; None when no file holds weights.

    Checkpoints in another format that lie beside those in the usual one are not counted, nor is what is in folders.
    """
    top = [(path, size) for path, size in files if "/" not in path]
    for kind in _KINDS:
        found = [(path, size) for path, size in top if path.endswith(kind)]
        own = [size for path, size in found if not path.startswith(_OTHERS)]
        if found:
            return sum(own) if own else sum(size for _path, size in found)
    return None


def parse_config(text: str | bytes) -> dict[str, t.Any] | None:
    """A config.json; None when it is no JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def look(folder: str) -> dict[str, t.Any]:
    """The `config` and `weight_bytes` of a model on this host; each null where it cannot be told."""
    config = None
    files: list[tuple[str, int]] = []
    try:
        with open(os.path.join(folder, CONFIG), "rb") as stream:
            config = parse_config(stream.read(_CONFIG_LIMIT))
        files = [(entry.name, entry.stat().st_size) for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        pass  # not there yet, or no model in the usual form; either is told by who wants to serve it
    return {"config": config, "weight_bytes": weight_bytes(files)}
