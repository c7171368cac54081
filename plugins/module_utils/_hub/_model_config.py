# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model's config.json before any weight is fetched: from its release on the host, else this one file from the hub."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from urllib.parse import quote, urlencode

from . import _huggingface, _modelscope
from ._files import Entry
from ._manifest import Origin

NAME = "config.json"
LIMIT = 4 * 2**20


def model_config(
    release: str, entries: t.Iterable[Entry], ask: t.Callable[[], bytes | None]
) -> dict[str, t.Any] | None:
    """Return the configuration of the release in ``release``, there yet or not; None where that would cost more.

    ``ask`` asks the source for it, and returns None where the source does not tell.
    """
    wanted = next((entry for entry in entries if entry.path == NAME and entry.size <= LIMIT), None)
    if wanted is None:
        return None
    try:
        with open(os.path.join(release, NAME), "rb") as stream:
            return _parse(stream.read())
    except OSError:
        pass  # not published yet
    content = ask()
    if content is None or (wanted.sha256 and hashlib.sha256(content).hexdigest() != wanted.sha256):
        return None
    return _parse(content)


def from_hub(origin: Origin, token: str | None, timeout: float, ca_path: str | None) -> bytes | None:
    """Return the file from a hub that has an address for each file; None where it refuses, and from other sources."""
    url = file_url(origin, NAME)
    if url is None:
        return None
    from . import _transport as transport

    # Each hub gets its token in its own way, and no hub that of another.
    headers = (_huggingface if origin.source == "huggingface" else _modelscope).headers(token)
    try:
        return transport.get(url, headers, timeout, ca_path)
    except transport.TransportError:
        return None


def file_url(origin: Origin, path: str) -> str | None:
    """Return where a source has one small file of a revision; None for a source that has no such address."""
    revision = origin.commit or origin.revision
    if origin.source == "modelscope":
        query = urlencode({"Revision": revision, "FilePath": path})
        return f"{origin.endpoint}/api/v1/models/{quote(origin.repo)}/repo?{query}"
    if origin.source == "huggingface":
        return f"{origin.endpoint}/{quote(origin.repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return None


def _parse(content: bytes) -> dict[str, t.Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
