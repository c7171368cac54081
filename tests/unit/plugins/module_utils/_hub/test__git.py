# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _git
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._git import Refs, TreeEntry

A, B, C = "a" * 40, "b" * 40, "c" * 40


def packet(text: str) -> bytes:
    data = text.encode()
    return b"%04x" % (len(data) + 4) + data


def advertisement(*lines: str) -> bytes:
    return packet("# service=git-upload-pack\n") + b"0000" + b"".join(packet(line) for line in lines) + b"0000"


REAL = advertisement(
    f"{A} HEAD\0multi_ack side-band-64k symref=HEAD:refs/heads/trunk agent=git/2.39.5\n",
    f"{A} refs/heads/trunk\n",
    f"{B} refs/heads/dev\n",
    f"{C} refs/tags/v1\n",
    f"{A} refs/tags/v1^{{}}\n",
    f"{B} refs/tags/dev\n",
)


def test_refs() -> None:
    refs = _git.parse_refs(REAL)
    assert refs.head == "refs/heads/trunk"
    assert refs.commits["refs/tags/v1^{}"] == A
    assert _git.short_names(refs) == ["trunk", "dev", "v1", "dev"]


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        (None, ("trunk", A)),
        ("dev", ("dev", B)),
        ("v1", ("v1", A)),
        ("refs/tags/v1", ("refs/tags/v1", A)),
        ("nothing", None),
    ],
)
def test_choose(revision: str | None, expected: tuple[str, str] | None) -> None:
    assert _git.choose(_git.parse_refs(REAL), revision) == expected


def test_default_branch_of_a_server_whose_head_names_none() -> None:
    assert _git.choose(Refs({"refs/heads/master": A}, None), None) == ("master", A)
    assert _git.choose(Refs({"refs/heads/main": A}, "refs/heads/gone"), None) == ("main", A)
    assert _git.choose(Refs({"refs/heads/dev": A}, None), None) is None


def test_empty_repository() -> None:
    assert _git.parse_refs(advertisement(f"{'0' * 40} capabilities^{{}}\0agent=git/2\n")) == Refs({}, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html>",
        packet("version 2\n"),
        advertisement("abc refs/heads/master\0x\n"),
        REAL[:-4],
        REAL[:60],
    ],
)
def test_not_a_git_server(body: bytes) -> None:
    with pytest.raises(HubError, match="git server"):
        _git.parse_refs(body)


@pytest.mark.parametrize("body", [packet("ERR no access\x1b[2J\n"), advertisement("ERR no access\x1b[2J\n")])
def test_the_words_of_a_server_that_refuses_are_told(body: bytes) -> None:
    with pytest.raises(HubError, match=r"refuses: no access\\x1b\[2J; check the name"):
        _git.parse_refs(body)


def test_lines_that_are_no_refs_are_passed_over() -> None:
    upper = A.upper()
    body = advertisement("version 1\n", f"{upper} HEAD\0x\n", f"{upper} refs/heads/dev\n", f"shallow {B}\n")
    assert _git.parse_refs(body) == Refs({"HEAD": A, "refs/heads/dev": A}, None)


def test_the_branch_of_the_commit_of_head_is_the_default_where_none_is_named() -> None:
    assert _git.choose(Refs({"HEAD": A, "refs/heads/x": B, "refs/heads/dev": A}, None), None) == ("dev", A)


@pytest.mark.parametrize("line", [b"garbage", b"\xff", b"100644 blob abc 5\tx", f"100644 blob {A} BAD\tx".encode()])
def test_lines_of_git_that_are_not_understood_are_an_error_of_ours(line: bytes) -> None:
    with pytest.raises(HubError, match="in an unknown way"):
        _git.parse_tree(line + b"\0")


def test_tree() -> None:
    lines = [
        f"100644 blob {A}     132\tw.bin",
        f"160000 commit {B}       -\tsub",
        f"100755 blob {C}       0\ta b/名.sh",
    ]
    output = "\0".join([*lines, ""]).encode()
    assert _git.parse_tree(output) == [
        TreeEntry("100644", A, 132, "w.bin"),
        TreeEntry("160000", B, 0, "sub"),
        TreeEntry("100755", C, 0, "a b/名.sh"),
    ]


def test_tree_with_a_path_that_is_no_text() -> None:
    with pytest.raises(HubError, match="a path that is not UTF-8 text"):
        _git.parse_tree(f"100644 blob {A} 1\t".encode() + b"\xff\0")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], {"GIT_CONFIG_COUNT": "0"}),
        ([("a.b", "c")], {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}),
    ],
)
def test_settings(items: list[tuple[str, str]], expected: dict[str, t.Any]) -> None:
    assert _git.settings(items) == expected


def test_authorization() -> None:
    assert _git.basic_authorization("secret") == "Basic b2F1dGgyOnNlY3JldA=="
