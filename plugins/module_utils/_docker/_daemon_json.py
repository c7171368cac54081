# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Edit single keys of Docker's daemon.json and leave every other byte where it was.

The file belongs to many: an administrator, other roles, vendors' tools. It is read the way dockerd reads it, and an
edit replaces the text of one value, adds one member or takes one out; nothing is parsed and dumped again as a whole.

dockerd is a Go program, and Go reads JSON otherwise than Python: objects under a key that is there twice are merged.
From release 23 on it also decodes and trims the file before it looks at it, and demands UTF-8; before, it did not.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import typing as t
import unicodedata

Path = t.Sequence[str]

DEFAULT_INDENT = "    "
MAX_DEPTH = 200
# The first release that decodes, trims and checks the file: moby#44905, #44777, #44790.
DECODES_SINCE = 23
# No setting of dockerd is a longer number.
MAX_DIGITS = 100

_BLANK = " \t\n\r"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+\Z")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_WORDS = {"true": True, "false": False, "null": None}
# What Go's bytes.TrimSpace takes for blank.
_GO_SPACE = (
    " \t\n\v\f\r\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Settings that are structures for dockerd at any depth; everything else below a key is a map of whole values.
_STRUCTURES = frozenset(("builder",))
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
    def __init__(self, text: str, decodes: bool = True) -> None:
        self.text = text
        self.at = 0
        self.decodes = decodes

    def document(self) -> _Node:
        if self.decodes:
            self.at = len(self.text) - len(self.text.lstrip(_GO_SPACE))
        self._blanks()
        node = self._value(0)
        if not self.decodes:
            # Before release 23, dockerd stops reading here.
            return node
        self._blanks()
        if self.text[self.at :].strip(_GO_SPACE):
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
            unseen = next((char for char in key if _is_invisible(char)), None)
            if unseen is not None and depth == 0:
                self.at = start
                raise self._error(f"the key {json.dumps(key)} has {name_char(unseen)} in it; dockerd knows no such key")
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
        if len(number) > MAX_DIGITS:
            raise self._error(f"a number of {len(number)} characters; dockerd takes none so long")
        node.value = int(number) if _INTEGER.match(number) else float(number)
        if node.value in (math.inf, -math.inf):
            raise self._error(f"the number {number} is too large; dockerd takes none so large")
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
        return name_char(self.text[self.at]) if self.text[self.at] != '"' else "a quoted text"

    def _error(self, problem: str) -> DaemonJsonSyntaxError:
        return DaemonJsonSyntaxError(self.text, self.at, problem)


def name_char(char: str) -> str:
    """Return how to name a character in a message: as it is, or by its number and name where it cannot be seen."""
    if not _is_invisible(char):
        return json.dumps(char, ensure_ascii=False)
    if "\udc80" <= char <= "\udcff":
        return f"a byte that is not UTF-8 (0x{ord(char) - 0xDC00:02X})"
    if char == "\0":
        return "a NUL byte (U+0000): the file was damaged, by a crash say, or is not UTF-8; write it anew"
    name = unicodedata.name(char, "a control character")
    return f"an invisible character (U+{ord(char):04X}, {name}), as copied from a page or a chat; type it anew"


def _is_invisible(char: str) -> bool:
    return char not in _BLANK and (unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"))


def same(left: t.Any, right: t.Any) -> bool:
    """Compare as JSON: a boolean is not a number, an integer written as a decimal fraction is the same number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right))
    return bool(left == right)


class DaemonJson:
    """One state of the file. Edits return a new state; ``to_bytes`` of an unedited one gives back what was read."""

    def __init__(self, text: str, encoding: str = "utf-8", mark: bytes = b"", release: int | None = None) -> None:
        self._text = text
        self._encoding = encoding
        self._mark = mark
        self._release = release
        self._root: _Node | None = None
        # A blank file and a bare null are no settings at all; see `problem` for releases that do not start with one.
        if text.strip(_GO_SPACE):
            root = _Parser(text, self._decodes).document()
            if root.members is None and root.value is not None:
                raise DaemonJsonSyntaxError(
                    text, root.start, f"the configuration must be an object in braces, not {kind_of(root.value)}"
                )
            self._root = root if root.members is not None else None

    @classmethod
    def from_bytes(cls, content: bytes | None, release: int | None = None) -> DaemonJson:
        """Read a file's bytes as that major release of dockerd does; None is a file that does not exist.

        A release that is not known counts as a new one.
        """
        content = content or b""
        decodes = _decodes(release)
        for mark, encoding in _ENCODINGS:
            if content.startswith(mark):
                if not decodes:
                    raise DaemonJsonError(
                        f"the file begins with a byte order mark, and dockerd {release} does not start with one; "
                        "save it as UTF-8 without BOM"
                    )
                return cls(_decoded(content, mark, encoding), encoding, mark, release)
        if decodes:
            return cls(_decoded(content, b"", "utf-8"), release=release)
        return cls(content.decode("utf-8", "surrogateescape"), release=release)

    def to_bytes(self) -> bytes:
        return self._mark + self._text.encode(self._encoding, "strict" if self._decodes else "surrogateescape")

    @property
    def _decodes(self) -> bool:
        return _decodes(self._release)

    def problem(self) -> str | None:
        """Return why a file in this state would keep dockerd from starting although it can be read; None if nothing."""
        if not self._decodes and not self._text.strip(_GO_SPACE):
            return (
                f"the file is empty, and dockerd {self._release} does not start with an empty one; "
                "remove it, or write {} into it"
            )
        return None

    @property
    def text(self) -> str:
        """Return the text for people and diffs: what cannot be shown is replaced."""
        return self._text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def data(self) -> dict[str, t.Any]:
        value: dict[str, t.Any] = self._value_of(self._live([]), []) if self._root is not None else {}
        return value

    def get(self, path: Path) -> t.Any:
        """Return the value at a path of keys, as dockerd reads it; None where there is none."""
        return self._value_of(self._live(path), path)

    def has(self, path: Path) -> bool:
        return bool(self._live(path))

    def where(self, path: Path) -> str:
        """Return ``line 3`` for the member at the path, for errors."""
        member = self._member(path)
        return f"line {self._text.count(chr(10), 0, member.start) + 1}" if member else "not in the file"

    def object_at(self, path: Path) -> dict[str, t.Any]:
        """Return the object at a path, where dockerd takes an object or null; {} when it is null or absent."""
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
        if self.has(path) and same(self.get(path), value):
            return self
        _check_value(path, value)
        state = self
        if isinstance(value, dict) or len(self._live(path)) > 1:
            # A value that dockerd would merge with one before it is written in one place.
            while len(state._members(path)) > 1:
                state = state._without(path, state._members(path)[0])
        for depth in range(1, len(path)):
            # An object that takes the place of a null must not be merged with one before the null.
            prefix = path[:depth]
            while state.get(prefix) is None and len(state._members(prefix)) > 1:
                state = state._without(prefix, state._members(prefix)[0])
        expected = _with(self.data, path, value)
        edited = state._set_text(list(path), value)
        return self._checked(edited, expected)

    def delete(self, path: Path) -> DaemonJson:
        """Take one member out, each time it is there."""
        state = self
        while path and state.has(path):
            state = state._delete_last(path)
        return state

    def _delete_last(self, path: Path) -> DaemonJson:
        found = self._members(path)
        if not found:
            raise DaemonJsonError("{} is not in an object".format(".".join(path)))
        return self._without(path, found[-1])

    def _without(self, path: Path, gone: _Member) -> DaemonJson:
        parent = next(node for node in self._live(path[:-1]) if gone in (node.members or []))
        members = parent.members or []
        index = members.index(gone)
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
            holders = self._live(path[: depth + 1])
            if not holders or holders[-1].members is None:
                break
            # Of several objects under one key, the one that has what is wanted.
            wanted = path[depth + 1]
            holder = next((node for node in reversed(holders) if _last(node, wanted) is not None), holders[-1])
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
        """Say whether the object has its members on lines of their own (an empty one follows the object around it)."""
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
        """Return the comma and the colon of a file written in one line, with their blanks: as at its first members."""
        comma, colon = ", ", ": "
        members = self._root.members if self._root else None
        if members:
            name_end = _STRING.match(self._text, members[0].start)
            if name_end and self._text[name_end.end() : members[0].node.start] == ":":
                comma, colon = ",", ":"
            if len(members) > 1:
                comma = ", " if self._text[members[1].start - 1] in _BLANK else ","
        return comma, colon

    def _live(self, path: Path) -> list[_Node]:
        """Return the values that count at a path, in the file's order: several are objects that dockerd merges."""
        nodes = [self._root] if self._root is not None else []
        for depth, key in enumerate(path):
            nodes = self._children(nodes, path[: depth + 1], key)
        return nodes

    @staticmethod
    def _children(holders: t.Sequence[_Node], path: Path, key: str) -> list[_Node]:
        found = [member.node for node in holders for member in node.members or [] if member.key == key]
        if not found or found[-1].members is None or not (len(path) == 1 or path[0] in _STRUCTURES):
            return found[-1:]
        # Everything but an object, null too, starts anew.
        first = max((at + 1 for at, node in enumerate(found) if node.members is None), default=0)
        return found[first:]

    def _value_of(self, nodes: t.Sequence[_Node], path: Path) -> t.Any:
        if not nodes or nodes[-1].members is None:
            return nodes[-1].value if nodes else None
        keys = {member.key: None for node in nodes for member in node.members or []}
        return {key: self._value_of(self._children(nodes, [*path, key], key), [*path, key]) for key in keys}

    def _members(self, path: Path) -> list[_Member]:
        """Return all members of that key in the objects that count, in the file's order."""
        return [
            member for node in self._live(path[:-1]) for member in node.members or [] if path and member.key == path[-1]
        ]

    def _member(self, path: Path) -> _Member | None:
        found = self._members(path)
        return found[-1] if found else None

    def _with_text(self, text: str) -> DaemonJson:
        return DaemonJson(text, self._encoding, self._mark, self._release)

    def _checked(self, text: str, expected: dict[str, t.Any]) -> DaemonJson:
        """Refuse the edited text unless it means exactly the old data with the one change."""
        edited = self._with_text(text)
        if not same(edited.data, expected):
            raise DaemonJsonError("the edited file would not mean what it should; nothing was written")
        return edited


def _decodes(release: int | None) -> bool:
    return release is None or release >= DECODES_SINCE


def _decoded(content: bytes, mark: bytes, encoding: str) -> str:
    """Return the text of a file, or say like dockerd that it is none."""
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise DaemonJsonError(f"the file begins like {encoding.upper()} and is not: {error}") from error
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        byte = content[len(mark) + error.start]
        raise DaemonJsonError(
            f"line {line}: a byte that is not UTF-8 (0x{byte:02X}), and dockerd {DECODES_SINCE} and newer does not "
            "start with one; save the file as UTF-8"
        ) from error


def _check_value(path: Path, value: t.Any) -> None:
    """Refuse a value that JSON cannot hold, or not at a depth that can be read again."""
    where = ".".join(path)
    try:
        "".join([*path, json.dumps(value, ensure_ascii=False, allow_nan=False)]).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DaemonJsonError(f"{where[:100]!a} holds half a character, which no file can hold; correct it") from error
    except RecursionError as error:
        raise DaemonJsonError(
            f"{where} is nested deeper than {MAX_DEPTH} levels; dockerd has no such setting"
        ) from error
    except (TypeError, ValueError) as error:
        raise DaemonJsonError(f"{where} holds a value that JSON does not have ({error}); correct it") from error


def _last(node: _Node | None, key: str) -> _Member | None:
    """Return the last member of that key in one object."""
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
