# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong on the way from a ModelScope hub, with the real SDK, the whole path and a local hub."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _apply
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._modelscope_source import ModelScope
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, Throttle
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

from .test__apply import content
from .test_crashes import load

pytest.importorskip("modelscope_hub")

BIG = random.Random(3).randbytes(2_500_000)
FILES = {"config.json": b"{}", "sub/notes.txt": b"hi", "big.bin": BIG}
TOTAL = sum(map(len, FILES.values()))


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    with lab.Hub(cdn_host="localhost", token="T") as server:
        server.add_model("acme/tiny").commit(FILES)
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the SDK would have waited."""
    waited: list[float] = []
    control = importlib.import_module("modelscope_hub._download_control")
    monkeypatch.setattr(control._DownloadControl, "sleep", lambda self, seconds: waited.append(seconds))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return waited


@pytest.fixture
def source(
    hub: t.Any, access: t.Callable[..., Access], tmp_path: Path, pauses: list[float]
) -> t.Iterator[t.Callable[..., ModelScope]]:
    environment = dict(os.environ)

    def make(**options: t.Any) -> ModelScope:
        made = ModelScope(access(hub.url, **options), str(tmp_path / "scratch"), lambda name: None)
        made.prepare()
        return made

    yield make
    os.environ.clear()
    os.environ.update(environment)


def spoil(hub: t.Any, match: str, kind: str, **options: t.Any) -> None:
    """Let something go wrong at the hub."""
    import hub as lab

    hub.faults.append(lab.Fault(match, kind, **options))


def storage(hub: t.Any) -> list[dict[str, t.Any]]:
    """The requests for big files."""
    return [entry for entry in hub.log if entry["path"].startswith("/lfs-data/")]


def test_requests_and_bytes(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    assert load(store, source()) == TOTAL
    assert content(store) == FILES
    assert len([entry for entry in hub.log if entry["path"].endswith("/repo")]) == 3
    assert sum(entry["bytes"] for entry in storage(hub)) == len(BIG)
    hub.reset_log()
    assert load(store, source()) == 0
    assert [entry["path"].rpartition("/")[2] for entry in hub.log] == ["files"]


@pytest.mark.parametrize("at", [0, 1, 700_001, 1_234_567, 2_499_999])
def test_cut_anywhere(store: ModelStore, hub: t.Any, source: t.Any, at: int) -> None:
    spoil(hub, "lfs-data", "cut", at=at)
    assert load(store, source()) == TOTAL
    assert content(store) == FILES
    sent = [entry["bytes"] for entry in storage(hub)]
    assert len(sent) == 2
    # What the SDK had not written when the line broke comes again, which is less than a block of its.
    assert len(BIG) <= sum(sent) < len(BIG) + 1_048_576


def test_line_that_breaks_more_often_than_the_sdk_tries(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    """The SDK gives a file up after some failures, whether they brought something or not."""
    for number in range(1, 12):
        spoil(hub, "lfs-data", "cut", at=number * 200_000)
    hub.faults.sort(key=lambda fault: fault.at)
    chunk = importlib.import_module("modelscope_hub._download")
    before, chunk.DOWNLOAD_CHUNK_SIZE = chunk.DOWNLOAD_CHUNK_SIZE, 50_000
    try:
        assert load(store, source()) >= TOTAL
    finally:
        chunk.DOWNLOAD_CHUNK_SIZE = before
    assert content(store) == FILES
    assert len(storage(hub)) == 12


def test_wrong_byte_once(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    spoil(hub, "lfs-data", "corrupt", at=1_234_567)
    load(store, source())
    assert content(store) == FILES
    assert len(storage(hub)) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "corrupt", "at": 5, "times": -1}, "Hash mismatch"),
        ({"kind": "truncate", "keep": 1000, "times": -1}, "1000 bytes"),
        ({"kind": "truncate", "keep": 0, "times": -1}, "0 bytes"),
        ({"kind": "json200", "times": -1}, "but the repository lists 2500000 bytes"),
        ({"kind": "html200", "times": -1}, "but the repository lists 2500000 bytes"),
        ({"kind": "status", "status": 401, "times": -1}, "401"),
        ({"kind": "status", "status": 403, "times": -1}, "403"),
        ({"kind": "status", "status": 404, "times": -1}, "404"),
        ({"kind": "status", "status": 500, "times": -1}, "500"),
    ],
)
def test_what_does_not_pass(store: ModelStore, hub: t.Any, source: t.Any, fault: dict[str, t.Any], reason: str) -> None:
    spoil(hub, "lfs-data", **fault)
    with pytest.raises(HubError, match=rf"1 of its files could not be fetched: big\.bin \(.*{reason}"):
        load(store, source())
    assert store.releases() == []
    assert store.current() is None
    # The next run, when all is well, brings just what is missing.
    hub.faults.clear()
    hub.reset_log()
    load(store, source())
    assert content(store) == FILES
    assert [e["query"].get("FilePath") for e in hub.log if e["path"].endswith("/repo")] == ["big.bin"]


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "retry_after": 7}])
def test_what_passes(
    store: ModelStore, hub: t.Any, source: t.Any, pauses: list[float], fault: dict[str, t.Any]
) -> None:
    spoil(hub, "lfs-data", "status", times=2, **fault)
    load(store, source())
    assert content(store) == FILES
    assert len(storage(hub)) == 3
    assert fault.get("retry_after") in (None, *pauses)


@pytest.mark.parametrize("kind", ["json200", "html200"])
def test_small_file_answered_with_something_else(store: ModelStore, hub: t.Any, source: t.Any, kind: str) -> None:
    spoil(hub, "FilePath=sub/notes.txt", kind, times=-1)
    with pytest.raises(HubError, match=r"sub/notes\.txt \("):
        load(store, source())
    assert store.releases() == []


def test_server_that_knows_no_ranges(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    spoil(hub, "lfs-data", "norange", times=-1)
    spoil(hub, "lfs-data", "cut", at=2_000_000)
    assert load(store, source()) == TOTAL
    assert content(store) == FILES


def test_push_between_list_and_transfer(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    model = hub.models["acme/tiny"]
    made = source()
    before = made.fetch

    def pushed(*arguments: t.Any) -> int:
        model.commit({"big.bin": b"new" * 500_000, "config.json": b"[]"})
        return t.cast(int, before(*arguments))

    made.fetch = pushed
    load(store, made)
    assert content(store) == FILES
    load(store, source())
    assert content(store)["config.json"] == b"[]"


@pytest.mark.parametrize(
    "path", ["../../escaped", "/etc/escaped", "a\\b", "a\x07b", "sub/../../../escaped", ".git/config", "a//b"]
)
def test_hostile_paths(store: ModelStore, hub: t.Any, source: t.Any, tmp_path: Path, path: str) -> None:
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import check_entries

    row = {"Path": path, "Type": "blob", "Size": 1, "Sha256": hashlib.sha256(b"x").hexdigest()}
    hub.models["acme/tiny"].extra_entries.append(row)
    made = source()
    with pytest.raises(HubError, match="is refused because"):
        check_entries(made.entries(made.resolve(None)), "the hub")
    assert list(tmp_path.rglob("escaped")) == []


def test_link_in_the_way_is_not_followed(store: ModelStore, hub: t.Any, source: t.Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = source()
    entries = tuple(made.entries(made.resolve(None)))
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import digest_of

    staging = Path(store.staging_path(digest_of(entries)))
    staging.mkdir(parents=True)
    (staging / "sub").symlink_to(outside)
    with pytest.raises(HubError, match=r"sub is a link and may lead out of the store; remove it"):
        load(store, made)
    assert list(outside.iterdir()) == []


def test_lock_of_the_dead_is_no_obstacle(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    os.makedirs(store.path)
    Path(store.path, ".lock").write_text("4194304\n")
    load(store, source())
    assert content(store) == FILES


def test_unwritable_store(hub: t.Any, source: t.Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        load(ModelStore(str(tmp_path / "file"), "acme/tiny"), source())


@pytest.fixture
def small_disk(tmp_path: Path) -> t.Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_full_disk(small_disk: Path, hub: t.Any, source: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(str(small_disk), "acme/tiny")
    with pytest.raises(HubError, match=r"acme/tiny needs 2\.5 MB more in .*, and .*small.* has .* free; make room"):
        load(store, source())
    assert storage(hub) == []
    # Others took the space after it was looked at.
    monkeypatch.setattr(_apply.ModelStore, "check_free_space", lambda self, needed: None)
    with pytest.raises(HubError, match=r"big\.bin \(.*No space left on device"):
        load(store, source())
    assert len(storage(hub)) == 1
    assert store.releases() == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    load(store, source())
    assert content(store) == FILES
    # The part that had found room was not fetched again.
    assert storage(hub)[-1]["status"] == 206


def test_bandwidth(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    waited: list[float] = []
    made = source()
    throttle = Throttle(1_000_000, clock=lambda: 0.0, sleep=waited.append)
    object.__setattr__(made._access, "throttle", throttle)
    load(store, made)
    assert max(waited) == pytest.approx(TOTAL / 1_000_000)


def test_rate_is_kept_without_catching_up() -> None:
    now = 0.0
    waited: list[float] = []
    throttle = Throttle(100, clock=lambda: now, sleep=waited.append)
    throttle(50)
    throttle(50)
    now = 10.0
    throttle(100)
    Throttle(0, clock=lambda: now, sleep=waited.append)(1000)
    assert waited == [0.5, 1.0, 1.0]


def test_token_stays_with_its_host(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    hub.models["acme/tiny"].private = True
    load(store, source(token="T"))
    assert content(store) == FILES
    assert {entry["host"].partition(":")[0] for entry in storage(hub)} == {"localhost"}
    assert {entry["authorization"] for entry in storage(hub)} == {None}
    assert all("T" not in (entry["cookie"] or "").split("=") for entry in storage(hub))


@pytest.mark.usefixtures("stored_credentials")
def test_stored_credentials_are_not_used(store: ModelStore, hub: t.Any, source: t.Any) -> None:
    load(store, source())
    assert {(entry["authorization"], entry["cookie"]) for entry in hub.log} == {(None, None)}
