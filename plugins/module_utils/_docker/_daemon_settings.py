# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge settings into daemon.json key by key, and the one rule that ``dockerd --validate`` does not know."""

from __future__ import annotations

import typing as t

from ._daemon_json import (
    DaemonJson,
    DaemonJsonError,
    kind_of,
)

# What dockerd has without being told. It also takes the name of any containerd shim, which has dots in it.
STOCK_RUNTIME = "runc"


def plan_settings(
    before: DaemonJson,
    settings: t.Mapping[str, t.Any],
    absent: t.Sequence[str] = (),
    also_known: t.Collection[str] = (),
) -> DaemonJson:
    """Return the wanted state of the file: objects merged, all else replaced, the keys in ``absent`` removed.

    ``also_known`` are the runtimes that dockerd is given by its command line.
    """
    after = before
    for key in absent:
        if not key:
            raise DaemonJsonError("absent holds an empty key")
        if _reach(settings, key):
            raise DaemonJsonError(f"{key} is in settings and in absent; decide for one")
        for path in _reach(before.data, key):
            after = after.delete(path)
    for name, value in settings.items():
        after = _merge(after, [str(name)], value)
    check_default_runtime(after, also_known)
    return after


def check_default_runtime(after: DaemonJson, also_known: t.Collection[str] = ()) -> None:
    """Refuse a default runtime that dockerd does not know: it does not start then, and its own validation misses it."""
    default = after.get(["default-runtime"])
    if default is None or default == "":
        return
    where = after.where(["default-runtime"])
    if not isinstance(default, str):
        raise DaemonJsonError(
            f'{where}: "default-runtime" must be a name, not {kind_of(default)}; dockerd would not start'
        )
    known = set(after.object_at(["runtimes"])).union(also_known)
    if default in known or default == STOCK_RUNTIME or ("." in default and "/" not in default):
        return
    raise DaemonJsonError(
        f'{where}: "default-runtime" is {default}, which no entry of "runtimes" defines '
        f"(there are: {', '.join([STOCK_RUNTIME, *sorted(known)])}); dockerd would not start"
    )


def _reach(data: t.Any, key: str) -> list[list[str]]:
    """Return all paths that a key with dots leads to: as it is, and with each dot as a step into an object."""
    if not isinstance(data, dict):
        return []
    found = [[key]] if key in data else []
    for at, char in enumerate(key):
        if char == "." and key[:at] in data:
            found += [[key[:at], *rest] for rest in _reach(data[key[:at]], key[at + 1 :])]
    return found


def _merge(document: DaemonJson, path: list[str], value: t.Any) -> DaemonJson:
    if value is None:
        raise DaemonJsonError("{} is null; to take a key out, list it in absent".format(".".join(path)))
    if not isinstance(value, dict) or not value or not isinstance(document.get(path), dict):
        if value == {} and isinstance(document.get(path), dict):
            return document
        return document.set(path, value)
    for key, inner in value.items():
        document = _merge(document, [*path, str(key)], inner)
    return document
