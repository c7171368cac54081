# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI's persisted settings: a flat mapping from dotted keys to JSON values.

Its API stores whatever it is sent, under whatever key, and says 200. What is declared is therefore held against what
the server reports: the key must be there, and the value of the same kind.
"""

from __future__ import annotations

import difflib
import re
import typing as t

from . import _shape

# Settings with more to them than one value, and the module that knows it.
MANAGED_ELSEWHERE = {
    "openai.api_base_urls": "open_webui_connection",
    "openai.api_configs": "open_webui_connection",
    "openai.api_keys": "open_webui_connection",
}

# Where Open WebUI takes any text and then cannot work with it. Roles: its accounts; the durations: its parse_duration.
ALLOWED: dict[str, tuple[str, str]] = {
    "ui.default_user_role": (r"pending|user|admin", "pending, user or admin"),
    "auth.jwt_expiry": (r"-1|0|(\d+(\.\d+)?(ms|s|m|h|d|w))+", "a duration such as 4w, 12h or 1h30m, or -1 for no end"),
}


_SECRET = re.compile(r"(^|[._])(key|keys|secret|password|token|sk|api_auth|connections|headers|webhook_url)$")

Settings = t.Mapping[str, t.Any]


class SettingsError(ValueError):
    """What is asked for cannot be done; the text is meant for the user."""


def is_secret(key: str, value: t.Any) -> bool:
    """Say whether a setting holds something to hide; switches and numbers do not, whatever they are called.

    >>> is_secret("rag.openai.api_key", "sk-1"), is_secret("auth.enable_api_keys", True)
    (True, False)
    """
    return bool(_SECRET.search(key)) and isinstance(value, (str, list, dict))


def from_api(exported: t.Any) -> dict[str, t.Any]:
    """Return the settings in Open WebUI's export of them."""
    settings = _shape.mapping(exported)
    if not settings:
        raise _shape.ShapeError("it has no setting at all")
    return settings


def outlive_a_restart(exported: t.Any) -> bool:
    """Say whether Open WebUI keeps its oauth settings, rather than take them from its environment at each start."""
    return _shape.field(exported, "ENABLE_OAUTH_PERSISTENT_CONFIG") is True


def problems(wanted: Settings, current: Settings) -> list[str]:
    """Return all that is wrong with the declared settings, without a secret; an empty list when nothing is wrong."""
    found = []
    for key in sorted(wanted):
        value = wanted[key]
        if key in MANAGED_ELSEWHERE:
            found.append(f"{key} belongs to the module {MANAGED_ELSEWHERE[key]}")
        elif key not in current:
            found.append(_unknown(key, value, current))
        else:
            found += _value_problems(key, value, current[key])
    return found


def _unknown(key: str, value: t.Any, current: Settings) -> str:
    if isinstance(value, dict) and any(one.startswith(f"{key}.") for one in current):
        inner = ", ".join(f"{key}.{name}" for name in value)
        return f"{key} is not a setting but the beginning of some: write {inner} with the dots in the key"
    close = difflib.get_close_matches(key, list(current), n=3, cutoff=0.7)
    hint = f"; close to it: {', '.join(close)}" if close else ""
    return f"{key} is not a setting of this Open WebUI{hint}"


def _value_problems(key: str, value: t.Any, now: t.Any) -> list[str]:
    if value is None:
        # Only a text, and what is null already, can be meant to be empty.
        return [] if now is None or isinstance(now, str) else [f"{key} takes {_kind(now)}, not null"]
    if now is not None and _kind(value) != _kind(now):
        shown = "" if is_secret(key, value) or not isinstance(value, str) else f" {value!r}"
        return [f"{key} takes {_kind(now)}, not {_kind(value)}{shown}"]
    if isinstance(now, int) and isinstance(value, float) and not value.is_integer():
        return [f"{key} takes a whole number, not {value}"]
    if key in ALLOWED and not re.fullmatch(ALLOWED[key][0], str(value)):
        return [f"{key} takes {ALLOWED[key][1]}, not {value!r}"]
    return []


def misplaced(settings: Settings, secrets: Settings) -> list[str]:
    """Return the settings that are in the wrong one of the two options, or in both."""
    found = [
        f"{key} is a secret, which settings would show: put it into secret_settings"
        for key, value in sorted(settings.items())
        if value and is_secret(key, value)
    ]
    return found + [f"{key} is in settings and in secret_settings" for key in sorted(set(settings) & set(secrets))]


def forgotten(wanted: Settings) -> list[str]:
    """Warn of settings that Open WebUI takes from its environment at each start."""
    keys = ", ".join(key for key in sorted(wanted) if key.startswith("oauth."))
    why = "for it has no ENABLE_OAUTH_PERSISTENT_CONFIG=true in its environment"
    return [f"{keys} would be lost at its next start, {why}: set them there"]


def same(mine: t.Any, theirs: t.Any) -> bool:
    """Say whether two values are the same to Open WebUI. In Python alone, true would be 1."""
    return _kind(mine) == _kind(theirs) and mine == theirs


def differing(wanted: Settings, current: Settings) -> dict[str, t.Any]:
    """Return the declared settings that have another value now."""
    return {key: value for key, value in wanted.items() if key not in current or not same(value, current[key])}


def shown(settings: Settings, keys: t.Iterable[str], earlier: Settings | None = None) -> dict[str, t.Any]:
    """Return settings as results and diffs show them: of a secret, whether it is set and whether it is another one."""
    result: dict[str, t.Any] = {}
    for key in sorted(keys):
        value = settings.get(key)
        if not is_secret(key, value):
            result[key] = value
        elif not value:
            result[key] = "none"
        else:
            another = earlier is not None and bool(earlier.get(key)) and not same(earlier[key], value)
            result[key] = "set (another one)" if another else "set"
    return result


def _kind(value: t.Any) -> str:
    return _shape.kind(value, "a dictionary")
