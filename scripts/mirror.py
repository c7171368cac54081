# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the tracked files, for tools that must not see what else lies in a checkout."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from pathlib import Path

from results import ROOT


def tracked_files() -> list[str]:
    """Name the files that git knows and that are there, less the link by which the checkout is a collection."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name and not name.startswith(".collections/")]
    return [name for name in names if (ROOT / name).is_file()]


def mirror(names: list[str], target: Path) -> None:
    """Make `target` hold these files of the checkout and no others, writing only what differs."""
    keep = set(names)
    for path in sorted(target.rglob("*"), reverse=True):
        relative = path.relative_to(target)
        if relative.parts[0] == ".git" or relative.parts[:2] == ("tests", "output"):
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif relative.as_posix() not in keep:
            path.unlink()
    for name in names:
        source, copy = ROOT / name, target / name
        if (
            copy.is_file()
            and filecmp.cmp(source, copy, shallow=False)
            and os.access(source, os.X_OK) == os.access(copy, os.X_OK)
        ):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)
