# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The watch's program on a host: the rooms of this collection that it needs, and a file that starts them.

A module brings the rooms that it imports, so what this process has imported is what the program is made of. Nothing is
written twice, and the host needs no Ansible.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import typing as t

from .. import _paths, _replace
from .._regular import regular

ROOT = _paths.WATCH_PROGRAM
PACKAGE = "private_llm_fleet"
START = f"""import sys

from {PACKAGE}._watch._main import main

sys.exit(main(sys.argv[1:]))
"""
_CACHE = "__pycache__"


class ProgramError(ValueError):
    """The program cannot be put in place."""


def sources(modules: t.Mapping[str, t.Any] | None = None) -> dict[str, str]:
    """Return the text of each of the program's files, by its path."""
    prefix = __name__.rpartition("._watch.")[0]
    files = {"__main__.py": START}
    for name, module in sorted((sys.modules if modules is None else modules).items()):
        if name != prefix and not name.startswith(prefix + "."):
            continue
        path = [PACKAGE, *name[len(prefix) + 1 :].split(".")] if name != prefix else [PACKAGE]
        if hasattr(module, "__path__"):
            files["/".join([*path, "__init__.py"])] = _source(name, module)
        else:
            files["/".join(path) + ".py"] = _source(name, module)
    return files


def _source(name: str, module: t.Any) -> str:
    loader = module.__spec__.loader
    if hasattr(module, "__path__") and not getattr(module, "__file__", None):
        return ""  # a package that is only a folder
    try:
        return loader.get_source(name) or ""
    except (AttributeError, ImportError, OSError) as error:
        raise ProgramError(f"the source of {name} cannot be read: {error}; please report it") from error


def installed(root: str = ROOT) -> dict[str, str]:
    """Return the text of each file that is there, by its path; without what Python compiled."""
    found = {}
    for folder, folders, names in os.walk(root):
        if _CACHE in folders:
            folders.remove(_CACHE)
        for name in names:
            path = os.path.join(folder, name)
            # What is in the place of a file has no text of ours, so it is replaced.
            found[os.path.relpath(path, root)] = ""
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace", opener=regular) as stream:
                found[os.path.relpath(path, root)] = stream.read()
    return found


def install(files: t.Mapping[str, str], root: str = ROOT) -> None:
    """Make the folder hold these files; ProgramError where somebody else could write above them."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    check_owner(root)
    for path in set(installed(root)) - set(files):
        os.unlink(os.path.join(root, path))
    for path, text in files.items():
        _replace.write_text(os.path.join(root, path), text, 0o644)


def check_owner(path: str) -> None:
    """Raise ProgramError when anybody but root can put something in place of this folder."""
    here = path
    while True:
        found = os.lstat(here)
        open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.geteuid()) or open_to_others or stat.S_ISLNK(found.st_mode):
            raise ProgramError(
                f"{here} belongs to another user, is a link, or can be written by others, and root would run what lies"
                f" in {path}; make it root's alone (chown root: {here}; chmod go-w {here})"
            )
        if here == os.path.dirname(here):
            return
        here = os.path.dirname(here)
