# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading Open WebUI's answers without taking their shape for granted.

A list that is not where it is looked for must not look like an empty one: a module would make what is there already, or
replace all of it. So each field that is read has to be there and of its kind; the client adds which call it was, and of
which release.
"""

from __future__ import annotations

import typing as t

THE_ANSWER = "the answer"


class ShapeError(ValueError):
    """An answer is not of the shape that is known; the text says in what."""


def kind(value: t.Any, mapping_is: str = "an object") -> str:
    """Return what kind of JSON value this is, in words; YAML calls an object otherwise.

    >>> kind([]), kind(None), kind(True)
    ('a list', 'null', 'a boolean')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else mapping_is


def mapping(value: t.Any, what: str = THE_ANSWER) -> dict[str, t.Any]:
    """Return a JSON object; ShapeError for anything else."""
    if not isinstance(value, dict):
        raise ShapeError(f"{what} is {kind(value)} instead of an object")
    return value


def listing(value: t.Any, what: str = THE_ANSWER) -> list[t.Any]:
    """Return a JSON list; ShapeError for anything else."""
    if not isinstance(value, list):
        raise ShapeError(f"{what} is {kind(value)} instead of a list")
    return value


def text(value: t.Any, what: str) -> str:
    """Return a text; ShapeError for anything else."""
    if not isinstance(value, str):
        raise ShapeError(f"{what} is {kind(value)} instead of a text")
    return value


def texts(value: t.Any, what: str) -> list[str]:
    """Return a list of texts; ShapeError for anything else."""
    return [text(one, f"{what}[{index}]") for index, one in enumerate(listing(value, what))]


def field(value: t.Any, name: str, what: str = THE_ANSWER) -> t.Any:
    """Return a field of a JSON object, which must be there."""
    found = mapping(value, what)
    if name not in found:
        names = ", ".join(sorted(map(str, found))[:8]) or "nothing"
        raise ShapeError(f"{what} has no {name!r} but {names}")
    return found[name]


def text_field(value: t.Any, name: str, what: str = THE_ANSWER) -> str:
    """Return a field that must be a text."""
    return text(field(value, name, what), f"{name} of {what}" if what != THE_ANSWER else name)


def _count(value: t.Any) -> float:
    """Return a number, which may be written as a text; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def rows(value: t.Any, name: str) -> list[dict[str, t.Any]]:
    """Return a whole list of objects, given as such or under a name in an object.

    A count beside it must agree: a part of a list is no list.
    """
    found = value
    if not isinstance(value, list):
        found = listing(field(value, name), name)
        total = _count(value.get("total"))
        if total > len(found):
            raise ShapeError(f"{name} has {len(found)} of {total} entries")
    return [mapping(one, f"{name}[{index}]") for index, one in enumerate(found)]
