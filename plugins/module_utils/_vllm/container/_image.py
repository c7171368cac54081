# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release of vLLM an image holds: its tag says it, or something in the image does, or the image is asked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import typing as t

from ..._engine._api import EngineError
from ..._regular import regular
from ..options._release import Release, release_of
from ._cache import ROOT
from ._spec import env_of

if t.TYPE_CHECKING:
    from ..._engine._driver import Driver

ANSWERS = "releases.json"  # what images answered, by their ids
ASK_SECONDS = 120

# The published images have the first; the label is the one that many builders set.
_ENV = "VLLM_IMAGE_TAG"
_LABEL = "org.opencontainers.image.version"

_ASK = ("python3", "-c", "import importlib.metadata as m; print('vllm', m.version('vllm'))")
_ANSWER = re.compile(r"^vllm (\d+)\.(\d+)\.(\d+)", re.MULTILINE)


def release_in(
    engine: Driver, reference: str, image: t.Mapping[str, t.Any] | None, may_ask: bool = True, root: str = ROOT
) -> Release | None:
    """Return the release; None when nothing tells it, as with an image that is not on the host yet.

    Without ``may_ask`` no container is started; what the image answered before is used all the same.
    """
    release = release_of(reference)
    if release is not None or image is None:
        return release
    config = image.get("Config") or {}
    for text in (env_of(config).get(_ENV, ""), str((config.get("Labels") or {}).get(_LABEL) or "")):
        release = release_of(text if ":" in text else f"image:{text}")
        if release is not None:
            return release
    return _asked(engine, str(image.get("Id") or ""), os.path.join(root, ANSWERS), may_ask)


def _asked(engine: Driver, image_id: str, path: str, may_ask: bool) -> Release | None:
    """Return what a container of the image says, which leaves nothing behind. Only an answer is remembered."""
    answers = _read(path)
    found = answers.get(image_id)
    if not found and may_ask:
        with contextlib.suppress(EngineError):
            match = _ANSWER.search(engine.run_once(image_id, _ASK, ASK_SECONDS).stdout)
            if match:
                found = [int(part) for part in match.groups()]
                _write(path, {**answers, image_id: found})
    return (found[0], found[1], found[2]) if found else None


def _read(path: str) -> dict[str, t.Any]:
    """Return the answers by image; what an older release noted as no answer, or what makes no sense, is left out."""
    try:
        with open(path, encoding="utf-8", opener=regular) as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return {image: answer for image, answer in found.items() if _is_release(answer)} if isinstance(found, dict) else {}


def _is_release(answer: object) -> bool:
    return isinstance(answer, list) and len(answer) == 3 and all(isinstance(part, int) for part in answer)


def _write(path: str, answers: t.Mapping[str, t.Any]) -> None:
    """Keep the answers; where that cannot be, the image is asked again the next time."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=os.path.dirname(path))
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(answers, stream, sort_keys=True)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
