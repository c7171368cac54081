# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A problem as data: it becomes a sentence in the last line only."""

from __future__ import annotations

import re
import typing as t

from ..module_utils._printable import printable
from ..module_utils._vllm.options._suggestions import kind

LONGEST = 50_000

# Kinds that something is decided by. Every other kind is the name of who found the problem.
DOES_NOT_FIT = "does_not_fit"
UNREADABLE = "unreadable"


class Problem(t.NamedTuple):
    """What is wrong: on which host, at which variable (empty where none is known), of which kind, and in words."""

    host: str
    where: str
    kind: str
    text: str

    @property
    def sentence(self) -> str:
        """Return the problem for a person to read."""
        return ": ".join(printable(part, LONGEST) for part in (self.host, self.where, self.text) if part)

    def as_result(self) -> dict[str, str]:
        """Return the problem for a fact, with its sentence."""
        return {**{key: printable(part, LONGEST) for key, part in self._asdict().items()}, "sentence": self.sentence}


def problem_of(value: object, host: str = "") -> Problem:
    """Read a problem back from a fact; a plain text is one, too."""
    if isinstance(value, t.Mapping):
        parts = {key: value[key] if isinstance(value.get(key), str) else "" for key in Problem._fields}
        return Problem(**{**parts, "host": parts["host"] or host})
    return Problem(host, "", "", value if isinstance(value, str) else f"is told as {kind(value)}")


def by_host(problem: Problem) -> list[t.Any]:
    """Sort key: gpu-2 before gpu-10."""
    return [
        (0, int(part), "") if part.isascii() and part.isdecimal() and len(part) < 19 else (1, 0, part)
        for part in re.split(r"([0-9]+)", problem.sentence)
        if part
    ]
