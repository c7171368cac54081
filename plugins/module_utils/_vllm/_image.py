# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Which release of vLLM an image holds: its tag says it, or something in the image does, or the image is asked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._cache import ROOT
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._container import env_of
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import Release, release_of

if t.TYPE_CHECKING:
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import Engine

ANSWERS = "releases.json"  # what images answered, by their ids
ASK_SECONDS = 120

# The published images have the first; the label is the one that many builders set.
_ENV = "VLLM_IMAGE_TAG"
_LABEL = "org.opencontainers.image.version"

_ASK = ("python3", "-c", "import importlib.metadata as m; print('vllm', m.version('vllm'))")
_ANSWER = re.compile(r"^vllm (\d+)\.(\d+)\.(\d+)", re.MULTILINE)


def release_in(
    engine: Engine, reference: str, image: t.Mapping[str, t.Any] | None, remember: bool = True, root: str = ROOT
) -> Release | None:
    """The release; None when nothing tells it, as with an image that is not on the host yet."""
    release = release_of(reference)
    if release is not None or image is None:
        return release
    config = image.get("Config") or {}
    for text in (env_of(config).get(_ENV, ""), str((config.get("Labels") or {}).get(_LABEL) or "")):
        release = release_of(text if ":" in text else f"image:{text}")
        if release is not None:
            return release
    return _asked(engine, str(image.get("Id") or ""), os.path.join(root, ANSWERS), remember)


def _asked(engine: Engine, image_id: str, path: str, remember: bool) -> Release | None:
    """What a container of the image says, which leaves nothing behind; an image answers once and for all."""
    answers = _read(path)
    if image_id not in answers:
        try:
            match = _ANSWER.search(engine.run_once(image_id, _ASK, ASK_SECONDS))
        except EngineError:
            match = None
        answers[image_id] = [int(part) for part in match.groups()] if match else None
        if remember:
            _write(path, answers)
    found = answers[image_id]
    return (found[0], found[1], found[2]) if found else None


def _read(path: str) -> dict[str, t.Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: str, answers: t.Mapping[str, t.Any]) -> None:
    """Keep the answers; where that cannot be, the image is asked again the next time."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path))
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(answers, stream, sort_keys=True)
        os.replace(temporary, path)
