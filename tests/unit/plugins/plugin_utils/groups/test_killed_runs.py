# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of a group that is killed anywhere, and the next run, over engines of paper on two hosts."""

from __future__ import annotations

import itertools
import pathlib
import types
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _labels, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _lifecycle, _member
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._converge import Host
from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups._steps import decide

NODES = ("head", "worker")
WHOLE = {"name": "big", "member": {"nodes": list(NODES)}}


class Killed(Exception):
    """The run was killed here."""


class Engine:
    """The containers of one host; the call with the number ``dies_at`` is the last one of a run."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.left: int | None = None

    def _count(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return self.there.get(name)

    def containers(self, stopped: bool = True) -> list[dict[str, t.Any]]:
        return []

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> None:
        self._count()
        labels = {_labels.LABEL_MANAGED_BY: _labels.MANAGED_BY, _labels.LABEL_KIND: _labels.KIND}
        self.there[name] = {"Config": {"Labels": labels, **body}, "State": {"Running": False, "Status": "created"}}

    def start(self, name: str) -> None:
        self._count()
        self.there[name]["State"] = {"Running": True, "Status": "running"}

    def stop(self, name: str, seconds: int) -> None:
        self._count()
        self.there[name]["State"] = {"Running": False, "Status": "exited", "ExitCode": 0}

    def rename(self, name: str, new_name: str) -> None:
        self._count()
        assert new_name not in self.there
        self.there[new_name] = self.there.pop(name)

    def remove(self, name: str) -> None:
        self._count()
        self.there.pop(name, None)

    def log(self, name: str, since: float = 0.0) -> list[t.Any]:
        return []

    def shown(self) -> dict[str, tuple[str, bool]]:
        return {name: (one["Config"]["wanted"], one["State"]["Running"]) for name, one in self.there.items()}


class Member(_member.Member):
    """A member whose declaration is one word."""

    wanted = ""

    def prepare(self, engine: t.Any) -> None:
        self.found = _lifecycle.look(engine, self.name)
        volumes = (f"/cache:{_spec.CACHE_MOUNT}:rw",)
        self.spec = t.cast(t.Any, types.SimpleNamespace(volumes=volumes, model="/m", wanted=self.wanted))
        current = self.found.current
        have = current["Config"]["wanted"] if current is not None else None
        self.result["changes"] = [{"option": "wanted"}] if have not in (None, self.wanted) else []
        running = current is not None and current["State"]["Running"]
        self.result["actions"] = [] if have == self.wanted and running else ["start"]

    def let_finish(self, *_arguments: t.Any) -> int:
        return 0


class Fleet:
    """Two hosts, and runs as the playbook makes them."""

    def __init__(self) -> None:
        self.engines = {node: Engine() for node in NODES}

    def step(self, step: str, wanted: str, nodes: t.Sequence[str] = NODES) -> dict[str, dict[str, t.Any]]:
        told = {}
        for node in nodes:
            member = Member(
                {"name": "big", "state": "started", "image": "", "rollback": True}, Host(False, lambda: None)
            )
            member.wanted = wanted
            member.take(step, t.cast(t.Any, self.engines[node]))
            # A member that ended says why when it is put back, which is no failure of the step.
            assert step == "put_back" or not member.result["problem"], member.result["problem"]
            told[node] = member.result
        return told

    def decide(self, wanted: str) -> str:
        told = self.step("look", wanted)
        return str(decide(WHOLE, {node: {"vllm_server_member": one} for node, one in told.items()})["action"])

    def run(self, wanted: str, works: bool = True) -> None:
        """Run group_state.yml: take up what was cut off, change, and keep or put back."""
        head, worker = NODES[:1], NODES[1:]
        action = self.decide(wanted)
        if action == "undo":
            self.step("put_back", wanted, worker)
            self.step("put_back", wanted, head)
        if action == "keep":
            self.step("keep", wanted)
        if action in ("undo", "keep"):
            action = self.decide(wanted)
        if action == "prove":
            return
        assert action == "change"
        self.step("set_aside", wanted, head)
        self.step("set_aside", wanted, worker)
        self.step("start", wanted)
        if works:
            self.step("keep", wanted, head)
            self.step("keep", wanted, worker)
        else:
            self.step("put_back", wanted, worker)
            self.step("put_back", wanted, head)
            self.step("start", wanted)

    def shown(self) -> list[dict[str, tuple[str, bool]]]:
        return [engine.shown() for engine in self.engines.values()]


@pytest.fixture
def fleet(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    keys: dict[str, t.Any] = {}
    monkeypatch.setattr(_member._keys, "read_directory", lambda path: keys.get(path, {}))
    monkeypatch.setattr(_member._keys, "write_directory", keys.__setitem__)
    monkeypatch.setattr(_member._cache, "make", lambda path: None)
    monkeypatch.setattr(_member._spec, "create_body", lambda spec, keys: {"wanted": spec.wanted})
    monkeypatch.setattr(_member._saved_logs, "keep", lambda *_arguments: "")
    # `take` makes a problem of every exception; a run that is killed tells nothing.
    monkeypatch.setattr(_member, "_plainly", _raise)
    found = Fleet()
    found.run("old")
    return found


def _raise(error: Exception) -> str:
    raise error


RUNNING = {"big": ("new", True)}


def test_a_change_replaces_both_members_and_a_second_run_does_nothing(fleet: Fleet) -> None:
    fleet.run("new")
    assert fleet.shown() == [RUNNING, RUNNING]
    assert fleet.decide("new") == "prove"
    fleet.run("bad", works=False)
    assert fleet.shown() == [RUNNING, RUNNING]


def killed(fleet: Fleet, node: str, calls: int, works: bool) -> bool:
    """Make a run that is killed at this call of a host's engine; False when it makes fewer."""
    fleet.engines[node].left = calls
    try:
        fleet.run("new", works)
    except Killed:
        return True
    finally:
        fleet.engines[node].left = None
    return False


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("node", NODES)
def test_a_run_that_was_killed_anywhere_is_taken_up_by_the_next_one(fleet: Fleet, node: str, works: bool) -> None:
    for calls in itertools.count():
        fleet.engines = {one: Engine() for one in NODES}
        fleet.run("old")
        if not killed(fleet, node, calls, works):
            break
        again = Fleet()
        again.engines = fleet.engines
        again.run("new")
        assert again.shown() == [RUNNING, RUNNING], f"killed at call {calls} on {node}"
    assert calls >= 4


def test_a_first_start_that_was_killed_anywhere_is_finished_by_the_next_run(fleet: Fleet) -> None:
    for node in NODES:
        for calls in range(2):
            fleet.engines = {one: Engine() for one in NODES}
            assert killed(fleet, node, calls, works=True)
            fleet.run("new")
            assert fleet.shown() == [RUNNING, RUNNING], f"killed at call {calls} on {node}"
