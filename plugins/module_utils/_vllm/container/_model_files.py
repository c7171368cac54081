# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a model vLLM reads as weights, and what its config.json says."""

from __future__ import annotations

import json
import os
import re
import typing as t

from ..._replace import ReplaceError, read_file

CONFIG = "config.json"
MISTRAL_CONFIG = "params.json"  # Mistral's own format
_CONFIG_LIMIT = 4 * 2**20

# What vLLM takes first when a folder has several kinds, and what lies beside them without being the model's weights.
_KINDS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_SHARD = re.compile(r"-\d+-of-\d+\.\w+$")
_OTHERS = ("consolidated", "training_args", "optimizer", "scheduler", "rng_state")


def weight_bytes(files: t.Iterable[tuple[str, int]]) -> int | None:
    """Return the bytes that vLLM loads, from paths below the model's folder and their sizes; None without weights.

    Checkpoints in another format that lie beside those in the usual one are not counted, nor is what is in folders.
    """
    top = [(path, size) for path, size in files if "/" not in path]
    for kind in _KINDS:
        found = [(path, size) for path, size in top if path.endswith(kind)]
        own = [(path, size) for path, size in found if not path.startswith(_OTHERS)] or found
        # An index names shards, and vLLM reads no other file then.
        shards = [(path, size) for path, size in own if _SHARD.search(path)]
        indexed = any(path.endswith(f"{kind}.index.json") for path, _size in top)
        if found:
            return sum(size for _path, size in (shards if indexed and shards else own))
    return None


def parse_config(text: str | bytes) -> dict[str, t.Any] | None:
    """Parse a config.json; None when it is not a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def weights_in(folder: str) -> int | None:
    """Return the bytes of weights that vLLM loads from a folder on this host; None where it holds none."""
    try:
        with os.scandir(folder) as entries:
            return weight_bytes([(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()])
    except OSError:
        return None  # not there yet; who wants to serve it tells so


def look(folder: str) -> dict[str, t.Any]:
    """Return the `config` and `weight_bytes` of a model on this host; each is null where it cannot be told."""
    config = None
    for name in (CONFIG, MISTRAL_CONFIG):
        try:
            content = read_file(os.path.join(folder, name), _CONFIG_LIMIT)
        except (OSError, ReplaceError):
            continue
        if content is None:
            continue  # not there yet, or a model in another form; either is told by who wants to serve it
        config = parse_config(content)
        break
    return {"config": config, "weight_bytes": weights_in(folder)}
