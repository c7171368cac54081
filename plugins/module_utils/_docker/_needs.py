# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running dockerd needs to take up a changed daemon.json: nothing, a reload (SIGHUP) or a restart."""

from __future__ import annotations

import typing as t

from ._daemon_json import same

NONE = "none"
RELOAD = "reload"
RESTART = "restart"
_ORDER = (NONE, RELOAD, RESTART)

# Keys whose new value dockerd takes up on SIGHUP.
_RELOADABLE = frozenset(
    (
        "allow-nondistributable-artifacts",
        "authorization-plugins",
        "debug",
        "default-runtime",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    )
)
# Taking a key away is not seen by SIGHUP: the old value stays. These go back to their defaults all the same.
_RESET_ON_RELOAD = frozenset(("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"))
# Features dockerd looks at while it runs; all others (cdi, containerd-snapshotter) only at its start.
_LIVE_FEATURES = frozenset(("buildkit",))


def strongest(*needs: str) -> str:
    """Return the strongest of several needs; none for none."""
    return _ORDER[max([_ORDER.index(need) for need in needs], default=0)]


def needs_between(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> str:
    """Return what the engine needs for the step from one configuration to the other."""
    return strongest(*(_need_of(key, before, after) for key in sorted(set(before) | set(after))))


def _need_of(key: str, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> str:
    old, new = before.get(key), after.get(key)
    if same(old, new):
        return NONE
    if key == "features":
        return _need_of_features(old, new)
    # A null, as a missing key, is a value that is not set.
    if new is None:
        return RELOAD if key in _RESET_ON_RELOAD else RESTART
    return RELOAD if key in _RELOADABLE else RESTART


def _need_of_features(old: t.Any, new: t.Any) -> str:
    old = old if isinstance(old, dict) else {}
    new = new if isinstance(new, dict) else {}
    changed = {name for name in set(old) | set(new) if not same(old.get(name), new.get(name))}
    if not changed:
        return NONE
    # Without the key, SIGHUP keeps the old map.
    return RELOAD if changed <= _LIVE_FEATURES and new else RESTART
