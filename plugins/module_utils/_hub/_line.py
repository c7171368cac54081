# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast the last download of this host was, kept for the next plan."""

from __future__ import annotations

import contextlib
import json
import os

from .. import _paths
from .._replace import Draft, ReplaceError, read_file

PATH = os.path.join(_paths.MEASURED, "downloads.json")
LIMIT = 4096
# What takes a moment says more of the hub's answers than of the line.
ENOUGH = 64 * 1024 * 1024


def read_rate(path: str = "") -> int | None:
    """Return the bytes a second of the last download; None where none was measured."""
    with contextlib.suppress(ReplaceError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        found = json.loads((read_file(path or PATH, LIMIT) or b"").decode("utf-8"))
        rate = int(found["bytes"] / found["seconds"]) if found["seconds"] > 0 else 0
        return rate if rate > 0 else None
    return None


def keep_rate(size: int, seconds: float, path: str = "") -> None:
    """Keep how long so many bytes took, when they were enough to tell. It is a courtesy to the next plan."""
    if size < ENOUGH or seconds <= 0:
        return
    content = json.dumps({"bytes": size, "seconds": round(seconds, 3)}, sort_keys=True) + "\n"
    with contextlib.suppress(ReplaceError, OSError), Draft(path or PATH, content.encode("ascii"), 0o644) as draft:
        draft.publish()
