# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _files
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError

SHA = "a" * 64


@pytest.mark.parametrize("repo", ["Qwen/Qwen3-8B", "01-ai/Yi-1.5_b", "机构/模型"])
def test_repo(repo: str) -> None:
    assert _files.check_repo(repo) == repo


@pytest.mark.parametrize(
    "repo", ["", "Qwen", "Qwen/", "/Qwen", "a/b/c", "../b", "a/..", "a/b..c", ".a/b", "a b/c", "a/-b", "a/b\n"]
)
def test_repo_refused(repo: str) -> None:
    with pytest.raises(HubError, match="is not <organization>/<name>"):
        _files.check_repo(repo)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://hub.example.com", "https://hub.example.com"),
        ("http://10.0.0.1:8080/hub/", "http://10.0.0.1:8080/hub"),
    ],
)
def test_endpoint(endpoint: str, expected: str) -> None:
    assert _files.check_endpoint(endpoint) == expected


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("hub.example.com", "is not a URL"),
        ("ftp://hub.example.com", "is not a URL"),
        ("https://hub.example.com/?x=1", "is not a URL"),
        ("https://me:hunter2@hub.example.com", "give the token in the option token"),
    ],
)
def test_endpoint_refused(endpoint: str, reason: str) -> None:
    with pytest.raises(HubError, match=reason) as caught:
        _files.check_endpoint(endpoint)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["config.json", "a/b/c.bin", ".gitattributes", "名.txt", "a..b/..c", "a b.txt", "~"])
def test_safe_path(path: str) -> None:
    assert _files.unsafe_because(path) == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it is empty"),
        ("/etc/passwd", "it is absolute"),
        ("../x", "it leads out of the folder"),
        ("a/../../x", "it leads out of the folder"),
        ("..", "it leads out of the folder"),
        ("a\\..\\x", "it holds a backslash"),
        ("a\nb", "it holds a control character"),
        ("a\x00b", "it holds a control character"),
        ("a\x1b[0m", "it holds a control character"),
        ("a//b", "it has an empty part"),
        ("./a", "it has an empty part"),
        ("a/", "it has an empty part"),
        (".manifest.json", "the name is reserved"),
        (".git/config", "the name is reserved"),
        ("\ud800", "it is not valid Unicode text"),
        ("é" * 128, "a part of it is longer than a file name may be"),
    ],
)
def test_unsafe_path(path: str, reason: str) -> None:
    assert _files.unsafe_because(path) == reason


def test_entries_are_checked_and_sorted() -> None:
    entries = [Entry("b", 1, SHA), Entry("a", 0, SHA), Entry("b", 1, SHA)]
    assert _files.check_entries(entries, "the hub") == [Entry("a", 0, SHA), Entry("b", 1, SHA)]


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "the hub lists no file"),
        (
            [Entry("../x", 1, SHA)],
            r"the hub lists the file '\.\./x', which is refused because it leads out of the folder",
        ),
        ([Entry("x", 1, "")], "lists 'x' without a size or a SHA-256"),
        ([Entry("x", 1, "A" * 64)], "lists 'x' without a size or a SHA-256"),
        ([Entry("x", -1, SHA)], "lists 'x' without a size or a SHA-256"),
        ([Entry("x", 1, SHA), Entry("x", 2, SHA)], "lists 'x' twice, with different contents"),
        ([Entry("x", 1, SHA), Entry("x/y", 1, SHA)], "lists 'x' both as a file and as a folder"),
    ],
)
def test_entries_refused(entries: list[Entry], reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        _files.check_entries(entries, "the hub")


FILES = [Entry(path, 1, SHA) for path in ("config.json", "model.safetensors", "onnx/model.onnx", "onnx/sub/x.json")]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/sub/x.json"]),
        (["*.json"], [], ["config.json", "onnx/sub/x.json"]),
        ([], ["onnx/"], ["config.json", "model.safetensors"]),
        (["onnx/*"], ["*.json"], ["onnx/model.onnx"]),
        (["config.*", "model.*"], [], ["config.json", "model.safetensors"]),
        (["CONFIG.json", "config.json"], [], ["config.json"]),
    ],
)
def test_select(include: list[str], exclude: list[str], expected: list[str]) -> None:
    assert [entry.path for entry in _files.Selection(tuple(include), tuple(exclude)).of(FILES, "the hub")] == expected


def test_select_nothing() -> None:
    with pytest.raises(HubError, match=r"include \['\*\.gguf'\] and exclude \[\] leave none of the 4 files of the hub"):
        _files.Selection(("*.gguf",)).of(FILES, "the hub")


def test_digest_depends_on_paths_sizes_and_contents_but_not_on_the_order() -> None:
    one, two = Entry("a", 1, SHA), Entry("b", 2, "b" * 64)
    digest = _files.digest_of([one, two])
    assert digest == _files.digest_of([two, one])
    assert (
        len({digest, *(_files.digest_of(o) for o in ([one], [Entry("c", 1, SHA), two], [Entry("a", 2, SHA), two]))})
        == 4
    )


@pytest.mark.parametrize(
    ("revision", "expected"),
    [("a" * 40, True), ("A" * 40, False), ("a" * 39, False), ("master", False), (None, False), ("", False)],
)
def test_is_commit(revision: str | None, expected: bool) -> None:
    assert _files.is_commit(revision) is expected


def test_given_entries() -> None:
    given = {"path": "a/b.bin", "size": 7, "sha256": SHA}
    assert set(_files.FILE_OPTIONS) == set(given) == {field.name for field in dataclasses.fields(Entry)}
    assert _files.given_entries([given]) == [Entry("a/b.bin", 7, SHA)]


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["m.bin", "m.bin.incomplete"], "which the first is called while it is fetched"),
        ([".GIT/config"], "the name is reserved"),
        (["/".join(["x" * 200] * 30)], "longer than a path may be"),
    ],
)
def test_names_that_a_file_system_or_a_fetch_would_mix_up_are_refused(paths: list[str], reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        _files.check_entries([Entry(path, 1, "a" * 64) for path in paths], "the list")
