# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of other programs and machines on its way into messages that a terminal shows."""

from __future__ import annotations

# Longer than any message of this collection; what a server sends may be a whole page.
LONGEST = 4000

# Written as they are: the newline and the tab, which messages of several lines hold.
_KEPT = "\n\t"


def printable(text: str, longest: int = LONGEST) -> str:
    """Return a text with every character written out that a terminal would obey instead of show.

    These are control characters, escape sequences among them, the marks that turn the direction of writing, and halves
    of surrogate pairs, which no output can encode.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    shown = "".join(one if one.isprintable() or one in _KEPT else _written_out(one) for one in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}…"


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can carry a text, which it cannot where half a character is in it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _written_out(character: str) -> str:
    # A blank that is no ordinary one, such as U+00A0, is not printable to Python and harmless to a terminal.
    if character.isspace() and character not in "\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029":
        return character
    return character.encode("unicode_escape").decode("ascii")
