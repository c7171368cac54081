# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words for error messages: what a value is, and which known name comes nearest to a mistyped one."""

from __future__ import annotations

import difflib
import math
import typing as t

from ..._printable import is_unicode


def nearest(name: str, candidates: t.Iterable[str]) -> str | None:
    """Return the candidate that ``name`` was most likely meant to be, or None when nothing is near."""
    folded: dict[str, str] = {}
    for candidate in candidates:
        folded.setdefault(_fold(candidate), candidate)
    if _fold(name) in folded:
        return folded[_fold(name)]
    matches = difflib.get_close_matches(_fold(name), list(folded), n=1, cutoff=0.7)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, candidates: t.Iterable[str]) -> str:
    """Return ``"; did you mean X?"``, or an empty text when no candidate is near."""
    match = nearest(name, candidates)
    return f"; did you mean {match}?" if match else ""


def kind(value: object) -> str:
    """Return what a YAML author would call the type of this value."""
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


def shown(value: object, longest: int = 80) -> str:
    """Return a value as it may be quoted in a message: in one line, and cut where it is long."""
    try:
        text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else kind(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of too many digits"
    return text if len(text) <= longest else f"{text[:longest]}…"


def value_problem(value: object) -> str | None:
    """Return why no configuration can hold this value, or None.

    YAML has values that neither JSON nor an argument can carry: dates, sets, infinity, a list that holds itself.
    """
    return _value_problem(value, (), [0])


def _value_problem(value: object, within: tuple[int, ...], count: list[int]) -> str | None:
    count[0] += 1
    if id(value) in within:
        return "holds itself (a YAML anchor within its own value)"
    if len(within) > _DEEPEST or count[0] > _MOST:
        return f"is nested more than {_DEEPEST} deep, or holds more than {_MOST:,} values"
    if isinstance(value, (t.Mapping, list, tuple)):
        inner = (*within, id(value))
        items: t.Iterable[object] = value
        if isinstance(value, t.Mapping):
            if not all(isinstance(key, (str, int, float)) for key in value):
                return "has a key that is not a text"
            items = [one for pair in value.items() for one in pair]
        return next(filter(None, (_value_problem(item, inner, count) for item in items)), None)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if whole_number(value) is not None else "holds a number of too many digits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"holds {value}, which is not a number that can be used"
    if isinstance(value, str):
        if "\x00" in value:
            return "holds a NUL character, which no argument can carry"
        return None if value.isascii() or is_unicode(value) else "holds half a character, which UTF-8 cannot carry"
    return f"must be a boolean, number, string, list or mapping, not {kind(value)}"


_MOST = 100_000
_DEEPEST = 40


def _fold(name: str) -> str:
    return name.strip().lstrip("-").replace("-", "_").lower()
