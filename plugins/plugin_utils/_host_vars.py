# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what the variables of a host say, so that one odd value never ends what is done for the other hosts.

Variables come from people (an expression that needs facts of a host that is down) and from hosts (which may be broken,
or lie). A reader says which shape it expects. It gets exactly that shape: what has another one is left out, and noted
with the host's name.
"""

from __future__ import annotations

import math
import typing as t

from ansible.errors import AnsibleError
from jinja2.exceptions import TemplateError
from jinja2.runtime import Undefined

from ..module_utils._endpoint import bare
from ..module_utils._printable import printable
from ..module_utils._vllm.options._suggestions import (
    kind,
    shown,
    value_problem,
    whole_number,
)
from ._problem import UNREADABLE, Problem
from ._vaulted import plainly

# A shape is one of these names, a list of one shape, or a mapping of keys to shapes. A mapping is read with all keys of
# its shape: None, [] or {} stand for what is missing. An entry that lacks a key written with "!" is left out whole.
LINE = "a text"
TEXT = "a text of several lines"
WHOLE = "a whole number"
NUMBER = "a number"
FLAG = "true or false"
MAPPING = "a mapping"  # of anything
ANY = "anything"
SHOWN = "anything, of which texts are as a terminal may show them"

# The fact of a host that failed in this run, which the playbooks set.
FAILURE = "fleet_failure"

Shape = t.Any
Note = t.Callable[[str, str], None]

_LONGEST = {LINE: 2_000, TEXT: 50_000}
_DEEPEST = 40
_MOST = 200_000


class _Odd(Exception):
    """A value that cannot be read as what it should be; the text says why."""


class HostVars:
    """The variables of one host, and ``notes`` on what could not be read of them."""

    def __init__(self, name: str, variables: t.Any) -> None:
        self.name = one_line(str(name))
        self.notes: list[Problem] = []
        self._variables = variables if isinstance(variables, t.Mapping) else {}

    def has(self, key: str) -> bool:
        """Return whether the host has the variable, of whatever value."""
        return key in self._variables

    def read(self, key: str, shape: Shape) -> t.Any:
        """Return the variable in the given shape, without what cannot be read of it."""
        try:
            value = _item(self._variables, key) if key in self._variables else None
        except _Odd as odd:
            self._note(key, str(odd))
            value = None
        return conform(value, shape, key, self._note)

    def address(self) -> str:
        """Return the name or address by which Ansible reaches the host, else its name; of IPv6 without brackets."""
        return bare(str(self.read("ansible_host", LINE) or self.name))

    def instances(self) -> list[dict[str, t.Any]]:
        """Return the entries of ``vllm_server_instances`` that are mappings, as far as they can be evaluated."""
        return [entry for entry in self.read("vllm_server_instances", [ANY]) if isinstance(entry, dict)]

    def _note(self, where: str, text: str) -> None:
        self.notes.append(Problem(self.name, one_line(where), UNREADABLE, text))


def one_line(text: str, longest: int = _LONGEST[LINE]) -> str:
    """Return a text as one line that a terminal only shows."""
    return printable(text, longest).replace("\n", "\\n").replace("\t", "\\t")


def silent(_where: str, _text: str) -> None:
    """Note nothing, where somebody else tells what is wrong."""


def of_hosts(names: t.Any, hostvars: t.Any) -> dict[str, HostVars]:
    """Return the variables of each host by its name."""
    found: dict[str, HostVars] = {}
    for name in conform(names, [LINE], "hosts", silent):
        try:
            variables = hostvars[name]
        except (AnsibleError, TemplateError, LookupError, TypeError):
            variables = {}
        found[name] = HostVars(name, variables)
    return found


def conform(value: t.Any, shape: Shape, where: str, note: Note) -> t.Any:
    """Return ``value`` in the given shape; what has another one is told to ``note``, with where it is, and left out."""
    try:
        return _conform(value, shape, where, note)
    except _Odd as odd:
        note(where, str(odd))
        return _empty(shape)


def _conform(value: t.Any, shape: Shape, where: str, note: Note) -> t.Any:
    if isinstance(value, Undefined):
        raise _Odd("cannot be evaluated; it needs a variable or a fact that is not there")
    if value is None:
        return _empty(shape)
    if isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            raise _Odd(f"is {kind(value)}, not a list")
        return _listed(value, shape[0], where, note)
    if isinstance(shape, dict):
        if not isinstance(value, t.Mapping):
            raise _Odd(f"is {kind(value)}, not a mapping")
        return _mapped(value, shape, where, note)
    if shape == MAPPING and not isinstance(value, t.Mapping):
        raise _Odd(f"is {kind(value)}, not a mapping")
    if shape in (ANY, MAPPING, SHOWN):
        return _plain(value, where, note, (), [0], shape == SHOWN)
    return _scalar(value, shape)


def _listed(value: t.Sequence[t.Any], shape: Shape, where: str, note: Note) -> list[t.Any]:
    found = []
    for index in range(len(value)):
        place = f"{where}[{index}]"
        try:
            item = _item(value, index)
            if item is None:
                raise _Odd("is nothing")
            found.append(_conform(item, shape, place, note))
        except _Odd as odd:
            note(place, f"{odd}; it is left out")
    return found


def _mapped(value: t.Mapping[str, t.Any], shape: t.Mapping[str, Shape], where: str, note: Note) -> dict[str, t.Any]:
    found = {}
    for name, inner in shape.items():
        key = name.rstrip("!")
        place = f"{where}.{key}"
        try:
            found[key] = _conform(_item(value, key) if key in value else None, inner, place, note)
            odd: _Odd | None = None
        except _Odd as error:
            found[key], odd = _empty(inner), error
        if name != key and found[key] in (None, "", {}):
            raise _Odd(f"has no {key}" if odd is None else f"has a {key} that {odd}")
        if odd is not None:
            note(place, str(odd))
    return found


def _scalar(value: t.Any, shape: str) -> t.Any:
    if shape == FLAG and isinstance(value, bool):
        return value
    if shape == WHOLE:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        number = whole_number(value)
        if number is not None:
            return number
    if shape == NUMBER and isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, int) and whole_number(value) is not None:
            return int(value)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
    if shape in _LONGEST and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            text = str(value)
        except ValueError as error:  # an integer of more digits than Python writes
            raise _Odd("is a number of too many digits") from error
        longest = _LONGEST[shape]
        if shape == TEXT:
            text = text.replace("\r\n", "\n")
        return printable(text, longest) if shape == TEXT else one_line(text, longest)
    raise _Odd(f"is {kind(value)}, not {shape}")


def _plain(value: t.Any, where: str, note: Note, within: tuple[int, ...], count: list[int], show: bool) -> t.Any:
    """Return any value as plain containers, without what cannot be evaluated or written down."""
    count[0] += 1
    if id(value) in within:
        raise _Odd("holds itself")
    if len(within) > _DEEPEST or count[0] > _MOST:
        raise _Odd(f"is nested more than {_DEEPEST} deep, or holds more than {_MOST:,} values")
    if isinstance(value, Undefined):
        raise _Odd("cannot be evaluated; it needs a variable or a fact that is not there")
    if not isinstance(value, (t.Mapping, list, tuple)):
        problem = value_problem(value)
        if problem:
            raise _Odd(problem)
        return printable(value, _LONGEST[TEXT]) if show and isinstance(value, str) else value
    inner = (*within, id(value))
    mapping = isinstance(value, t.Mapping)
    found: t.Any = {} if mapping else []
    for key in list(value) if mapping else range(len(value)):
        place = f"{where}.{shown(key) if not isinstance(key, str) else key}" if mapping else f"{where}[{key}]"
        try:
            if not isinstance(key, (str, int, float)) or value_problem(key):
                raise _Odd("has a key that is not a text")
            item = _plain(_item(value, key), place, note, inner, count, show)
        except _Odd as odd:
            note(place, str(odd))
            if count[0] > _MOST:
                break
            continue
        if mapping:
            found[one_line(key) if show and isinstance(key, str) else key] = item
        else:
            found.append(item)
    return found


def unevaluated(value: t.Any, where: str) -> list[tuple[str, str]]:
    """Return where within a value something cannot be evaluated, and why."""
    return _unevaluated(value, where, (), [0])


def _unevaluated(value: t.Any, where: str, within: tuple[int, ...], count: list[int]) -> list[tuple[str, str]]:
    count[0] += 1
    if isinstance(value, Undefined):
        return [(where, "cannot be evaluated; it needs a variable or a fact that is not there")]
    too_much = id(value) in within or len(within) > _DEEPEST or count[0] > _MOST
    if too_much or not isinstance(value, (t.Mapping, list, tuple)):
        return []  # what is too much is told by others
    mapping = isinstance(value, t.Mapping)
    found = []
    for key in list(value) if mapping else range(len(value)):
        place = f"{where}.{key}" if mapping else f"{where}[{key}]"
        try:
            found += _unevaluated(_item(value, key), place, (*within, id(value)), count)
        except _Odd as odd:
            found.append((place, str(odd)))
        if count[0] > _MOST:
            break
    return found


def _item(container: t.Any, key: t.Any) -> t.Any:
    """Return an item; Ansible evaluates it only now, which may fail."""
    try:
        return container[key]
    except (AnsibleError, TemplateError, LookupError) as error:
        reason = str(error).strip().split("\n", 1)[0][:200]
        raise _Odd(f"cannot be evaluated: {one_line(plainly(reason))}") from error


def _empty(shape: Shape) -> t.Any:
    if isinstance(shape, list):
        return []
    return {} if isinstance(shape, dict) or shape == MAPPING else None
