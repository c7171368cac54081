# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that is killed before any of its steps leaves no half a model, and the next run ends with the right bytes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import random
import signal
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _huggingface_source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import apply_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._candidates import Candidate, Fetcher
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import EVERYTHING, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._huggingface_source import HuggingFace
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Origin
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._modelscope_source import ModelScope
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import Target, make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, Source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore, stale_files

from .conftest import Memory
from .test__apply import bring, content

# What changes something on the disk.
STEPS = ("rename", "replace", "link", "unlink", "symlink", "mkdir", "rmdir", "fsync", "chmod", "fchmod")

FIRST = {"config.json": b"{}", "weights/a.bin": b"a" * 5000, "weights/b.bin": b"b" * 7000}
SECOND = {**FIRST, "config.json": b"[]", "weights/c.bin": b"c" * 3000}


def start(work: t.Callable[[], object]) -> int:
    """Do the work in another process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            own_locks()
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def own_locks() -> None:
    """Let tqdm, which both SDKs use, hold no lock together with another process: who is killed keeps it for ever."""
    tqdm, own = sys.modules.get("tqdm"), threading.RLock()
    kinds = [tqdm.tqdm] if tqdm else []
    # A kind of bar that was made before others has a lock of its own.
    for kind in kinds:
        kind.set_lock(own)
        kinds.extend(kind.__subclasses__())


def was_killed(child: int) -> bool:
    """Wait for the process; False when it ended by itself, and well."""
    end = time.monotonic() + 300
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the work did not end")
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return False


def killed_before(step: int, work: t.Callable[[], object]) -> bool:
    """Do the work in another process that is killed before its n-th step; False when it ended before that."""

    def count_down() -> None:
        left = step

        def counting(call: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def counted(*arguments: t.Any, **options: t.Any) -> t.Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return counted

        for name in STEPS:
            setattr(os, name, counting(getattr(os, name)))
        work()

    return was_killed(start(count_down))


def assert_every_release_is_whole(store: ModelStore, *known: dict[str, bytes]) -> None:
    """Whatever looks like a model is one."""
    for release in store.releases():
        assert release.manifest is not None
        assert stale_files(release, full=False).missing == ()
        held = {e.path: Path(release.path, e.path).read_bytes() for e in release.manifest.entries}
        assert held in known
    if os.path.lexists(store.current_link):
        # A manifest that was being written is beside the one that holds.
        assert {path: held for path, held in content(store).items() if not path.startswith(".manifest")} in known


# In Python 3.12 and later, to fork with threads is worth a warning; the child here uses none that it has not made.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("what", ["first", "next", "repair"])
def test_killed_before_any_step(tmp_path: Path, what: str) -> None:
    step = 0
    while True:
        step += 1
        store = ModelStore(str(tmp_path / f"{what}-{step}"), "acme/tiny")
        wanted = FIRST
        if what != "first":
            bring(store, Memory(FIRST))
        if what == "next":
            wanted = SECOND
        if what == "repair":
            Path(store.current_link, "weights/a.bin").write_bytes(b"x" * 5000)
            Path(store.current_link, "config.json").unlink()
        killed = killed_before(step, lambda store=store, wanted=wanted: bring(store, Memory(wanted), keep=0))
        if what != "repair":
            assert_every_release_is_whole(store, FIRST, SECOND)
        memory = Memory(wanted)
        bring(store, memory, keep=0)
        assert content(store) == wanted
        assert [stale_files(release, full=True).missing for release in store.releases()] == [()]
        assert not os.path.exists(store.staging_root)
        if what == "next":
            # What the release before has in common is never fetched.
            assert "weights/a.bin" not in memory.fetched
        if not killed:
            break
    assert step > 10


# Big files by a redirect, small ones at once; each several times as long as what a killed client holds back.
BLOBS = {f"w{number}.bin": random.Random(number).randbytes(1_500_000 + number) for number in range(3)}
LOADED = {"config.json": b"{}", **BLOBS}
KILLS = {"modelscope": 20, "huggingface": 8}


@pytest.fixture(params=["modelscope", "huggingface"])
def line(request: pytest.FixtureRequest, tmp_path: Path, access: t.Callable[..., Access]) -> t.Iterator[t.Any]:
    """A hub that is slow enough to be interrupted, and a source that fetches from it in small pieces."""
    import hf_hub
    import hub as lab

    kind = lab.Hub if request.param == "modelscope" else hf_hub.HuggingFaceHub
    environment = dict(os.environ)
    with kind(lfs_threshold=100_000) as server, pytest.MonkeyPatch.context() as patch:
        server.add_model("acme/tiny").commit(LOADED)
        server.faults.append(lab.Fault("lfs-data", "slow", rate=10_000_000, times=-1))
        reach = access(server.url)

        def make() -> Source:
            if request.param == "modelscope":
                made: Source = ModelScope(reach, str(tmp_path / "scratch"), lambda name: None)
            else:
                made = HuggingFace(reach, str(tmp_path / "scratch"), lambda name: None)
            made.prepare()
            return made

        make()
        if request.param == "modelscope":
            patch.setattr(importlib.import_module("modelscope_hub._download"), "DOWNLOAD_CHUNK_SIZE", 32_768)
        else:
            patch.setattr(_huggingface_source, "CHUNK", 32_768)
            # Connections are not to be shared with a child.
            importlib.import_module("huggingface_hub").close_session()
        own_locks()
        yield server, make
    os.environ.clear()
    os.environ.update(environment)


def load(store: ModelStore, source: Source) -> int:
    """Have the model, as a run of the module does."""
    resolution = source.resolve(None)
    entries = tuple(source.entries(resolution))
    origin = Origin(source.name, "here", "acme/tiny", resolution.revision, resolution.commit, (), ())
    target = Target(resolution, origin, digest_of(entries), entries)
    chosen = Candidate(source, "here", "acme/tiny", None)
    with store.locked(10, lambda: None):
        plan = make_plan(store, target, False, 1, set, lambda count: None)
        return apply_plan(store, Fetcher(chosen, [chosen], EVERYTHING), target, plan, lambda *unused: None)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_killed_at_any_byte(store: ModelStore, line: tuple[t.Any, t.Callable[[], Source]]) -> None:
    server, make = line
    chance = random.Random(42)
    names = {hashlib.sha256(blob).hexdigest(): path for path, blob in BLOBS.items()}
    kills = 0
    for _run in range(KILLS[make().name]):
        left = {p.name: p.stat().st_size for p in Path(store.staging_root).glob("*/*")}
        server.reset_log()
        child = start(lambda: load(store, make()))
        ended = threading.Event()
        killer = threading.Thread(target=kill_at, args=(server, child, chance.randrange(200_000), ended))
        killer.start()
        kills += was_killed(child)
        ended.set()
        killer.join()
        for entry in list(server.log):
            path = names.get(entry["path"].rpartition("/")[2], "")
            assert path not in left, "a file that was whole came again"
            if path and entry["status"]:
                part = left.get(f"{path}.incomplete", 0)
                assert entry["range"] == (f"bytes={part}-" if part else None)
        if not store.releases():
            assert store.current() is None
    assert kills >= KILLS[make().name] / 2
    load(store, make())
    assert content(store) == LOADED
    assert not os.path.exists(store.staging_root)
    server.reset_log()
    assert load(store, make()) == 0
    assert [entry for entry in server.log if "lfs-data" in entry["path"]] == []


def kill_at(server: t.Any, child: int, point: int, ended: threading.Event) -> None:
    """Kill the child once the server has sent so many bytes of big files."""
    while not ended.is_set():
        if sum(entry["bytes"] for entry in list(server.log) if "lfs-data" in entry["path"]) > point:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.0005)
