# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The measurements of a server from the last time it got ready, kept on the host for the next plan."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import typing as t

from ... import _paths
from ..._regular import regular
from ..._replace import write_text
from ..options._release import as_text, release_of

ROOT = _paths.MEASURED

_FROM_START = ("kv_cache_tokens", "max_concurrency", "max_model_len")


def path_of(name: str, root: str = ROOT) -> str:
    return os.path.join(root, f"{name}.measured.json")


def record(facts: t.Mapping[str, t.Any], ready: t.Mapping[str, t.Any], started_at: float) -> dict[str, t.Any] | None:
    """Return what to keep of a start: ``facts`` describe the container, ``ready`` is what it measured.

    None when the start itself was not seen to its end, so that there is nothing certain to keep. The same start always
    gives the same record, so that looking at it again changes nothing.
    """
    seconds = ready.get("seconds")
    if seconds is None or not facts:
        return None
    image = str(facts["image"])
    release = release_of(image)
    at = datetime.datetime.fromtimestamp(started_at + float(seconds), datetime.timezone.utc)
    return {
        "release": as_text(release) if release is not None else None,
        "image": image,
        "config_hash": facts["config_hash"],
        **{key: ready.get(key) for key in _FROM_START},
        "started_in_seconds": seconds,
        "measured_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def kept(name: str, root: str = ROOT, before: str = _paths.MEASURED_BEFORE) -> bool:
    """Say whether there is anything to forget of a server."""
    return any(os.path.exists(path_of(name, one)) for one in (root, before))


def read(name: str, root: str = ROOT, before: str = _paths.MEASURED_BEFORE) -> dict[str, t.Any] | None:
    """Return the record of a server, from where it was kept before where it is nowhere else.

    None when there is none, or the file does not hold a record.
    """
    for one in (root, before):
        try:
            with open(path_of(name, one), encoding="utf-8", opener=regular) as stream:
                found = json.load(stream)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None
    return None


def write(name: str, wanted: t.Mapping[str, t.Any], root: str = ROOT, before: str = _paths.MEASURED_BEFORE) -> None:
    """Keep it, in one step; what is there already is left alone, and what was kept before goes."""
    if read(name, root, root) != dict(wanted):
        write_text(path_of(name, root), json.dumps(wanted, indent=2, sort_keys=True) + "\n", 0o644)
    _forget(name, before)


def remove(name: str, root: str = ROOT, before: str = _paths.MEASURED_BEFORE) -> None:
    """Forget it; a folder goes with its last record."""
    for one in (root, before):
        _forget(name, one)


def _forget(name: str, root: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(name, root))
    with contextlib.suppress(OSError):
        os.rmdir(root)
