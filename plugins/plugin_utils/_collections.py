# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Where Ansible finds collections on this machine, and which others they need."""

from __future__ import annotations

import importlib
import json
import os
import typing as t

import yaml

from ..module_utils._bundle._index import BundleError
from ..module_utils._regular import regular


def folder_of(name: str) -> str:
    """Return the folder that Ansible takes a collection from."""
    try:
        found = importlib.import_module(f"ansible_collections.{name}")
        return os.path.realpath(next(iter(found.__path__)))
    except (ImportError, StopIteration, ValueError) as error:
        raise BundleError(
            f"the collection {name} is not on this machine; install it with ansible-galaxy collection install {name}"
        ) from error


def described(path: str) -> tuple[dict[str, t.Any], list[str]]:
    """Return what a collection says of itself, and the patterns of files that do not belong to it."""
    try:
        manifest = os.path.join(path, "MANIFEST.json")
        if os.path.exists(manifest):
            with open(manifest, encoding="utf-8", opener=regular) as stream:
                return dict(json.load(stream)["collection_info"]), []
        # A checkout.
        with open(os.path.join(path, "galaxy.yml"), encoding="utf-8", opener=regular) as stream:
            told = dict(yaml.safe_load(stream))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise BundleError(f"{path} is not a collection with MANIFEST.json or galaxy.yml: {error}") from error
    return told, [str(one) for one in told.get("build_ignore") or []]


def closure(names: t.Sequence[str], folder: t.Callable[[str], str] = folder_of) -> list[dict[str, t.Any]]:
    """Return collections and all that they need, by their names."""
    found: dict[str, dict[str, t.Any]] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = folder(name)
        info, ignore = described(path)
        found[name] = {"path": path, "info": info, "ignore": ignore}
        waiting.extend(info.get("dependencies") or {})
    return [found[name] for name in sorted(found)]
