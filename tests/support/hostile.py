# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that nobody should write and somebody will: what options and answers are held against."""

from __future__ import annotations

import copy
import re
import typing as t

ESCAPES = [
    "\x1b[2J\x1b[H",
    "\x1b]0;owned\x07",
    "\x1b[31mred",
    "\x9b31m",
    "a\x00b",
    "a\x07b",
    "a\x08b",
    "a\rb",
    "a\x7fb",
]
INVISIBLE = [
    "\u202edesrever",
    "\u2066x\u2069",
    "\u200b",
    "\ufeffx",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "\u00ad",
    "a\u2060b",
]

TEXTS: list[str] = [
    *(
        "",
        " ",
        "\n",
        "\t",
        "  \n ",
        ".",
        "..",
        "/",
        "\\",
        "-",
        "--",
        "-rf",
        "--help",
        "~",
        "*",
        "?",
        "#",
        "%",
        "%s",
        "%n",
    ),
    *("name\n", "name\r\n", "\nname", "two\nlines", "tab\there", "a b", " a", "a ", "a\xa0b", "a\u3000b", "\xa0"),
    *ESCAPES,
    *INVISIBLE,
    *("../../etc/passwd", "/etc/passwd", "..%2f..%2f", "a/b", "a//b", "a/../b", "a?b=c", "a#b", "a&b=c", "a;b", "a,b"),
    *(
        "'",
        '"',
        "`",
        "$(id)",
        "`id`",
        "${HOME}",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "{#",
        "a'b\"c",
        "<b>x</b>",
        "<script>",
        "&lt;",
    ),
    *(
        "null",
        "None",
        "true",
        "True",
        "no",
        "yes",
        "0",
        "-1",
        "1e309",
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "0x10",
        "1_000",
    ),
    *("²", "٣", "１２", "½", "9" * 30, "9" * 5000, "1.5", "-0", "+1", "1,5", "00", "1e3"),
    *("é", "ß", "ﬁ", "更大", "模型", "🙂", "🏳️‍🌈", "e\u0301", "İ", "ı", "ſ", "Å", "\U0010ffff", "\uffff", "\ue000"),
    *("x" * 300, "x" * 5000, "é" * 500, "a." * 300, "[" * 200, "{" * 200, '{"a": 1}', "[1, 2]", "[]", "{}", '"quoted"'),
    *(
        "a@b",
        "a@b.c",
        "@",
        "a@@b.c",
        "a@b.c\n",
        "a b@c.d",
        "<a@b.c>",
        "a@b.c,d@e.f",
        "A@B.C",
        "a@[::1]",
        "mailto:a@b.c",
    ),
    *(
        "http://",
        "http:///v1",
        "http://[",
        "http://[::1",
        "http://a:b@c",
        "http://a:999999",
        "http://a:²",
        "http://a:-1",
    ),
    *(
        "http://a b/",
        "http://a/\n",
        "http://a\x1b[2J/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//a",
        "http:a",
        "ftp://a",
    ),
    *(
        "http://ü.example",
        "http://a%00b/",
        "http://a/?k=v",
        "http://a/#f",
        "http://127.0.0.1:1",
        "HTTP://A",
        "http://.",
        "http://a\\b",
    ),
    *(
        "sk-1\nX-Evil: 1",
        "Bearer sk-1",
        "sk 1",
        "sk-\u201c1\u201d",
        "sk-\x00",
        "sk-é",
        "sk-1\x1b[2J",
        "-sk",
        "sk-1;",
        "sk\\n1",
    ),
]

THINGS: list[t.Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.0, 0.5, -0.5, 1e308, -1e308, 1e-320),
    *(
        [],
        [None],
        [[]],
        [{}],
        [""],
        [0],
        [True],
        ["a", "a"],
        [["a"]],
        [{"id": None}],
        ["a", 1, None],
        [[[[[]]]]],
        ["x"] * 50,
    ),
    *(
        {},
        {"": ""},
        {"id": None},
        {"id": []},
        {"id": {}},
        {"name": 1},
        {"a": {"b": {"c": {}}}},
        {"0": "x"},
        {"data": {}},
    ),
    *(
        {"data": None},
        {"data": [None]},
        {"users": {}},
        {"users": [1]},
        {"items": []},
        {"detail": "no"},
        {"error": {}},
        {" ": 0},
    ),
    *(
        {"total": 5, "users": []},
        {"users": [], "total": "5"},
        {"detail": [{"loc": 1, "msg": "x"}]},
        {"detail": {"message": []}},
    ),
    *(
        {"version": 1},
        {"version": None},
        {"token": 1},
        {"token": "a\nb", "role": "admin"},
        {"next_step": ["x"]},
        {"\x1b[2J": 1},
    ),
]

VALUES: list[t.Any] = [*TEXTS, *THINGS]

# What must never stand in a message: what a terminal obeys.
OBEYED = {chr(one) for one in [*range(9), *range(11, 32), *range(127, 160)]} | set("\u202e\u2066\u2069\u2028\u2029")


def short(value: t.Any) -> str:
    """Return a name for a test's case."""
    shown = ascii(value)
    return shown if len(shown) < 30 else f"{shown[:24]}+{len(shown)}"


# Messages of Python for a value that nobody looked at.
PYTHON = re.compile(
    r"object has no|unsupported operand|not subscriptable|not iterable|NoneType|unhashable|Traceback|<class"
)


def places(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    """Give every place in a value, the value itself first."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*path, index))


def replaced(value: t.Any, path: tuple[t.Any, ...], other: t.Any) -> t.Any:
    """Return the value with another one at a place."""
    if not path:
        return other
    result = copy.copy(value)
    result[path[0]] = replaced(value[path[0]] if len(path) > 1 else None, path[1:], other)
    return result
