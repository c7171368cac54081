# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Edit single keys of Docker's daemon.json and leave every other byte where it was.

The file belongs to many: an administrator, other roles, vendors' tools. It is read the way dockerd reads it, and an
edit replaces the text of one value, adds one member or takes one out; nothing is parsed and dumped again as a whole.
"""

from __future__ import annotations

import codecs
import json
import re
import typing as t

Path = t.Sequence[str]

DEFAULT_INDENT = "    "
MAX_DEPTH = 200

_BLANK = " \t\n\r"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+\Z")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_WORDS = {"true": True, "false": False, "null": None}
# The byte order marks dockerd knows, and what follows them.
_ENCODINGS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class DaemonJsonError(ValueError):
    """The file cannot be read as dockerd's configuration, or cannot take the change."""


class DaemonJsonSyntaxError(DaemonJsonError):
    """Not JSON; knows where."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        before = text[:position]
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        self.problem = problem
        super().__init__(f"line {self.line} column {self.column}: {problem}")


class _Node:
    """A value and where its text lies."""

    __slots__ = ("end", "members", "start", "value")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.value: t.Any = None
        self.members: list[_Member] | None = None  # of an object, in the file's order; None for every other value


class _Member:
    __slots__ = ("key", "node", "start")

    def __init__(self, start: int, key: str, node: _Node) -> None:
        self.start = start
        self.key = key
        self.node = node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> _Node:
        self._blanks()
        node = self._value(0)
        self._blanks()
        if self.at < len(self.text):
            raise self._error(
                f"there is more after the end of the configuration ({self._here()}); dockerd refuses such a file"
            )
        return node

    def _value(self, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels")
        node = _Node(self.at)
        char = self.text[self.at : self.at + 1]
        if char == "{":
            self._object(node, depth)
        elif char == "[":
            self._array(node, depth)
        elif char == '"':
            node.value = self._string()
        else:
            self._scalar(node)
        node.end = self.at
        return node

    def _object(self, node: _Node, depth: int) -> None:
        node.members = []
        node.value = {}
        self.at += 1
        self._blanks()
        if self._take("}"):
            return
        while True:
            start = self.at
            if self.text[self.at : self.at + 1] != '"':
                if node.members and self._here() == '"}"':
                    raise self._error('a comma before "}"; remove the comma')
                raise self._error(f"expected a key in double quotes, found {self._here()}")
            key = self._string()
            self._blanks()
            if not self._take(":"):
                raise self._error(
                    f'expected ":" after the key {json.dumps(key, ensure_ascii=False)}, found {self._here()}'
                )
            self._blanks()
            member = _Member(start, key, self._value(depth + 1))
            node.members.append(member)
            node.value[key] = member.node.value
            self._blanks()
            if self._take("}"):
                return
            if not self._take(","):
                name = json.dumps(key, ensure_ascii=False)
                raise self._error(f'expected "," or "}}" after the value of {name}, found {self._here()}')
            self._blanks()

    def _array(self, node: _Node, depth: int) -> None:
        node.value = []
        self.at += 1
        self._blanks()
        if self._take("]"):
            return
        while True:
            if node.value and self._here() == '"]"':
                raise self._error('a comma before "]"; remove the comma')
            node.value.append(self._value(depth + 1).value)
            self._blanks()
            if self._take("]"):
                return
            if not self._take(","):
                raise self._error(f'expected "," or "]" in a list, found {self._here()}')
            self._blanks()

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if not match:
            raise self._error("a text that is not closed, or has a bad escape or a line break in it")
        self.at = match.end()
        value: str = json.loads(match.group())
        return value

    def _scalar(self, node: _Node) -> None:
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                node.value = value
                self.at += len(word)
                return
        match = _NUMBER.match(self.text, self.at)
        if not match:
            raise self._error(f"expected a value, found {self._here()}")
        number = match.group()
        node.value = int(number) if _INTEGER.match(number) else float(number)
        self.at = match.end()

    def _blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _BLANK:
            self.at += 1
        if self.text.startswith(("//", "/*", "#"), self.at):
            raise self._error("a comment; dockerd's configuration is plain JSON and has none")

    def _take(self, char: str) -> bool:
        if self.text.startswith(char, self.at):
            self.at += 1
            return True
        return False

    def _here(self) -> str:
        if self.at >= len(self.text):
            return "the end of the file"
        return json.dumps(self.text[self.at], ensure_ascii=False) if self.text[self.at] != '"' else "a quoted text"

    def _error(self, problem: str) -> DaemonJsonSyntaxError:
        return DaemonJsonSyntaxError(self.text, self.at, problem)


def same(left: t.Any, right: t.Any) -> bool:
    """Equal as JSON: a boolean is not a number, an integer written as a decimal fraction is the same number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right))
    return bool(left == right)


class DaemonJson:
    """One state of the file. Edits return a new state; ``to_bytes`` of an unedited one gives back what was read."""

    def __init__(self, text: str, encoding: str = "utf-8", mark: bytes = b"") -> None:
        self._text = text
        self._encoding = encoding
        self._mark = mark
        self._root: _Node | None = None
        # dockerd trims before it looks, and takes a blank file and a bare null for no settings at all.
        if text.strip():
            root = _Parser(text).document()
            if root.members is None and root.value is not None:
                raise DaemonJsonSyntaxError(
                    text, root.start, f"the configuration must be an object in braces, not {kind_of(root.value)}"
                )
            self._root = root if root.members is not None else None

    @classmethod
    def from_bytes(cls, content: bytes | None) -> DaemonJson:
        """Read a file's bytes; None is a file that does not exist."""
        content = content or b""
        for mark, encoding in _ENCODINGS:
            if content.startswith(mark):
                try:
                    return cls(content[len(mark) :].decode(encoding, _errors(encoding)), encoding, mark)
                except UnicodeDecodeError as error:
                    raise DaemonJsonError(f"the file begins like {encoding.upper()} and is not: {error}") from error
        return cls(content.decode("utf-8", _errors("utf-8")))

    def to_bytes(self) -> bytes:
        return self._mark + self._text.encode(self._encoding, _errors(self._encoding))

    @property
    def text(self) -> str:
        """For people and diffs: what cannot be shown is replaced."""
        return self._text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def data(self) -> dict[str, t.Any]:
        if self._root is None:
            return {}
        value: dict[str, t.Any] = self._root.value
        return value

    def get(self, path: Path) -> t.Any:
        """The value at a path of keys; None where there is none."""
        node = self._find(path)
        return None if node is None else node.value

    def has(self, path: Path) -> bool:
        return self._find(path) is not None

    def where(self, path: Path) -> str:
        """``line 3`` of the member at the path, for errors."""
        member = self._member(path)
        return f"line {self._text.count(chr(10), 0, member.start) + 1}" if member else "not in the file"

    def object_at(self, path: Path) -> dict[str, t.Any]:
        """The object at a path, where dockerd takes an object or null; {} when it is null or absent."""
        value = self.get(path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise DaemonJsonError(
                '{}: "{}" must be an object in braces, not {}; dockerd refuses it'.format(
                    self.where(path), ".".join(path), kind_of(value)
                )
            )
        return value

    def set(self, path: Path, value: t.Any) -> DaemonJson:
        """Set one value; objects on the way are made where they are missing or null."""
        if not path:
            raise DaemonJsonError("a change needs a key")
        node = self._find(path)
        if node is not None and same(node.value, value):
            return self
        expected = _with(self.data, path, value)
        edited = self._set_text(list(path), value)
        return self._checked(edited, expected)

    def delete(self, path: Path) -> DaemonJson:
        """Take one member out, each time it is there."""
        state = self
        while path and state.has(path):
            state = state._delete_last(path)
        return state

    def _delete_last(self, path: Path) -> DaemonJson:
        parent = self._find(path[:-1])
        if parent is None or parent.members is None:
            raise DaemonJsonError("{} is not in an object".format(".".join(path)))
        members = parent.members
        index = max(number for number, member in enumerate(members) if member.key == path[-1])
        if len(members) == 1:
            start, end = parent.start + 1, parent.end - 1
        elif index + 1 < len(members):
            start, end = members[index].start, members[index + 1].start
        else:
            start, end = members[index - 1].node.end, members[index].node.end
        return self._with_text(self._text[:start] + self._text[end:])

    def _set_text(self, path: list[str], value: t.Any) -> str:
        if self._root is None:
            for key in reversed(path):
                value = {key: value}
            return _dump(value, DEFAULT_INDENT, "", "\n") + "\n"

        # The deepest object on the way that is there; from it on, the value brings its own objects along.
        depth = 0
        holder = self._root
        while depth < len(path) - 1:
            member = _last(holder, path[depth])
            if member is None or member.node.members is None:
                break
            holder = member.node
            depth += 1
        for key in reversed(path[depth + 1 :]):
            value = {key: value}

        member = _last(holder, path[depth])
        if member is None:
            return self._insert(holder, path[depth], value)
        if not (len(path) == depth + 1 or member.node.value is None):
            raise DaemonJsonError(
                '{}: "{}" is {} and can hold no key {}'.format(
                    self.where(path[: depth + 1]),
                    ".".join(path[: depth + 1]),
                    kind_of(member.node.value),
                    path[depth + 1],
                )
            )
        rendered = self._render(value, holder, self._line_indent(member.start))
        return self._text[: member.node.start] + rendered + self._text[member.node.end :]

    def _insert(self, holder: _Node, key: str, value: t.Any) -> str:
        members = holder.members or []
        name = json.dumps(key, ensure_ascii=False)
        if not self._spread(holder):
            comma, colon = self._separators()
            member = name + colon + _dump_compact(value, comma, colon)
            if members:
                at = members[-1].node.end
                return self._text[:at] + comma + member + self._text[at:]
            return self._text[: holder.start + 1] + member + self._text[holder.end - 1 :]

        indent = self._member_indent(holder)
        newline = self._newline()
        member = name + ": " + self._render(value, holder, indent)
        if members:
            at = members[-1].node.end
            return self._text[:at] + "," + newline + indent + member + self._text[at:]
        closing = newline + self._line_indent(holder.start)
        return self._text[: holder.start + 1] + newline + indent + member + closing + self._text[holder.end - 1 :]

    def _render(self, value: t.Any, holder: _Node, indent: str) -> str:
        if not self._spread(holder):
            return _dump_compact(value, *self._separators())
        return _dump(value, self._indent_unit(), indent, self._newline())

    def _spread(self, holder: _Node) -> bool:
        """Whether the object has its members on lines of their own (an empty one follows the object around it)."""
        if holder.members:
            return "\n" in self._text[holder.start : holder.members[0].start] or any(
                "\n" in self._text[one.node.end : other.start] for one, other in zip(holder.members, holder.members[1:])
            )
        if self._root is None or holder is self._root:
            return True
        return self._spread(self._root)

    def _member_indent(self, holder: _Node) -> str:
        for member in holder.members or []:
            line = self._text[self._text.rfind("\n", 0, member.start) + 1 : member.start]
            if not line.strip(_BLANK) and self._text.rfind("\n", holder.start, member.start) >= 0:
                return line
        return self._line_indent(holder.start) + self._indent_unit()

    def _indent_unit(self) -> str:
        root = self._root
        if root is None or not root.members or not self._spread(root):
            return DEFAULT_INDENT
        return self._member_indent(root)[len(self._line_indent(root.start)) :]

    def _line_indent(self, position: int) -> str:
        line = self._text[self._text.rfind("\n", 0, position) + 1 : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self._text else "\n"

    def _separators(self) -> tuple[str, str]:
        """How a file written in one line separates: as its first members do."""
        comma, colon = ", ", ": "
        members = self._root.members if self._root else None
        if members:
            name_end = _STRING.match(self._text, members[0].start)
            if name_end and self._text[name_end.end() : members[0].node.start] == ":":
                comma, colon = ",", ":"
            if len(members) > 1:
                comma = ", " if self._text[members[1].start - 1] in _BLANK else ","
        return comma, colon

    def _find(self, path: Path) -> _Node | None:
        if not path:
            return self._root
        member = self._member(path)
        return member.node if member else None

    def _member(self, path: Path) -> _Member | None:
        node = self._root
        member: _Member | None = None
        for key in path:
            member = _last(node, key)
            if member is None:
                return None
            node = member.node
        return member

    def _with_text(self, text: str) -> DaemonJson:
        return DaemonJson(text, self._encoding, self._mark)

    def _checked(self, text: str, expected: dict[str, t.Any]) -> DaemonJson:
        """The edited text must mean exactly the old data with the one change, or it is not given out."""
        edited = self._with_text(text)
        if not same(edited.data, expected):
            raise DaemonJsonError("the edited file would not mean what it should; nothing was written")
        return edited


def _errors(encoding: str) -> str:
    """Like dockerd, take bytes that are not UTF-8, and give them back as they were; UTF-16 has no way to."""
    return "surrogateescape" if encoding == "utf-8" else "strict"


def _last(node: _Node | None, key: str) -> _Member | None:
    """A key that is there twice counts as the last, as for dockerd."""
    if node is None or node.members is None:
        return None
    found = [member for member in node.members if member.key == key]
    return found[-1] if found else None


def _with(data: dict[str, t.Any], path: Path, value: t.Any) -> dict[str, t.Any]:
    changed = dict(data)
    if len(path) == 1:
        changed[path[0]] = value
        return changed
    inner = changed.get(path[0])
    changed[path[0]] = _with(inner if isinstance(inner, dict) else {}, path[1:], value)
    return changed


def _dump(value: t.Any, unit: str, indent: str, newline: str) -> str:
    text = json.dumps(value, indent=unit or None, ensure_ascii=False)
    return text.replace("\n", newline + indent)


def _dump_compact(value: t.Any, comma: str, colon: str) -> str:
    return json.dumps(value, separators=(comma, colon), ensure_ascii=False)


def kind_of(value: t.Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bool):
        return "a boolean"
    return "null" if value is None else "a number"
