# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import random
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_json import (
    DaemonJson,
    DaemonJsonError,
    DaemonJsonSyntaxError,
    same,
)


def read(text: str) -> DaemonJson:
    return DaemonJson.from_bytes(text.encode("utf-8"))


@pytest.mark.parametrize(
    ("content", "data"),
    [
        pytest.param(None, {}, id="no-file"),
        pytest.param(b"", {}, id="empty"),
        pytest.param(b" \n\t\r\n", {}, id="blank"),
        pytest.param(b"null\n", {}, id="null"),
        pytest.param(b"{}", {}, id="empty-object"),
        pytest.param(b'\xef\xbb\xbf{"debug": true}', {"debug": True}, id="utf-8-mark"),
        pytest.param(b"\xef\xbb\xbf", {}, id="mark-only"),
        pytest.param('{"debug": true}'.encode("utf-16"), {"debug": True}, id="utf-16"),
        pytest.param(
            b'  {"a": [1, -0, 1.5, 1e3, "x", null, true, {}]}  ',
            {"a": [1, 0, 1.5, 1000.0, "x", None, True, {}]},
            id="kinds",
        ),
        pytest.param(b'{"a": 9007199254740993}', {"a": 9007199254740993}, id="integer-beyond-float"),
        pytest.param(b'{"a": "\\u4e2d\\ud83d\\ude80\\n\\/"}', {"a": "中🚀\n/"}, id="escapes"),
        pytest.param(b'{"a": 1, "a": 2}', {"a": 2}, id="last-of-two-keys-counts"),
        pytest.param(b'{"a": {"b": 1}, "a": {"c": 2}}', {"a": {"b": 1, "c": 2}}, id="two-objects-are-merged"),
    ],
)
def test_read(content: bytes | None, data: dict[str, t.Any]) -> None:
    document = DaemonJson.from_bytes(content)
    assert document.data == data
    assert document.to_bytes() == (content or b"")


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        pytest.param('{"a": 1,}\n', 1, 9, 'a comma before "}"; remove the comma', id="trailing-comma"),
        pytest.param(
            '{\n  "a": [1,\n  ]\n}', 3, 3, 'a comma before "]"; remove the comma', id="trailing-comma-in-list"
        ),
        pytest.param(
            '{"a": 1\n', 2, 1, 'expected "," or "}" after the value of "a", found the end of the file', id="truncated"
        ),
        pytest.param(
            '{\n  "a": 1\n  "b": 2\n}',
            3,
            3,
            'expected "," or "}" after the value of "a", found a quoted text',
            id="no-comma",
        ),
        pytest.param('{"a" 1}', 1, 6, 'expected ":" after the key "a", found "1"', id="no-colon"),
        pytest.param('{"a":}', 1, 6, 'expected a value, found "}"', id="no-value"),
        pytest.param("{a: 1}", 1, 2, 'expected a key in double quotes, found "a"', id="bare-key"),
        pytest.param("{'a': 1}", 1, 2, 'expected a key in double quotes, found "\'"', id="single-quotes"),
        pytest.param("{", 1, 2, "expected a key in double quotes, found the end of the file", id="open"),
        pytest.param(
            '{\n  // mirrors\n  "a": 1\n}',
            2,
            3,
            "a comment; dockerd's configuration is plain JSON and has none",
            id="comment",
        ),
        pytest.param(
            '# mine\n{"a": 1}', 1, 1, "a comment; dockerd's configuration is plain JSON and has none", id="hash"
        ),
        pytest.param(
            '{"a": 1}\n{"b": 2}\n',
            2,
            1,
            'there is more after the end of the configuration ("{"); dockerd refuses such a file',
            id="second-object",
        ),
        pytest.param(
            '{"a": 1} x',
            1,
            10,
            'there is more after the end of the configuration ("x"); dockerd refuses such a file',
            id="rest",
        ),
        pytest.param("[]", 1, 1, "the configuration must be an object in braces, not a list", id="list"),
        pytest.param('\n"a"', 2, 1, "the configuration must be an object in braces, not a text", id="text"),
        pytest.param("7", 1, 1, "the configuration must be an object in braces, not a number", id="number"),
        pytest.param("true", 1, 1, "the configuration must be an object in braces, not a boolean", id="boolean"),
        pytest.param('{"a": NaN}', 1, 7, 'expected a value, found "N"', id="nan"),
        pytest.param('{"a": 01}', 1, 8, 'expected "," or "}" after the value of "a", found "1"', id="leading-zero"),
        pytest.param('{"a": .5}', 1, 7, 'expected a value, found "."', id="no-leading-zero"),
        pytest.param(
            '{"a": "b}', 1, 7, "a text that is not closed, or has a bad escape or a line break in it", id="open-text"
        ),
        pytest.param(
            '{"a": "\\x41"}', 1, 7, "a text that is not closed, or has a bad escape or a line break in it", id="escape"
        ),
        pytest.param(
            '{"a": "\t"}', 1, 7, "a text that is not closed, or has a bad escape or a line break in it", id="raw-tab"
        ),
        pytest.param('{"中": x}', 1, 7, 'expected a value, found "x"', id="columns-count-characters"),
    ],
)
def test_syntax_errors_say_where(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(DaemonJsonSyntaxError) as error:
        read(text)
    assert (error.value.line, error.value.column, error.value.problem) == (line, column, problem)
    assert str(error.value) == f"line {line} column {column}: {problem}"


def test_depth_has_an_end() -> None:
    with pytest.raises(DaemonJsonSyntaxError, match="nested deeper than 200 levels"):
        read('{"a":' + "[" * 5000)


def test_damaged_utf_16() -> None:
    with pytest.raises(DaemonJsonError, match=r"^the file begins like UTF-16-LE and is not"):
        DaemonJson.from_bytes(b"\xff\xfe{")


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        pytest.param("", ["debug"], True, '{\n    "debug": true\n}\n', id="into-nothing"),
        pytest.param("null", ["a", "b"], 1, '{\n    "a": {\n        "b": 1\n    }\n}\n', id="into-null"),
        pytest.param("{}", ["a"], 1, '{\n    "a": 1\n}', id="into-empty-without-newline"),
        pytest.param("{ }\n", ["a"], [], '{\n    "a": []\n}\n', id="into-empty-with-blank"),
        pytest.param('{"a":1}', ["b"], {"c": [1, 2]}, '{"a":1,"b":{"c":[1,2]}}', id="tight-line"),
        pytest.param('{"a": 1, "c": 3}\n', ["b"], [1, 2], '{"a": 1, "c": 3, "b": [1, 2]}\n', id="airy-line"),
        pytest.param('{"a": {}}', ["a", "b"], 1, '{"a": {"b": 1}}', id="into-empty-object-on-a-line"),
        pytest.param(
            '{\n  "a": 1\n}\n', ["b"], {"c": 1}, '{\n  "a": 1,\n  "b": {\n    "c": 1\n  }\n}\n', id="two-spaces"
        ),
        pytest.param('{\n\t"a": 1\n}', ["b"], {"c": 1}, '{\n\t"a": 1,\n\t"b": {\n\t\t"c": 1\n\t}\n}', id="tabs"),
        pytest.param(
            '{\r\n  "a": 1\r\n}\r\n',
            ["b"],
            [2],
            '{\r\n  "a": 1,\r\n  "b": [\r\n    2\r\n  ]\r\n}\r\n',
            id="windows-lines",
        ),
        pytest.param('{\n"a": 1\n}\n', ["b"], {"c": 1}, '{\n"a": 1,\n"b": {"c": 1}\n}\n', id="no-indentation"),
        pytest.param(
            '{\n  "a": {"x": 1},\n  "z": 1\n}\n',
            ["a", "y"],
            2,
            '{\n  "a": {"x": 1, "y": 2},\n  "z": 1\n}\n',
            id="inner-line",
        ),
        pytest.param(
            '{\n  "a": {\n    "x": 1\n  },\n  "z": 1\n}\n',
            ["a", "y"],
            2,
            '{\n  "a": {\n    "x": 1,\n    "y": 2\n  },\n  "z": 1\n}\n',
            id="inner-lines",
        ),
        pytest.param(
            '{\n  "a": {},\n  "z": 1\n}\n',
            ["a", "y"],
            2,
            '{\n  "a": {\n    "y": 2\n  },\n  "z": 1\n}\n',
            id="inner-empty",
        ),
        pytest.param(
            '{\n  "a": null\n}\n', ["a", "y"], 2, '{\n  "a": {\n    "y": 2\n  }\n}\n', id="null-becomes-object"
        ),
        pytest.param('{"a": 1e3, "b": 2}', ["b"], 3, '{"a": 1e3, "b": 3}', id="numbers-of-others-stay"),
        pytest.param('{"a": 1, "a": 2}', ["a"], 3, '{"a": 1, "a": 3}', id="last-of-two-keys"),
        pytest.param('{"ä": "\\u00e4"}', ["b"], "ö", '{"ä": "\\u00e4", "b": "ö"}', id="umlauts-raw-and-escaped"),
        pytest.param('{ "a" : 1 , "b" : 2 }', ["c"], 3, '{ "a" : 1 , "b" : 2, "c": 3 }', id="odd-blanks-stay"),
    ],
)
def test_set(before: str, path: list[str], value: t.Any, after: str) -> None:
    assert read(before).set(path, value).to_bytes().decode("utf-8") == after


@pytest.mark.parametrize(
    ("before", "path", "value"),
    [
        ('{"a": 15.0}', ["a"], 15),
        ('{"a":{"x":[1,{"y":null}]}}', ["a"], {"x": [1, {"y": None}]}),
        ('{"a": "\\u4e2d"}', ["a"], "中"),
        ('{"b": {"a": 1, "c": 2}}', ["b"], {"c": 2, "a": 1}),
    ],
)
def test_set_of_the_same_meaning_touches_nothing(before: str, path: list[str], value: t.Any) -> None:
    document = read(before)
    assert document.set(path, value) is document


def test_set_keeps_the_mark_and_bytes_that_are_not_utf_8() -> None:
    marked = DaemonJson.from_bytes(b'\xef\xbb\xbf{"a": "x"}')
    assert marked.set(["b"], 1).to_bytes() == b'\xef\xbb\xbf{"a": "x", "b": 1}'
    document = DaemonJson.from_bytes(b'{"a": "\xff"}', release=20)
    assert document.set(["b"], 1).to_bytes() == b'{"a": "\xff", "b": 1}'
    assert document.text == '{"a": "\N{REPLACEMENT CHARACTER}"}'


def test_set_into_what_holds_no_keys() -> None:
    with pytest.raises(DaemonJsonError) as error:
        read('{\n  "log-opts": "x"\n}').set(["log-opts", "max-size"], "1m")
    assert str(error.value) == 'line 2: "log-opts" is a text and can hold no key max-size'


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        pytest.param('{"a": 1}', ["a"], "{}", id="only"),
        pytest.param('{\n  "a": 1\n}\n', ["a"], "{}\n", id="only-on-lines"),
        pytest.param('{"a": 1, "b": 2, "c": 3}', ["a"], '{"b": 2, "c": 3}', id="first"),
        pytest.param('{"a": 1, "b": 2, "c": 3}', ["b"], '{"a": 1, "c": 3}', id="middle"),
        pytest.param('{"a": 1, "b": 2, "c": 3}', ["c"], '{"a": 1, "b": 2}', id="last"),
        pytest.param('{\n  "a": 1,\n  "b": 2\n}\n', ["b"], '{\n  "a": 1\n}\n', id="last-on-lines"),
        pytest.param('{\n  "a": 1,\n  "b": 2\n}\n', ["a"], '{\n  "b": 2\n}\n', id="first-on-lines"),
        pytest.param('{"a": {"x": 1, "y": 2}}', ["a", "x"], '{"a": {"y": 2}}', id="inner"),
        pytest.param('{"a": 1, "b": 0, "a": 2}', ["a"], '{"b": 0}', id="both-of-two"),
        pytest.param('{"a": 1}', ["b"], '{"a": 1}', id="not-there"),
        pytest.param('{"a": 1}', ["a", "b"], '{"a": 1}', id="not-an-object"),
        pytest.param("", ["a"], "", id="empty-file"),
    ],
)
def test_delete(before: str, path: list[str], after: str) -> None:
    assert read(before).delete(path).to_bytes().decode("utf-8") == after


def test_where_and_object_at() -> None:
    document = read('{\n  "a": 1,\n  "runtimes": []\n}')
    assert document.where(["runtimes"]) == "line 3"
    assert document.where(["b"]) == "not in the file"
    assert document.object_at(["b"]) == {}
    with pytest.raises(DaemonJsonError) as error:
        document.object_at(["runtimes"])
    assert str(error.value) == 'line 3: "runtimes" must be an object in braces, not a list; dockerd refuses it'


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (15, 15.0, True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        ({"a": [True]}, {"a": [1]}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (None, False, False),
        ("1", 1, False),
    ],
)
def test_same(left: t.Any, right: t.Any, expected: bool) -> None:
    assert same(left, right) is expected


def random_value(source: random.Random, depth: int) -> t.Any:
    kind = source.randrange(8 if depth else 5)
    if kind >= 6:
        return {source.choice("abcdefgh"): random_value(source, depth - 1) for _each in range(source.randrange(4))}
    if kind == 5:
        return [random_value(source, depth - 1) for _each in range(source.randrange(4))]
    return [None, True, source.randrange(-(10**20), 10**20), 'text " \\ \n \u2028 中', 0.25][kind]


@pytest.mark.parametrize("seed", range(200))
def test_any_edit_of_any_file_means_what_it_should(seed: int) -> None:
    """Edits are checked against the same edits on plain data, on files formatted in every way there is."""
    source = random.Random(seed)
    data = {key: random_value(source, 3) for key in source.sample("abcdefgh", 5)}
    text = json.dumps(
        data,
        indent=source.choice([None, 1, 2, 4, "\t"]),
        separators=source.choice([(",", ":"), (", ", ": "), (" , ", " : ")]),
        ensure_ascii=source.choice([True, False]),
    )
    document = read(text + source.choice(["", "\n", "\n\n"]))
    assert document.data == data
    for _each in range(6):
        key = source.choice("abcdefgh")
        if source.random() < 0.4:
            document = document.delete([key])
            data.pop(key, None)
        elif source.random() < 0.5 and isinstance(data.get(key), dict):
            inner, value = source.choice("abcdefgh"), random_value(source, 2)
            document = document.set([key, inner], value)
            data[key] = {**data[key], inner: value}
        else:
            value = random_value(source, 2)
            document = document.set([key], value)
            data[key] = value
        assert same(document.data, data)
        assert same(json.loads(document.to_bytes()), data)
