# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disk is full at any write: a clear message, nothing lost; and what is no more than a courtesy is a warning."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _apply, _store
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot

from .conftest import SnapshotRun

Snapshot = t.Callable[..., SnapshotRun]


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    with lab.Hub() as server:
        server.add_model("acme/tiny").commit({"config.json": b"{}"})
        yield server


def full(*arguments: t.Any, **options: t.Any) -> t.Any:
    """Fail as a write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/models/acme/tiny/x")


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (_store, "_write_new"),
        (_store, "_make_folder"),
        (ModelStore, "publish"),
        (ModelStore, "switch"),
        (ModelStore, "make_staging"),
        (ModelStore, "sweep"),
        (os, "symlink"),
    ],
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_and_nothing_is_lost(
    snapshot: Snapshot, hub: t.Any, monkeypatch: pytest.MonkeyPatch, where: t.Any, name: str, code: int
) -> None:
    first = snapshot(endpoint=hub.url).result
    hub.models["acme/tiny"].commit({"config.json": b"[]"})

    def fail(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        raise OSError(code, os.strerror(code), "/srv/models/acme/tiny/x")

    with monkeypatch.context() as patch:
        patch.setattr(where, name, fail)
        ended = snapshot(endpoint=hub.url)
    assert ended.failed
    assert "no space is left on the disk (/srv/models/acme/tiny/x)" in ended.result["msg"]
    assert "make room and run again" in ended.result["msg"]
    assert os.readlink(first["current"]) == first["digest"]
    assert Path(first["current"], "config.json").read_bytes() == b"{}"
    again = snapshot(endpoint=hub.url)
    assert not again.failed
    assert Path(first["current"], "config.json").read_bytes() == b"[]"


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (ModelStore, "clear_staging"),
        (ModelStore, "remove_release"),
        (_apply, "_note_origin"),
    ],
)
def test_courtesy_that_fails_is_a_warning(
    snapshot: Snapshot, hub: t.Any, monkeypatch: pytest.MonkeyPatch, where: t.Any, name: str
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(model_snapshot.FleetModule, "warn", lambda self, text, **unused: warned.append(text))
    snapshot(endpoint=hub.url)
    hub.models["acme/tiny"].commit({"config.json": b"[]"})
    with monkeypatch.context() as patch:
        patch.setattr(where, name, full)
        ended = snapshot(endpoint=hub.url, keep=0)
    assert not ended.failed
    assert Path(ended.result["current"], "config.json").read_bytes() == b"[]"
    assert [text for text in warned if "No space left on device" in text and "the next run tries it again" in text]
    assert not snapshot(endpoint=hub.url, keep=0).failed


def test_progress_that_cannot_be_written_stops_nothing(
    snapshot: Snapshot, hub: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.private_llm.fleet.plugins.module_utils import _progress

    monkeypatch.setattr(_progress, "DIRECTORY", "/dev/null/progress")
    assert not snapshot(endpoint=hub.url).failed
