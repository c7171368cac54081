# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model's config.json before any weight is fetched: from its release on the host, else this one file from the hub."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t

from .._regular import regular
from ._files import Entry

NAME = "config.json"
LIMIT = 4 * 2**20


def model_config(
    release: str, entries: t.Iterable[Entry], ask: t.Callable[[str], bytes | None]
) -> dict[str, t.Any] | None:
    """Return the configuration of the release in ``release``, there yet or not; None where that would cost more.

    ``ask`` asks the source for it, and returns None where the source does not tell.
    """
    wanted = next((entry for entry in entries if entry.path == NAME and entry.size <= LIMIT), None)
    if wanted is None:
        return None
    try:
        with open(os.path.join(release, NAME), "rb", opener=regular) as stream:
            return _parse(stream.read())
    except OSError:
        pass  # not published yet
    content = ask(NAME)
    if content is None or (wanted.sha256 and hashlib.sha256(content).hexdigest() != wanted.sha256):
        return None
    return _parse(content)


def _parse(content: bytes) -> dict[str, t.Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
