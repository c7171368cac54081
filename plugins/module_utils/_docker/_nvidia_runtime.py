# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The NVIDIA runtime in daemon.json: what is there, what is wanted, what has to change."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ._daemon_json import (
    DaemonJson,
    DaemonJsonError,
)
from ._daemon_settings import (
    STOCK_RUNTIME,
    check_default_runtime,
)

# Where the packages put the runtime: what its bare name will mean once they are installed.
PACKAGED_FOLDER = "/usr/bin"

# What dockerd was seen to take, and what can be written on a command line without quotes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

Resolve = t.Callable[[str], t.Optional[str]]


def plan_runtime(
    before: DaemonJson,
    name: str,
    runtime_path: str,
    set_as_default: bool | None = None,
    cdi: bool | None = None,
    present: bool = True,
    resolve: Resolve = lambda command: None,
    also_known: t.Collection[str] = (),
) -> DaemonJson:
    """Return the wanted state of the file. ``resolve`` finds a command as dockerd will, or returns None.

    ``also_known`` are the runtimes that dockerd is given by its command line.
    """
    if name == STOCK_RUNTIME:
        raise DaemonJsonError(f"{name!r} is dockerd's own runtime; give the NVIDIA runtime another name")
    if not _NAME.fullmatch(name):
        raise DaemonJsonError(
            f"name {name[:100]!a} cannot be that of a runtime; take letters, digits, dots, dashes and underscores"
        )
    if not runtime_path.strip() or runtime_path != runtime_path.strip() or not runtime_path.isprintable():
        raise DaemonJsonError(
            f"runtime_path {runtime_path[:200]!a} is not a command; give its name or its absolute path"
        )
    runtimes = before.object_at(["runtimes"])
    before.object_at(["features"])

    after = before
    if present:
        after = _with_runtime(after, name, runtime_path, resolve)
        if set_as_default is True:
            after = after.set(["default-runtime"], name)
    elif name in runtimes:
        # When it was the only one an empty object stays: dockerd takes that up on a reload, a missing key at a restart.
        after = after.delete(["runtimes", name])
    if (set_as_default is False or not present) and after.get(["default-runtime"]) == name:
        after = after.set(["default-runtime"], STOCK_RUNTIME)
    if cdi is not None:
        after = after.set(["features", "cdi"], cdi)
    check_default_runtime(after, also_known)
    return after


def _with_runtime(before: DaemonJson, name: str, runtime_path: str, resolve: Resolve) -> DaemonJson:
    entry_at = ["runtimes", name]
    entry = before.object_at(entry_at)
    if not entry:
        return before.set(entry_at, {"path": runtime_path, "args": []})
    if _is_shim_of(entry, runtime_path, resolve):
        return before
    if entry.get("path") is None and entry.get("runtimeType") is not None:
        raise DaemonJsonError(
            f"{before.where(entry_at)}: the runtime {name} is of runtimeType {entry['runtimeType']}, beside which "
            "dockerd allows no path; take the entry out or choose another name"
        )
    if same_command(entry.get("path"), runtime_path, resolve):
        return before
    # The entry may carry arguments of its owner: only the path is ours.
    return before.set([*entry_at, "path"], runtime_path)


def _is_shim_of(entry: t.Mapping[str, t.Any], runtime_path: str, resolve: Resolve) -> bool:
    """Recognize the other way to write the same runtime: containerd's runc shim, told to run another binary."""
    options = entry.get("options")
    if (
        entry.get("path") is not None
        or entry.get("runtimeType") != "io.containerd.runc.v2"
        or not isinstance(options, dict)
    ):
        return False
    return same_command(options.get("BinaryName"), runtime_path, resolve)


def same_command(has: t.Any, wanted: str, resolve: Resolve) -> bool:
    """Say whether both are the same command: a bare name equals the absolute path that it leads to."""
    if not isinstance(has, str):
        return False
    return has == wanted or _absolute(has, resolve) == _absolute(wanted, resolve)


def _absolute(command: str, resolve: Resolve) -> str:
    if "/" in command:
        return command
    return resolve(command) or posixpath.join(PACKAGED_FOLDER, command)
