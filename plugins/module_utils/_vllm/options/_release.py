# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which vLLM release an image holds, as far as its tag says."""

from __future__ import annotations

import re
import typing as t

Release = t.Tuple[int, int, int]

# v0.32.0, 0.32.0, v0.32.0-cu129, v0.32.0-x86_64, v0.33.0rc1: a release (candidate) and perhaps a variant.
_TAG = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)(?:rc\d+|\.post\d+)?(?:[-+_].*)?$")


def tag_of(image: str) -> str:
    """Return the tag of an image reference; empty when it has none."""
    last = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return last.partition(":")[2]


def repository_of(image: str) -> str:
    """Return the image reference without tag and digest."""
    reference = image.split("@", 1)[0]
    tag = tag_of(image)
    return reference[: -len(tag) - 1] if tag else reference


def release_of(image: str) -> Release | None:
    """Return the vLLM release in the image's tag, or None for tags like ``latest``, a digest, or none at all."""
    match = _TAG.match(tag_of(image))
    if not match:
        return None
    return (int(match.group(1)), int(match.group(2)), int(match.group(3)))


def as_text(release: Release) -> str:
    return ".".join(str(part) for part in release)
