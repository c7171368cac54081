# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The source against the real huggingface_hub and a local hub that speaks its protocol."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _huggingface, _huggingface_source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError, Selection
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._huggingface_source import HuggingFace
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, FetchError, Resolution

BIG = random.Random(1).randbytes(3_000_000)
FILES = {"config.json": b"{}", "sub/notes.txt": b"hi", "model.safetensors": BIG}

Make = t.Callable[..., HuggingFace]


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hf_hub

    with hf_hub.HuggingFaceHub(token="T", cdn_host="localhost") as server:
        yield server


@pytest.fixture
def commit(hub: t.Any) -> str:
    return t.cast(str, hub.add_model("acme/tiny").commit(FILES, tag="v1"))


@pytest.fixture
def make(
    access: t.Callable[..., Access], hub: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[Make]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    environment = dict(os.environ)

    def build(**options: t.Any) -> HuggingFace:
        source = HuggingFace(access(hub.url, **options), str(tmp_path / "scratch"), lambda name: None)
        source.prepare()
        return source

    yield build
    os.environ.clear()
    os.environ.update(environment)


def wanted(source: HuggingFace, resolution: Resolution) -> list[Entry]:
    return source.entries(resolution, Selection())


def fetch(source: HuggingFace, folder: Path) -> int:
    resolution = source.resolve(None)
    return source.fetch(resolution, wanted(source, resolution), str(folder), lambda count: None)


def held(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def spoil(hub: t.Any, match: str, kind: str, **options: t.Any) -> None:
    """Let something go wrong at the hub."""
    import hub as lab

    hub.faults.append(lab.Fault(match, kind, **options))


def storage(hub: t.Any) -> list[dict[str, t.Any]]:
    return [entry for entry in hub.log if entry["path"].startswith("/lfs-data/")]


def test_the_lab_speaks_the_protocol_of_the_library(hub: t.Any, commit: str, tmp_path: Path) -> None:
    library = importlib.import_module("huggingface_hub")
    folder = library.snapshot_download("acme/tiny", endpoint=hub.url, local_dir=tmp_path / "by-hand", token=False)
    for path, content in FILES.items():
        assert Path(folder, path).read_bytes() == content


def test_one_request_resolves_and_none_pins(hub: t.Any, commit: str, make: Make) -> None:
    source = make()
    assert source.resolve(None) == Resolution("main", commit)
    assert source.resolve("v1") == Resolution("v1", commit)
    assert len(hub.log) == 2
    assert source.pin(commit) == Resolution(commit, commit)
    assert source.pin("main") is None
    assert len(hub.log) == 2


def test_files_and_requests(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    source = make()
    resolution = source.resolve(None)
    hub.reset_log()
    entries = wanted(source, resolution)
    assert entries == [Entry(p, len(c), hashlib.sha256(c).hexdigest()) for p, c in sorted(FILES.items())]
    # The list, and the two small files that it gives no SHA-256 of.
    assert len(hub.log) == 3
    hub.reset_log()
    told: list[int] = []
    assert source.fetch(resolution, entries, str(tmp_path), told.append) == sum(map(len, FILES.values()))
    assert sum(told) == sum(map(len, FILES.values()))
    assert held(tmp_path) == FILES
    # The big file's place, and its content; the small ones are known.
    assert [entry["status"] for entry in hub.log] == [302, 200]
    assert sum(entry["bytes"] for entry in storage(hub)) == len(BIG)


def test_pages(hub: t.Any, make: Make) -> None:
    hub.add_model("acme/tiny").commit({f"{number:03}.txt": b"%d" % number for number in range(25)})
    hub.page = 10
    source = make()
    resolution = source.resolve(None)
    hub.reset_log()
    assert len(wanted(source, resolution)) == 25
    assert len([entry for entry in hub.log if "/tree/" in entry["path"]]) == 3


def test_unwanted_small_files_are_not_read(hub: t.Any, commit: str, make: Make) -> None:
    source = make()
    resolution = source.resolve(None)
    hub.reset_log()
    entries = source.entries(resolution, Selection(("*.safetensors",)))
    assert [entry.path for entry in entries] == ["model.safetensors"]
    assert len(hub.log) == 1
    with pytest.raises(HubError, match=r"leave none of the 3 files of acme/tiny at .*, revision main"):
        source.entries(resolution, Selection(("*.gguf",)))


@pytest.mark.parametrize(
    ("repo", "revision", "reason"),
    [
        ("acme/none", None, "there is no such repository|refused to answer without a token"),
        ("acme/tiny", "typo", "there is no revision 'typo' .*; check the name"),
        ("acme/tiny", "0" * 40, "there is no revision '0{40}'"),
    ],
)
def test_what_is_not_there(hub: t.Any, commit: str, make: Make, repo: str, revision: str | None, reason: str) -> None:
    source = make(repo=repo)
    with pytest.raises(HubError, match=reason):
        wanted(source, source.pin(revision) or source.resolve(revision))


def test_token_stays_with_its_host(hub: t.Any, make: Make, tmp_path: Path) -> None:
    hub.add_model("acme/tiny", private=True).commit(FILES)
    with pytest.raises(HubError, match="refused to answer without a token"):
        fetch(make(), tmp_path)
    hub.reset_log()
    fetch(make(token="T"), tmp_path)
    assert held(tmp_path) == FILES
    # The storage has another host name, and gets no token.
    assert [entry["authorization"] for entry in storage(hub)] == [None]
    assert {entry["authorization"] for entry in hub.log} == {None, "Bearer T"}


@pytest.mark.parametrize("at", [0, 1, 700_001, 2_999_999])
def test_cut_anywhere(hub: t.Any, commit: str, make: Make, tmp_path: Path, at: int) -> None:
    spoil(hub, "lfs-data", "cut", at=at)
    assert fetch(make(), tmp_path) == sum(map(len, FILES.values()))
    assert held(tmp_path) == FILES
    sent = [entry["bytes"] for entry in storage(hub)]
    # Nothing that came before the cut comes again, but for what the library had not yet written.
    assert len(sent) == 2
    assert len(BIG) <= sum(sent) <= len(BIG) + _huggingface_source.CHUNK


def test_what_an_earlier_run_left_is_gone_on_with(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.incomplete").write_bytes(BIG[:2_000_000])
    assert fetch(make(), tmp_path) == sum(map(len, FILES.values())) - 2_000_000
    assert held(tmp_path) == FILES
    assert [(entry["range"], entry["bytes"]) for entry in storage(hub)] == [("bytes=2000000-", 1_000_000)]


@pytest.mark.parametrize("left", [b"wrong" * 100_000, BIG + b"more", BIG[:-1] + b"?"])
def test_what_was_left_of_something_else_is_thrown_away(
    hub: t.Any, commit: str, make: Make, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "model.safetensors.incomplete").write_bytes(left)
    fetch(make(), tmp_path)
    assert held(tmp_path) == FILES
    assert storage(hub)[-1]["range"] is None


def test_server_that_knows_no_ranges(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.incomplete").write_bytes(BIG[:2_000_000])
    spoil(hub, "lfs-data", "norange", times=-1)
    fetch(make(), tmp_path)
    assert held(tmp_path) == FILES
    assert sum(entry["bytes"] for entry in storage(hub)) == len(BIG)


def test_wrong_byte_once(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    spoil(hub, "lfs-data", "corrupt", at=1_234_567)
    fetch(make(), tmp_path)
    assert held(tmp_path) == FILES
    assert len(storage(hub)) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "corrupt", "at": 5}, r"model\.safetensors \(WrongContent: .* came with 3000000 bytes and SHA-256 "),
        ({"kind": "truncate", "keep": 1000}, r"came with 1000 bytes"),
        ({"kind": "json200"}, r"model\.safetensors \(WrongContent: "),
        ({"kind": "html200"}, r"model\.safetensors \(WrongContent: "),
    ],
)
def test_wrong_contents_always(
    hub: t.Any, commit: str, make: Make, tmp_path: Path, fault: dict[str, t.Any], reason: str
) -> None:
    spoil(hub, "lfs-data", times=-1, **fault)
    with pytest.raises(FetchError, match=reason) as raised:
        fetch(make(), tmp_path)
    assert not raised.value.passing
    assert len(storage(hub)) == _huggingface_source.CONTENT_ATTEMPTS
    # The other files are there, and nothing of the wrong one.
    assert held(tmp_path) == {path: content for path, content in FILES.items() if content != BIG}


@pytest.mark.parametrize(
    ("status", "requests", "passing"),
    [(401, 1, False), (403, 1, False), (404, 1, False), (500, 3, True), (503, 3, True)],
)
def test_errors_of_the_storage(
    hub: t.Any, commit: str, make: Make, tmp_path: Path, status: int, requests: int, passing: bool
) -> None:
    spoil(hub, "lfs-data", "status", status=status, times=-1)
    with pytest.raises(FetchError, match=rf"model\.safetensors \(.*{status}") as raised:
        fetch(make(), tmp_path)
    assert raised.value.passing is passing
    assert len(storage(hub)) == requests
    assert "signature" not in str(raised.value)


def test_server_errors_pass(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    spoil(hub, "lfs-data", "status", status=503, times=2)
    fetch(make(), tmp_path)
    assert held(tmp_path) == FILES


def test_too_many_requests(
    hub: t.Any, commit: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    spoil(hub, "lfs-data", "status", status=429, retry_after=7, times=1)
    fetch(make(), tmp_path)
    assert held(tmp_path) == FILES
    assert any(pause >= 7 for pause in pauses)


def test_small_file_with_other_contents(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    spoil(hub, "config.json", "corrupt", at=0, times=-1)
    with pytest.raises(HubError, match=r"config\.json came from .* other contents than its list of files says"):
        fetch(make(), tmp_path)
    assert held(tmp_path) == {}


def test_hostile_paths_of_small_files(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    hub.models["acme/tiny"].extra_entries.append({"Path": "../../x", "Type": "blob", "Size": 1, "Id": "0" * 40})
    with pytest.raises(HubError, match=r"lists the file '\.\./\.\./x', which is refused because it leads out"):
        fetch(make(), tmp_path / "a" / "b")
    assert held(tmp_path) == {}


def test_no_rate_means_no_waiting_and_a_rate_is_kept(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    waited: list[int] = []
    source = make()
    object.__setattr__(source._access, "throttle", waited.append)
    fetch(source, tmp_path)
    assert sum(waited) == sum(map(len, FILES.values()))


@pytest.mark.usefixtures("stored_credentials")
def test_stored_credentials_are_not_used(hub: t.Any, commit: str, make: Make, tmp_path: Path) -> None:
    fetch(make(), tmp_path / "out")
    assert {entry["authorization"] for entry in hub.log} == {None}


class Passing:
    """A mirror that lets a Link header of the hub behind it through, and lists a file a page."""

    def __init__(self, hub: t.Any, link: t.Callable[[str, int], str]) -> None:
        self._link = link
        tree = type(hub)._tree

        def paged(self_: t.Any, request: t.Any, model: t.Any, commit: t.Any) -> None:
            send = request.send_json

            def passed(body: t.Any, status: int = 200, headers: t.Any = None) -> None:
                if headers and "Link" in headers:
                    query = headers["Link"].partition("?")[2].partition(">")[0]
                    headers = {"Link": self._link(query, hub.port)}
                send(body, status=status, headers=headers or {})

            request.send_json = passed
            tree(self_, request, model, commit)

        hub._tree = paged.__get__(hub)
        hub.page = 10


def test_pages_are_asked_of_the_endpoint_that_the_token_is_for(hub: t.Any, make: Make) -> None:
    """A mirror passes on the Link header of its hub, which leads there: out of reach, or to other hands."""
    hub.add_model("acme/tiny").commit({f"{number:03}.txt": b"%d" % number for number in range(25)})
    Passing(hub, lambda query, port: f'<http://hub.invalid:{port}/api/other?{query}>; rel="next"')
    source = make(token="T")
    assert len(wanted(source, source.resolve(None))) == 25
    assert len([entry for entry in hub.log if "/tree/" in entry["path"]]) == 3
    assert {entry["authorization"] for entry in hub.log} == {"Bearer T"}


def test_page_that_names_itself_ends(hub: t.Any, make: Make) -> None:
    hub.add_model("acme/tiny").commit({f"{number:03}.txt": b"%d" % number for number in range(25)})
    Passing(hub, lambda query, port: f'<http://127.0.0.1:{port}/?recursive=true&expand=false>; rel="next"')
    source = make()
    with pytest.raises(HubError, match=r"the list of files of acme/tiny at .* has no end: after 10 files"):
        wanted(source, source.resolve(None))
    assert len([entry for entry in hub.log if "/tree/" in entry["path"]]) == 1


def test_list_that_goes_on_for_ever_ends(hub: t.Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_huggingface_source.api, "ROWS_LIMIT", 30)
    hub.add_model("acme/tiny").commit({f"{number:03}.txt": b"%d" % number for number in range(90)})
    hub.page = 10
    source = make()
    with pytest.raises(HubError, match="has no end: after 40 files"):
        wanted(source, source.resolve(None))


@pytest.mark.parametrize("token", [None, "T"])
def test_wrong_name_of_a_repository_is_told_as_that(hub: t.Any, commit: str, make: Make, token: str | None) -> None:
    with pytest.raises(HubError) as caught:
        make(repo="acme/typo", token=token).resolve(None)
    said = str(caught.value)
    assert said.startswith("acme/typo at http://127.0.0.1:")
    assert "there is no such repository, or " in said
    assert "check the name" in said
    assert ("the token may not read it" in said) is bool(token)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_mirror_without_lists_is_told_as_that(hub: t.Any, commit: str, make: Make, status: int) -> None:
    source = make()
    resolution = source.resolve(None)
    spoil(hub, "/tree/", "status", status=status, times=-1)
    with pytest.raises(
        HubError, match=rf"answered HTTP {status} .*may be a mirror that serves files but no list of them"
    ):
        wanted(source, resolution)


def test_files_above_the_limit_of_the_library_come_all_the_same(
    hub: t.Any, commit: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses those above 50 GB when it is told their sizes."""
    monkeypatch.setattr(importlib.import_module("huggingface_hub.constants"), "MAX_HTTP_DOWNLOAD_SIZE", 1000)
    assert fetch(make(), tmp_path) == sum(map(len, FILES.values()))
    assert held(tmp_path) == FILES


def test_small_files_that_were_read_are_kept_when_the_hub_has_enough(
    hub: t.Any, access: t.Callable[..., Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _transport
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

    hub.add_model("acme/tiny").commit({f"{number}.txt": b"%d" % number for number in range(9)})
    store = ModelStore(str(tmp_path / "models"), "acme/tiny")

    def look() -> list[Entry]:
        source = HuggingFace(access(hub.url), str(tmp_path / "s"), lambda name: None, store.shelf())
        return wanted(source, source.resolve(None))

    monkeypatch.setattr(_transport, "PATIENCE", 0)
    spoil(hub, "/resolve/", "status", status=429, skip=5, times=-1)
    with pytest.raises(HubError, match=r"HTTP 429 .*a token raises the limit"):
        look()
    hub.faults.clear()
    hub.reset_log()
    assert len(look()) == 9
    assert len([entry for entry in hub.log if "/resolve/" in entry["path"]]) == 4
    # What was kept and is something else is read anew.
    for kept in Path(store.staging_root, "small").iterdir():
        kept.write_bytes(b"x")
    hub.reset_log()
    assert len(look()) == 9
    assert len([entry for entry in hub.log if "/resolve/" in entry["path"]]) == 9


def test_odd_file_that_is_not_wanted_stands_in_nobodys_way(
    hub: t.Any, commit: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = type(hub)._item
    monkeypatch.setattr(
        type(hub),
        "_item",
        staticmethod(lambda row: {**item(row), **({"type": "commit"} if row["Path"].endswith(".txt") else {})}),
    )
    source = make()
    resolution = source.resolve(None)
    with pytest.raises(HubError, match=r"names 'sub/notes\.txt', which is not a plain file .*leave it out with"):
        wanted(source, resolution)
    entries = source.entries(resolution, Selection((), ("sub/",)))
    assert [entry.path for entry in entries] == ["config.json", "model.safetensors"]


def test_values_as_mirrors_write_them_are_read() -> None:
    rows = [
        {"type": "file", "path": "a", "size": "3", "oid": "A" * 40},
        {"type": "file", "path": "b", "size": 9, "lfs": {"oid": "sha256:" + "B" * 64, "size": "5"}},
    ]
    first, second = _huggingface.parse_tree(b"\xef\xbb\xbf" + json.dumps(rows).encode(), "the list")
    assert (first.size, first.blob) == (3, "a" * 40)
    assert (second.size, second.sha256) == (5, "b" * 64)
    assert _huggingface.parse_commit(json.dumps({"sha": "C" * 40}).encode(), "it") == "c" * 40


def test_a_file_that_is_listed_and_not_given_out_is_no_missing_repository(hub: t.Any, commit: str, make: Make) -> None:
    source = make()
    spoil(hub, "/resolve/", "status", status=404, times=-1)
    with pytest.raises(HubError, match=r"the hub lists .* and does not give it out") as caught:
        wanted(source, source.resolve(None))
    assert "there is no such repository" not in str(caught.value)
