# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hub is down and the model is there: what can be done without an answer is done, and told."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _sources
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot

from .conftest import SnapshotRun

Snapshot = t.Callable[..., SnapshotRun]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the module warns of; Ansible itself tells nothing twice in one process."""
    warnings: list[str] = []
    monkeypatch.setattr(model_snapshot.FleetModule, "warn", lambda self, text, **unused: warnings.append(text))
    return warnings


@pytest.fixture(params=["modelscope", "huggingface", "git_lfs"])
def anywhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[tuple[str, t.Any]]:
    """A hub of each kind that has a model."""
    import git_hub
    import hf_hub
    import hub as lab

    monkeypatch.setattr(_sources, "FEW_ATTEMPTS", 1)
    if request.param == "git_lfs":
        if shutil.which("git-lfs") is None:
            pytest.skip("needs git and git-lfs")
        with git_hub.GitHub(tmp_path / "served") as server:
            server.add_repository("acme/tiny").commit({"config.json": b"{}"}, tag="v1")
            yield request.param, server
        return
    pytest.importorskip(f"{request.param}_hub")
    with (lab.Hub if request.param == "modelscope" else hf_hub.HuggingFaceHub)() as server:
        server.add_model("acme/tiny").commit({"config.json": b"{}"}, tag="v1")
        yield request.param, server


def changed(server: t.Any) -> None:
    """Let the branch move."""
    (server.models if hasattr(server, "models") else server.repositories)["acme/tiny"].commit({"config.json": b"[]"})


@pytest.mark.parametrize("status", [503, 429])
def test_release_on_the_host_is_used(
    snapshot: Snapshot, anywhere: tuple[str, t.Any], warned: list[str], status: int
) -> None:
    import hub as lab

    source, server = anywhere
    options = {"source": source, "endpoint": server.url}
    first = snapshot(**options)
    assert first.result["revision_checked"]
    server.faults.append(lab.Fault("", "status", status=status, retry_after=0, times=-1))
    for check in (True, False):
        ended = snapshot(check=check, **options, config=True)
        assert not ended.failed, ended.result
        assert not ended.result["changed"]
        assert ended.result["settled"]
        assert not ended.result["revision_checked"]
        for key in ("path", "commit", "digest", "files", "revision"):
            assert ended.result[key] == first.result[key]
        assert ended.result["config"] == {}
        assert f"answered HTTP {status}" in warned[-1]
        assert "could not be checked" in warned[-1]
    refused = snapshot(check=True, **options, require_hub=True)
    assert refused.failed
    assert f"answered HTTP {status}" in refused.result["msg"]


def test_hub_that_is_gone(snapshot: Snapshot, anywhere: tuple[str, t.Any], warned: list[str]) -> None:
    source, server = anywhere
    options = {"source": source, "endpoint": server.url}
    first = snapshot(**options, revision="v1")
    server.stop()
    ended = snapshot(**options, revision="v1")
    assert not ended.failed
    assert ended.result["path"] == first.result["path"]
    assert "could not be reached" in warned[-1]
    # What was never asked for, is not known to be this.
    for asked in ({"revision": "v2"}, {"revision": "v1", "exclude": ["*.txt"]}, {"revision": "0" * 40}):
        refused = snapshot(check=True, **options, **asked)
        assert refused.failed
        assert re.search("could not be reached|Failed to connect", refused.result["msg"])


def test_release_that_is_damaged_needs_the_hub(snapshot: Snapshot, anywhere: tuple[str, t.Any]) -> None:
    source, server = anywhere
    options = {"source": source, "endpoint": server.url}
    first = snapshot(**options)
    server.stop()
    os.unlink(os.path.join(first.result["path"], "config.json"))
    for check in (True, False):
        refused = snapshot(check=check, **options)
        assert refused.failed
        assert "could not be reached" in refused.result["msg"]
        assert "1 of its files are missing or damaged" in refused.result["msg"]


def test_hub_that_says_no_is_believed(snapshot: Snapshot, anywhere: tuple[str, t.Any]) -> None:
    source, server = anywhere
    options = {"source": source, "endpoint": server.url}
    snapshot(**options)
    for asked in ({"revision": "typo"}, {"repo": "acme/typo"}):
        assert snapshot(check=True, **options, **asked).failed
    (server.models if hasattr(server, "models") else server.repositories)["acme/tiny"].private = True
    assert snapshot(check=True, **options).failed


def test_branch_is_what_it_was_when_its_hub_answered_last(snapshot: Snapshot, anywhere: tuple[str, t.Any]) -> None:
    """Not what it was once, and not what is in use because somebody has pinned it."""
    source, server = anywhere
    options = {"source": source, "endpoint": server.url, "keep": 5}
    old = snapshot(**options)
    changed(server)
    new = snapshot(**options)
    assert new.result["digest"] != old.result["digest"]
    snapshot(**options, revision="v1")
    server.stop()
    ended = snapshot(**options)
    assert ended.result["digest"] == new.result["digest"]
    assert ended.result["actions"] == [f"let current name release {new.result['digest'][:12]}"]
    assert snapshot(**options, revision=old.result["commit"]).result["digest"] == old.result["digest"]
    assert snapshot(**options, revision="v1").result["digest"] == old.result["digest"]


def test_next_source_is_asked_before_the_host_is_believed(snapshot: Snapshot, tmp_path: Path) -> None:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    with lab.Hub() as first, lab.Hub() as second:
        for server in (first, second):
            server.add_model("acme/tiny").commit({"config.json": b"{}"})
        sources = [{"source": "modelscope", "endpoint": server.url} for server in (first, second)]
        assert not snapshot(sources=sources).failed
        first.stop()
        changed(second)
        assert snapshot(check=True, sources=sources).result["missing"] == ["config.json"]
        second.stop()
        ended = snapshot(check=True, sources=sources)
        assert not ended.failed
        assert not ended.result["revision_checked"]


def test_page_for_people_in_place_of_the_hub(snapshot: Snapshot, anywhere: tuple[str, t.Any]) -> None:
    """A captive portal, or a proxy that wants a login."""
    import hub as lab

    source, server = anywhere
    options = {"source": source, "endpoint": server.url}
    assert not snapshot(**options).failed
    server.faults.append(lab.Fault("", "html200", times=-1))
    ended = snapshot(check=True, **options)
    assert not ended.failed, ended.result
    assert not ended.result["revision_checked"]
