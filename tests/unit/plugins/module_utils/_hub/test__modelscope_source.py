# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _modelscope, _modelscope_source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._modelscope_source import ModelScope
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, Resolution
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._transport import TransportError, explain


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    with lab.Hub(token="T") as server:
        yield server


@pytest.fixture
def make(access: t.Callable[..., Access], hub: t.Any) -> t.Callable[..., ModelScope]:
    return lambda **options: ModelScope(access(hub.url, **options), "/nowhere", lambda library: None)


def requests_of(hub: t.Any) -> list[tuple[str, str | None]]:
    return [(entry["path"].rsplit("/", 1)[-1], entry["query"].get("Revision")) for entry in hub.log]


def test_branch_tag_and_commit(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    model = hub.add_model("acme/tiny")
    first = model.commit({"config.json": b"{}", "sub/a.txt": b"hi"}, tag="v1")
    second = model.commit({"config.json": b"[]"})
    source = make()
    assert source.resolve(None) == Resolution("master", second)
    assert source.resolve("v1") == Resolution("v1", first)
    assert source.pin(first) == Resolution(first, first)
    assert source.pin("v1") is None
    assert source.pin(None) is None
    hub.reset_log()
    entries = source.entries(Resolution("v1", first))
    assert [(entry.path, entry.size) for entry in entries] == [("config.json", 2), ("sub/a.txt", 2)]
    assert entries[0].sha256 == hashlib.sha256(b"{}").hexdigest()
    assert hub.log == []
    source = make()
    assert [entry.path for entry in source.entries(Resolution(first, first))] == ["config.json", "sub/a.txt"]
    assert requests_of(hub) == [("files", first)]


def test_latest_commit_that_only_deletes_has_no_name(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    model = hub.add_model("acme/tiny")
    model.commit({"a": b"a", "b": b"b"})
    model.commit({"b": None})
    source = make()
    resolution = source.resolve("master")
    assert resolution == Resolution("master", None)
    assert [entry.path for entry in source.entries(resolution)] == ["a"]


def test_unknown_revision(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    hub.add_model("acme/tiny").commit({"a": b"a"}, tag="v1")
    with pytest.raises(
        HubError, match=r"acme/tiny at http://.* has no revision 'main', or no file in it; it has master, v1"
    ):
        make().resolve("main")


def test_empty_repository(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    hub.add_model("acme/tiny")
    with pytest.raises(
        HubError, match="has no revision 'master', or no file in it; check the name of the branch or tag"
    ):
        make().resolve(None)


def test_private_repository(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    commit = hub.add_model("acme/tiny", private=True).commit({"a": b"a"})
    assert make(token="T").resolve(None).commit == commit
    with pytest.raises(HubError, match=r"there is no such repository .* a private one needs a token"):
        make().resolve(None)
    with pytest.raises(HubError, match=r"there is no such repository .* check that the token may read it") as caught:
        make(token="wrong-token").resolve(None)
    assert "wrong-token" not in str(caught.value)


def test_listing_that_the_hub_cuts(
    hub: t.Any, make: t.Callable[..., ModelScope], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_modelscope, "LIST_LIMIT", 5)
    hub.list_limit = 5
    files = {f"{folder}/{number}.txt": b"x" for folder in ("a", "b/c", "b/d") for number in range(3)}
    hub.add_model("acme/tiny").commit(files)
    source = make()
    entries = source.entries(source.resolve(None))
    assert sorted(entry.path for entry in entries) == sorted(files)


def test_folder_that_cannot_be_listed(
    hub: t.Any, make: t.Callable[..., ModelScope], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_modelscope, "LIST_LIMIT", 5)
    hub.list_limit = 5
    hub.add_model("acme/tiny").commit({f"a/{number}.txt": b"x" for number in range(9)})
    with pytest.raises(HubError, match="does not list all files of its folder 'a'; it is too large"):
        make().resolve(None)


def test_files_are_fetched_from_the_commit_if_the_hub_serves_it(hub: t.Any, make: t.Callable[..., ModelScope]) -> None:
    model = hub.add_model("acme/tiny")
    commit = model.commit({"a": b"a"})
    source = make()
    resolution = source.resolve(None)
    entries = source.entries(resolution)
    assert source._servable(resolution, entries) == commit
    hub.reset_log()
    assert source._servable(Resolution(commit, commit), entries) == commit
    assert source._servable(Resolution("master", None), entries) == "master"
    assert hub.log == []
    del model.commits[commit]  # a hub that does not take commits
    assert source._servable(resolution, entries) == "master"


def test_sdk_settings(access: t.Callable[..., Access]) -> None:
    settings = _modelscope_source.sdk_environment(access("https://hub.example.com", token="T"), "/tmp/x")
    assert settings["MODELSCOPE_HOME"] == settings["MODELSCOPE_CACHE"] == "/tmp/x"
    assert settings["MODELSCOPE_DOWNLOAD_FILE_LOCK"] == "false"
    assert settings["MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT"] == "604800"
    assert "REQUESTS_CA_BUNDLE" not in settings
    assert "T" not in settings.values()


class Failure(Exception):
    """Like the SDK's own: it names the files."""

    def __init__(self, failed_files: dict[str, BaseException]) -> None:
        super().__init__("some failed")
        self.failed_files = failed_files


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("first line\nsecond"), "ValueError: first line"),
        (TimeoutError(), "TimeoutError"),
        (
            Failure({"b": OSError("token=hunter2"), "a": OSError("x")}),
            "2 of its files could not be fetched: a (OSError: x), b (OSError: token=********)",
        ),
        (
            Failure({str(n): OSError("x") for n in range(7)}),
            "7 of its files could not be fetched: " + ", ".join(f"{n} (OSError: x)" for n in range(5)) + " and 2 more",
        ),
    ],
)
def test_describe_failure(error: BaseException, text: str) -> None:
    assert _modelscope_source.describe_failure(error, "hunter2") == text


@pytest.mark.parametrize(
    ("status", "token", "text"),
    [
        (401, False, "the hub refused to answer without a token (reason)"),
        (403, True, "the hub refused the token (reason)"),
        (404, False, "there is no such repository (reason); check the name, and a private one needs a token"),
        (503, True, "reason"),
        (None, True, "reason"),
    ],
)
def test_explain(status: int | None, token: bool, text: str) -> None:
    assert explain(TransportError("reason", status), token) == text
