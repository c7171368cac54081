#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how fast a bundle is verified, and how many bytes a second bundle has after one shard of ten changed.

    benchmarks/bundle.py

The rate to compare with is sha256sum, one for each processor side by side, on the same blobs. Both read
what was just written, so that the disk does not count. BUNDLE_BYTES bytes (1 GiB) are in ten shards.

The last line is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._folder import Folder
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._making import (
    folder_part,
    make,
)

SHARDS = 10
ROUNDS = 5
BLOCK = 1024 * 1024


def write_shards(folder: Path, size: int) -> None:
    """Write ten files of random bytes."""
    for number in range(SHARDS):
        left = size // SHARDS
        with (folder / f"shard-{number}").open("wb") as stream:
            while left:
                left -= stream.write(os.urandom(min(BLOCK, left)))


def unseen(count: int) -> None:
    """Take no note of bytes."""


def made(folder: Folder, release: Path, earlier: Folder | None = None) -> int:
    """Make a bundle of a release and return how many bytes its folder has."""
    index = earlier.read_index() if earlier else None
    return sum(make([folder_part("wheels", "shards", str(release))], folder, index, unseen).own.values())


def seconds_of_sha256sum(paths: list[str]) -> float:
    """Return how long sha256sum takes for all files, one process for each processor."""
    started = time.monotonic()
    subprocess.run(
        ["xargs", "-0", "-n", "1", "-P", str(len(os.sched_getaffinity(0))), "sha256sum"],
        input="\0".join(paths).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - started


def seconds_of_check(folder: Folder) -> float:
    """Return how long the collection takes for all blobs."""
    index, started = folder.read_index(), time.monotonic()
    if not folder.check(index).whole:
        sys.exit("the bundle is damaged")
    return time.monotonic() - started


def main() -> None:
    """Measure, and print."""
    size = int(os.environ.get("BUNDLE_BYTES", str(1024**3))) // SHARDS * SHARDS
    result: dict[str, Any] = {"bytes": size, "cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory(prefix="bundle-") as place:
        release, first, second = Path(place, "release"), Folder(f"{place}/first"), Folder(f"{place}/second")
        release.mkdir()
        write_shards(release, size)
        made(first, release)
        blobs = [first.blob(sha256) for sha256 in first.read_index().blobs()]
        # In turn, for the machine may be busy with other things now and then; the best of each counts.
        rounds = [(seconds_of_sha256sum(blobs), seconds_of_check(first)) for _round in range(ROUNDS)]
        theirs, ours = (min(times) for times in zip(*rounds, strict=True))
        print(f"sha256sum: {size / theirs / 1e6:.0f} MB/s, bundle: {size / ours / 1e6:.0f} MB/s", flush=True)
        result["hash_ratio"] = round(theirs / ours, 2)
        (release / "shard-3").write_bytes(os.urandom(size // SHARDS))
        result["delta_bytes"] = made(second, release, first)
        result["delta_ratio_to_shard"] = round(result["delta_bytes"] / (size // SHARDS), 3)
        whole = Folder(f"{place}/whole")
        made(whole, release)
        shutil.copytree(second.path, first.path, dirs_exist_ok=True)
        result["delta_makes_whole"] = first.read_index().root == whole.read_index().root and bool(
            first.check(first.read_index()).whole
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
