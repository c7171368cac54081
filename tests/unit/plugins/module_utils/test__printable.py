# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._printable import LONGEST, is_unicode, printable


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\tand a tab", "größer, 更大, 🙂", "a\xa0b", "a\u3000b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("good\rbad", "good\\rbad"),
        ("\x9b2J", "\\x9b2J"),
        ("\x00\x08\x7f", "\\x00\\x08\\x7f"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028line", "\\u2028line"),
        ("half \ud800", "half \\ud800"),
        ("\u200b", "\\u200b"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_at_all_gets_past_as_a_control() -> None:
    shown = set(printable("".join(map(chr, range(sys.maxunicode + 1))), longest=sys.maxunicode + 1))
    assert [one for one in sorted(shown) if not (one.isprintable() or one in "\n\t" or one.isspace())] == []
    assert shown & {chr(one) for one in [*range(9), *range(11, 32), *range(127, 160)]} == set()
    assert not any(0xD800 <= ord(one) <= 0xDFFF for one in shown)


def test_a_page_is_cut() -> None:
    assert printable("x" * (LONGEST * 2)) == "x" * LONGEST + "…"


@pytest.mark.parametrize(("text", "carried"), [("", True), ("ü日", True), ("\ud800", False), ("a\udcffb", False)])
def test_half_a_character_cannot_be_carried(text: str, carried: bool) -> None:
    assert is_unicode(text) is carried
