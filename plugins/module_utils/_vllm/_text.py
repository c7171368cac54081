# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Words for error messages: what a value is, and which known name comes nearest to a mistyped one."""

from __future__ import annotations

import difflib
import typing as t


def nearest(name: str, candidates: t.Iterable[str]) -> str | None:
    """The candidate that ``name`` was most likely meant to be, or None when nothing is near."""
    folded: dict[str, str] = {}
    for candidate in candidates:
        folded.setdefault(_fold(candidate), candidate)
    if _fold(name) in folded:
        return folded[_fold(name)]
    matches = difflib.get_close_matches(_fold(name), list(folded), n=1, cutoff=0.7)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, candidates: t.Iterable[str]) -> str:
    """``"; did you mean X?"`` or nothing at all."""
    match = nearest(name, candidates)
    return f"; did you mean {match}?" if match else ""


def kind(value: object) -> str:
    """What a YAML author would call this value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, t.Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return type(value).__name__


# The longest text of an integer that is read as one; no option comes near it.
_DIGITS = 18


def whole_number(value: object) -> int | None:
    """Return a whole number that is given as such, or in ASCII digits; None for anything else.

    ``str.isdigit`` is true for characters such as a superscript two, which ``int`` does not take.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value) if abs(value) < 10**_DIGITS else None
    if isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS:
            return int(value)
    return None


def _fold(name: str) -> str:
    return name.strip().lstrip("-").replace("-", "_").lower()
