# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that become the value of an HTTP header: tokens, API keys.

A file that an editor wrote ends in a newline, and so does what `b64decode` makes of it. Python's HTTP client refuses
such a header with an error that quotes the secret in a form that Ansible's masking does not find. So every secret goes
through header_secret before it is used.
"""

from __future__ import annotations


def header_secret(value: str, name: str) -> str:
    """Return a secret as a header can carry it, without the blanks and newlines around it.

    Raise ValueError where that is impossible; the message names the option and never quotes the value.

    >>> header_secret("hf_abc\\n", "token")
    'hf_abc'
    """
    trimmed = value.strip()
    problem = header_secret_problem(trimmed)
    if problem:
        raise ValueError(f"{name} {problem}")
    return trimmed


def header_secret_problem(value: str) -> str | None:
    """Return why no HTTP header can carry this secret, without quoting it, or None when one can.

    >>> header_secret_problem("two words")
    'holds a blank inside it: give the key or token alone'
    """
    if not value:
        return "is empty: give the key or token, or leave it out"
    if "\n" in value or "\r" in value:
        return "has more than one line: give the key or token alone"
    if any(one.isspace() for one in value):
        return "holds a blank inside it: give the key or token alone"
    if not value.isascii() or not value.isprintable():
        return (
            "holds a character that no HTTP header can carry, such as a typographic quote or an invisible one: "
            "copy the key or token anew"
        )
    return None
