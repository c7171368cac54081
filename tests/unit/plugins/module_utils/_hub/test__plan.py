# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _apply, _plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import apply_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import Plan, Target, make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

if t.TYPE_CHECKING:
    from .conftest import Memory


def plan_of(store: ModelStore, target: Target, full: bool = False, keep: int = 1, used: t.Iterable[str] = ()) -> Plan:
    return make_plan(store, target, full, keep, lambda: set(used), lambda count: None)


def bring(store: ModelStore, memory: Memory, **options: t.Any) -> Plan:
    """What a run does."""
    with store.locked(1, lambda: None):
        plan = plan_of(store, memory.target(), **options)
        apply_plan(store, memory, memory.target(), plan, lambda *unused: None)
    return plan


def paths(plan: Plan) -> tuple[list[str], list[str]]:
    return [entry.path for entry in plan.broken], [entry.path for entry in plan.missing]


@pytest.mark.parametrize(
    ("keep", "used", "prune", "held"),
    [
        (0, set(), ("c", "a"), ()),
        (1, set(), ("a",), ()),
        (2, set(), (), ()),
        (0, {"a"}, ("c",), ("a",)),
        (0, {"b"}, ("c", "a"), ()),
    ],
)
def test_surplus(keep: int, used: set[str], prune: tuple[str, ...], held: tuple[str, ...]) -> None:
    assert _plan.surplus(["c", "b", "a"], "b", keep, lambda: used) == (prune, held)


def test_mounts_are_looked_at_only_when_there_is_something_to_remove() -> None:
    def never() -> set[str]:
        raise AssertionError

    assert _plan.surplus(["b", "a"], "b", 1, never) == ((), ())


def test_first_download(store: ModelStore, memory: Memory) -> None:
    target = memory.target()
    plan = plan_of(store, target)
    everything = ["config.json", "weights/a.bin", "weights/b.bin"]
    assert (plan.published, paths(plan), plan.switch, plan.changes) == (False, (everything, everything), True, True)
    assert plan.actions(target) == [
        "download 3 files, 12.0 kB",
        f"publish release {target.digest[:12]}",
        f"let current name release {target.digest[:12]}",
    ]


def test_nothing_to_do(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    for full in (False, True):
        plan = plan_of(store, memory.target(), full=full)
        assert (plan.changes, plan.restamp, plan.actions(memory.target())) == (False, False, [])


def test_repair(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    target = memory.target()
    release = store.release_path(target.digest)
    os.unlink(os.path.join(release, "config.json"))
    Path(release, "weights/a.bin").write_bytes(b"x" * 5000)
    plan = plan_of(store, target)
    assert (plan.published, plan.changes, plan.switch) == (True, True, False)
    assert paths(plan) == (["config.json", "weights/a.bin"],) * 2
    assert plan.actions(target) == [
        "download 2 files, 5.0 kB",
        f"repair 2 files, 5.0 kB of release {target.digest[:12]}",
    ]


def test_rot_that_no_stamp_shows_is_found_by_reading(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    target = memory.target()
    Path(store.release_path(target.digest), "weights/a.bin").write_bytes(b"x" * 5000)
    _apply._restamp(store, target)
    assert not plan_of(store, target).changes
    assert paths(plan_of(store, target, full=True)) == (["weights/a.bin"],) * 2


def test_touched_files_need_new_stamps_and_no_change(store: ModelStore, memory: Memory) -> None:
    bring(store, memory)
    target = memory.target()
    os.utime(os.path.join(store.release_path(target.digest), "config.json"))
    plan = plan_of(store, target)
    assert (plan.changes, plan.restamp) == (False, True)
    bring(store, memory)
    assert not plan_of(store, target).restamp
    assert memory.fetched == ["config.json", "weights/a.bin", "weights/b.bin"]


def test_next_release_takes_what_is_on_the_host(store: ModelStore, memory: Memory) -> None:
    first = bring(store, memory)
    assert not first.published
    memory.files["config.json"] = b'{"a": 1}'
    target = memory.target()
    plan = plan_of(store, target)
    assert paths(plan) == (["config.json", "weights/a.bin", "weights/b.bin"], ["config.json"])
    assert plan.actions(target)[:2] == ["download 1 file, 8 B", "take 2 files from what is on this host"]


def test_old_releases(store: ModelStore, memory: Memory) -> None:
    digests = []
    for content in (b"1", b"2", b"3"):
        memory.files["config.json"] = content
        bring(store, memory, keep=9)
        digests.append(memory.target().digest)
    target = memory.target()
    assert plan_of(store, target, keep=1).prune == (digests[0],)
    plan = plan_of(store, target, keep=0, used={digests[1]})
    assert (plan.prune, plan.held) == ((digests[0],), (digests[1],))
    assert plan.actions(target) == [f"remove release {digests[0][:12]}"]


def test_settled_means_that_a_run_would_do_nothing(store: ModelStore, memory: Memory) -> None:
    assert not plan_of(store, memory.target()).settled
    bring(store, memory)
    assert plan_of(store, memory.target()).settled
    # A commit that is known to mean the same only once it was noted.
    assert not plan_of(store, memory.target(commit="1" * 40)).settled
    os.mkdir(store.staging_root)
    assert not plan_of(store, memory.target()).settled
    bring(store, memory)
    os.utime(os.path.join(store.release_path(memory.target().digest), "config.json"))
    assert not plan_of(store, memory.target()).settled
    bring(store, memory)
    assert plan_of(store, memory.target()).settled
