# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values in hubs' answers, as the hubs and their mirrors write them."""

from __future__ import annotations

import json
import re
import typing as t

from .._printable import printable
from ._files import HubUnavailable

WORDS_LENGTH = 300  # characters of a hub's own words


def decode(body: bytes, what: str, question: str) -> t.Any:
    """Return the JSON in an answer, with or without a byte order mark; HubUnavailable for anything else."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise HubUnavailable(f"{what} was not answered with JSON ({error}); {question}") from error


def size(value: t.Any) -> int | None:
    """Return a number of bytes, which may be written as a text; None for anything else."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def digest(value: t.Any) -> str:
    """Return a hash in small letters, without the name of its kind and blanks around it; empty for none."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return text[len("sha256:") :] if text.startswith("sha256:") else text


def words(value: t.Any) -> str:
    """Return what a hub says of an error, in one line that a terminal may show."""
    text = value if isinstance(value, str) else json.dumps(value)
    return printable(" ".join(re.sub(r"<[^>]*>", " ", text).split()), WORDS_LENGTH)
