# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _modelscope
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError

HEAD = "932bc907" + "0" * 32
OLD = "1" * 40
WHAT = "the list"


def answer(files: t.Any, committer: t.Any = None, **more: t.Any) -> bytes:
    data = {"Files": files, "LatestCommitter": committer, "IsVisual": 0}
    return json.dumps({"Code": 200, "Data": data, "Message": "success", "Success": True, **more}).encode()


def row(path: str, revision: str = OLD, **more: t.Any) -> dict[str, t.Any]:
    return {"Path": path, "Type": "blob", "Size": 3, "Sha256": "A" * 64, "Revision": revision, **more}


def test_page() -> None:
    page = _modelscope.parse_page(answer([row("a"), row("b", HEAD)], {"Id": "", "ShortId": HEAD[:8]}), WHAT)
    assert page is not None
    assert page.commit == HEAD
    assert not page.cut
    assert _modelscope.entries_of(page.rows, WHAT) == [Entry("a", 3, "a" * 64), Entry("b", 3, "a" * 64)]


def test_unknown_revision_is_an_answer_without_files() -> None:
    assert _modelscope.parse_page(answer(None), WHAT) is None


def test_page_that_may_be_cut() -> None:
    page = _modelscope.parse_page(answer([row(str(number)) for number in range(3000)]), WHAT)
    assert page is not None
    assert page.cut


@pytest.mark.parametrize(
    ("committer", "expected"),
    [
        ({"Id": OLD, "ShortId": HEAD[:8]}, OLD),
        ({"Id": "", "ShortId": HEAD[:8]}, HEAD),
        ({"ShortId": "ffffffff"}, None),  # the latest commit did nothing but delete files
        ({"ShortId": "1"}, None),
        ({"ShortId": None}, None),
        ({}, None),
    ],
)
def test_find_commit(committer: dict[str, t.Any], expected: str | None) -> None:
    assert _modelscope.find_commit(committer, [row("a"), row("b", HEAD), {"Revision": 3}, {}]) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "the list was not answered with JSON"),
        (b"[]", "was not answered as by a ModelScope hub"),
        (b'{"detail": "not found"}', "was not answered as by a ModelScope hub"),
        (answer([], Success=False, Message="too busy"), "was refused by the hub: too busy"),
        (answer([], Code=10010205001, Message=""), "was refused by the hub: 10010205001"),
        (b'{"Data": []}', "was not answered with a list of files"),
        (answer({"a": 1}), "was not answered with a list of files"),
        (answer(["a"]), "was answered with rows that are not objects"),
    ],
)
def test_page_refused(body: bytes, reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        _modelscope.parse_page(body, WHAT)


def test_folders_are_left_out_and_other_things_refused() -> None:
    assert _modelscope.entries_of([row("d", Type="tree", Sha256="", Size=0)], WHAT) == []
    for strange in (row("x", Type="commit"), row("x", Size=None), row("x", Size=True), row("x", Size="3x")):
        with pytest.raises(HubError, match="the list lists 'x', which is not a plain file with a size"):
            _modelscope.entries_of([strange], WHAT)


def test_urls() -> None:
    url = _modelscope.listing_url("https://hub.example.com", "a/b", "feature/x y", "onnx", recursive=False)
    assert (
        url == "https://hub.example.com/api/v1/models/a/b/repo/files?Revision=feature%2Fx+y&Recursive=False&Root=onnx"
    )
    assert _modelscope.revisions_url("https://h", "a/b") == "https://h/api/v1/models/a/b/revisions"


def test_token_goes_where_both_parts_of_the_api_look() -> None:
    assert _modelscope.headers(None) == {"Accept": "application/json"}
    assert _modelscope.headers("T")["Authorization"] == "Bearer T"
    assert _modelscope.headers("T")["Cookie"] == "m_session_id=T"


def test_revisions() -> None:
    known = {"Branches": [{"Revision": "master", "CreatedAt": 1}, {}], "Tags": None}
    body = json.dumps({"Data": {"RevisionMap": known}}).encode()
    assert _modelscope.parse_revisions(body, WHAT) == ["master"]
    assert _modelscope.parse_revisions(b'{"Data": null}', WHAT) == []


@pytest.mark.parametrize(
    "refusal",
    [
        {"Code": 10010205001, "Success": False, "Message": "no such model"},
        {"Code": 200, "Success": "false", "Message": "no such model", "Data": None},
        {"Code": 500, "Message": "<p>no such\n model</p>", "Data": None},
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_hub(refusal: dict[str, t.Any]) -> None:
    with pytest.raises(HubError, match=r"was refused by the hub: no such model$"):
        _modelscope.parse_page(json.dumps(refusal).encode(), WHAT)


def test_numbers_and_marks_may_be_texts_and_a_sum_may_have_a_name() -> None:
    listed = row("a", Size="3", Sha256=" sha256:" + "A" * 64 + "\n")
    page = _modelscope.parse_page(b"\xef\xbb\xbf" + answer([listed], Code="200", Success="true"), WHAT)
    assert page is not None
    assert _modelscope.entries_of(page.rows, WHAT) == [Entry("a", 3, "a" * 64)]
