# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import copy
import itertools
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._life import (
    Change,
    ChangeFailed,
    ForeignContainerError,
    Found,
    Hooks,
    Life,
    NotProven,
    Plan,
    look,
    plan,
)

NAME = "web"
PREVIOUS = "web.previous"


class Killed(BaseException):
    """The process ends here, without a chance to do anything."""


class World:
    """What outlives a run: containers, and data that containers of a version need to be in that version's form."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.data = ""
        self.kept = ""  # the copy of the data before the change
        self.calls: list[str] = []
        self.kill_at = -1
        self.refuse: dict[str, Exception] = {}
        self.lost_network = False  # the engine has, of a container that runs

    def step(self, call: str) -> None:
        if len(self.calls) == self.kill_at:
            raise Killed
        self.calls.append(call)
        if call in self.refuse:
            raise self.refuse[call]

    def begin(self, kill_at: int = -1) -> None:
        self.calls, self.kill_at = [], kill_at

    # --- the engine ---

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return copy.deepcopy(self.there.get(name))

    def containers(self, stopped: bool = False, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        return [
            {
                "Id": name,
                "Labels": one["Config"]["Labels"],
                "State": "running" if one["State"]["Running"] else "exited",
            }
            for name, one in self.there.items()
        ]

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        self.step(f"create {name}")
        assert name not in self.there
        self.there[name] = {
            "Name": "/" + name,
            "Config": {"Image": body["Image"], "Labels": {"ours": "yes", "name": NAME}},
            "HostConfig": copy.deepcopy(body["HostConfig"]),
            "State": {"Running": False},
        }
        return name

    def start(self, name: str) -> None:
        self.step(f"start {name}")
        self.there[name]["State"]["Running"] = True
        # A program brings its data into its own form as soon as it starts, and cannot read a newer one.
        version = self.there[name]["Config"]["Image"]
        assert self.data <= version, f"{version} was started on data of {self.data}"
        self.data = version

    def stop(self, name: str, seconds: int) -> None:
        self.step(f"stop {name}")
        self.there[name]["State"]["Running"] = False

    def rename(self, name: str, new_name: str) -> None:
        self.step(f"rename {name} {new_name}")
        if self.lost_network and self.there[name]["State"]["Running"]:
            raise EngineError("sandbox d35815b7f1a6 not found")
        assert new_name not in self.there
        self.there[new_name] = {**self.there.pop(name), "Name": "/" + new_name}

    def remove(self, name: str) -> None:
        self.step(f"remove {name}")
        self.there.pop(name, None)

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self.step(f"policy {name} {policy['Name']}")
        self.there[name]["HostConfig"]["RestartPolicy"] = dict(policy)

    def unpause(self, name: str) -> None:
        self.step(f"unpause {name}")
        self.there[name]["State"]["Paused"] = False


class Product(Hooks):
    """A program with data of which a copy is made before a change."""

    data_is_vital = True

    def __init__(self, world: World, version: str, works: t.Collection[str]) -> None:
        self.world = world
        self.version = version
        self.works = works

    def body(self) -> t.Mapping[str, t.Any]:
        return {"Image": self.version, "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}}

    def resume(self, replacing: bool) -> None:
        self.world.step(f"resume {replacing}")
        if not replacing:
            self.world.kept = ""

    def prepare_data(self, old: t.Mapping[str, t.Any] | None) -> None:
        self.world.step("prepare")
        if not self.world.kept:
            self.world.kept = self.world.data

    def undo_data(self) -> None:
        self.world.step("undo")
        if self.world.kept:
            self.world.data = self.world.kept
            self.world.kept = ""

    def keep_data(self) -> None:
        self.world.step("keep")
        self.world.kept = ""

    def drain(self, container: t.Mapping[str, t.Any]) -> None:
        self.world.step("drain")

    def prove(self, container: t.Mapping[str, t.Any], put_back: bool) -> dict[str, t.Any]:
        version = container["Config"]["Image"]
        self.world.step(f"prove {version}")
        if version not in self.works:
            raise NotProven(f"{version} does not answer", "no answer")
        return {"version": version}


def is_ours(container: t.Mapping[str, t.Any]) -> bool:
    return ((container["Config"] or {}).get("Labels") or {}).get("ours") == "yes"


def bring(world: World, version: str, works: t.Collection[str], state: str = "started", **options: t.Any) -> t.Any:
    """One run, as a module makes it."""
    driver = t.cast(t.Any, world)
    found = look(driver, NAME, is_ours, "name")
    wanted = {"Name": "always", "MaximumRetryCount": 0}

    def compare(container: t.Mapping[str, t.Any]) -> list[Change]:
        changes = []
        if container["Config"]["Image"] != version:
            changes.append(Change("image", container["Config"]["Image"], version))
        if container["HostConfig"]["RestartPolicy"] != wanted:
            changes.append(Change("restart_policy", container["HostConfig"]["RestartPolicy"], wanted))
        return changes

    what = plan(state, found, compare, {"restart_policy"})
    life = Life(driver, NAME, Product(world, version, works), **options)
    if state == "absent":
        life.remove(what, found)
        return what
    return what, life.carry_out(what, found), life


def serving(version: str = "1") -> World:
    world = World()
    bring(world, version, [version])
    world.begin()
    return world


def works(world: World, version: str) -> bool:
    container = world.there.get(NAME)
    return (
        container is not None
        and container["State"]["Running"]
        and container["Config"]["Image"] == version
        and container["HostConfig"]["RestartPolicy"]["Name"] == "always"
        and world.data == version
        and world.kept == ""
        and PREVIOUS not in world.there
    )


def test_the_order_of_a_replacement() -> None:
    world = serving()
    what, result, life = bring(world, "2", ["2"])
    assert what.actions == ("recreate", "start")
    assert world.calls == [
        "resume False",
        "drain",
        "rename web web.previous",
        "policy web.previous no",
        "stop web.previous",
        "prepare",
        "create web",
        "start web",
        "prove 2",
        "remove web.previous",
        "keep",
    ]
    assert result == {"version": "2"}
    assert life.outage is not None
    assert works(world, "2")
    world.begin()
    assert bring(world, "2", ["2"])[0] == Plan((), ())
    assert world.calls == ["resume False", "prove 2"]


def test_a_container_whose_network_the_engine_has_lost_is_stopped_before_it_is_set_aside() -> None:
    world = serving()
    world.lost_network = True
    bring(world, "2", ["2"])
    assert world.calls[:5] == [
        "resume False",
        "drain",
        "rename web web.previous",
        "stop web",
        "rename web web.previous",
    ]
    assert works(world, "2")


def test_a_container_that_cannot_be_set_aside_goes_on() -> None:
    world = serving()
    world.refuse["rename web web.previous"] = EngineError("sandbox d35815b7f1a6 not found")
    with pytest.raises(EngineError, match="not found"):
        bring(world, "2", ["2"])
    assert world.calls[-1] == "start web"
    assert works(world, "1")


@pytest.mark.parametrize("moment", range(8))
def test_a_run_that_is_killed_while_the_network_is_lost_is_gone_on_with(moment: int) -> None:
    world = serving()
    world.lost_network = True
    world.begin(kill_at=moment)
    with pytest.raises(Killed):
        bring(world, "2", ["2"])
    world.lost_network = False
    world.begin()
    bring(world, "2", ["2"])
    assert works(world, "2")


def test_what_does_not_work_is_put_back_with_its_data() -> None:
    world = serving()
    expected = r"2 does not answer\. The previous container was put back and serves again"
    with pytest.raises(ChangeFailed, match=expected) as e:
        bring(world, "2", ["1"])
    assert e.value.put_back
    assert works(world, "1")


@pytest.mark.parametrize("call", ["policy web.previous no", "prepare", "create web", "start web"])
@pytest.mark.parametrize("error", [EngineError("no space left"), OSError(28, "No space left"), KeyError("a bug")])
def test_whatever_goes_wrong_on_the_way_puts_it_back(call: str, error: Exception) -> None:
    world = serving()
    world.refuse[call] = error
    if call == "start web":
        world.refuse = {"start web": error}
        original = world.start

        def start(name: str) -> None:
            # Only the new one is refused.
            if world.there[name]["Config"]["Image"] == "1":
                world.refuse = {}
            original(name)

        world.start = start  # type: ignore[method-assign]  # a stand-in that changes its mind
    with pytest.raises(ChangeFailed) as caught:
        bring(world, "2", ["1", "2"])
    assert caught.value.put_back
    assert works(world, "1")


ROUNDS = list(itertools.product(["1", "2", "3"], [["1", "2", "3"], ["1", "3"]]))


@pytest.mark.parametrize("moment", range(14))
@pytest.mark.parametrize(("then", "able"), ROUNDS)
@pytest.mark.parametrize("first_works", [True, False])
def test_a_run_that_is_killed_at_any_moment_is_gone_on_with(
    moment: int, then: str, able: list[str], first_works: bool
) -> None:
    """Changing 1 to 2 is killed; the next run wants 1, 2 or 3, and 2 may turn out not to work."""
    world = serving()
    world.begin(moment)
    with contextlib.suppress(Killed, ChangeFailed):
        bring(world, "2", ["1", "2"] if first_works else ["1"])
    world.begin()
    committed = world.data == "2" and PREVIOUS not in world.there
    if then == "1" and committed:
        pytest.skip("a proven change is not undone by asking for the old version; the product refuses that")
    try:
        bring(world, then, able)
        assert then in able
        assert works(world, then)
    except ChangeFailed as error:
        assert then not in able
        if error.put_back:
            assert works(world, "1")


@pytest.mark.parametrize("moment", range(20))
def test_a_run_that_puts_back_and_is_killed_is_gone_on_with(moment: int) -> None:
    world = serving()
    world.begin(moment)
    with contextlib.suppress(Killed, ChangeFailed):
        bring(world, "2", ["1"])
    world.begin()
    bring(world, "1", ["1"])
    assert works(world, "1")


def test_nothing_is_removed_for_a_previous_container_that_is_gone() -> None:
    world = serving()
    proven = copy.deepcopy(world.there[NAME])
    # The plan is from a look before another run ended.
    stale = Plan(("restore_previous", "recreate", "start"), ())
    life = Life(t.cast(t.Any, world), NAME, Product(world, "3", ["3"]))
    with pytest.raises(EngineError, match=r"web\.previous is gone, so there is nothing to put back"):
        life.carry_out(stale, Found(proven, proven))
    assert world.there == {NAME: proven}


def test_going_back_removes_nothing_when_there_is_nothing_to_go_back_to() -> None:
    world = serving()
    original = world.create

    def create(name: str, body: t.Mapping[str, t.Any]) -> str:
        world.there.pop(PREVIOUS)
        return original(name, body)

    world.create = create  # type: ignore[method-assign]  # somebody removes the previous one by hand
    with pytest.raises(ChangeFailed, match=r"web\.previous is gone") as caught:
        bring(world, "2", ["1"])
    assert not caught.value.put_back
    assert NAME in world.there


def test_data_that_cannot_be_brought_back_keep_the_old_version_from_starting() -> None:
    world = serving()
    world.refuse["undo"] = OSError(28, "No space left on device")
    with pytest.raises(ChangeFailed, match=r"not started without them; it is web\.previous") as caught:
        bring(world, "2", ["1"])
    assert not caught.value.put_back
    assert not world.there[PREVIOUS]["State"]["Running"]
    world.refuse = {}
    bring(world, "1", ["1"])
    assert works(world, "1")


def test_what_is_not_vital_does_not_keep_the_old_version_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Product, "data_is_vital", False)
    world = serving()
    world.refuse.update({"undo": OSError(28, "No space left on device"), "create web": EngineError("no space")})
    with pytest.raises(ChangeFailed, match=r"serves again.*could not be brought back.*No space left") as caught:
        bring(world, "2", ["1"])
    assert caught.value.put_back
    assert world.there[NAME]["State"]["Running"]


@pytest.mark.parametrize("status", [{"Status": "dead"}, {"Status": "removing"}, {"Dead": True}])
@pytest.mark.parametrize("which", [NAME, PREVIOUS])
def test_a_container_that_the_engine_will_not_start_again_is_made_anew(status: dict[str, t.Any], which: str) -> None:
    world = serving()
    if which == PREVIOUS:
        world.there[PREVIOUS] = copy.deepcopy(world.there[NAME])
    world.there[which]["State"] = {"Running": False, **status}
    bring(world, "1", ["1"])
    assert works(world, "1")
    world.begin()
    assert bring(world, "1", ["1"])[0] == Plan((), ())


def test_a_container_under_another_name_is_found_and_a_foreign_one_is_left_alone() -> None:
    world = serving()
    world.there["by_hand"] = {**world.there.pop(NAME), "Name": "/by_hand"}
    what, _result, _life = bring(world, "1", ["1"])
    assert what.actions == ("rename",)
    assert works(world, "1")
    world.there[PREVIOUS] = {"Config": {"Image": "nginx", "Labels": {}}, "State": {"Running": True}}
    with pytest.raises(ForeignContainerError, match=r"a container called web\.previous exists .* \(image nginx\)"):
        bring(world, "1", ["1"])


def test_the_first_one_that_does_not_work_is_kept_for_its_log() -> None:
    world = World()
    with pytest.raises(ChangeFailed, match="kept for its log: docker logs web"):
        bring(world, "1", [])
    assert not world.there[NAME]["State"]["Running"]
    world.refuse["start web"] = EngineError("no such device")
    bring_absent = bring(world, "1", [], state="absent")
    assert bring_absent.actions == ("remove",)
    with pytest.raises(ChangeFailed, match=r"no such device\. The container was removed, because it never ran"):
        bring(world, "1", [])
    assert world.there == {}


def test_without_rollback_the_old_one_goes_first() -> None:
    world = serving()
    bring(world, "2", ["2"], rollback=False)
    assert world.calls.index("remove web") < world.calls.index("create web")
    assert works(world, "2")


def test_states() -> None:
    def of(**state: t.Any) -> tuple[str, ...]:
        container = {"State": state}
        return plan("started", Found(container, None), lambda one: ()).actions

    assert of(Running=True) == ()
    assert of(Running=True, Paused=True) == ("unpause",)
    assert of(Restarting=True) == ()
    assert of(Running=False) == ("start",)
    running = Found({"State": {"Running": True}}, None)
    assert plan("stopped", running, lambda one: ()).actions == ("stop",)
    assert plan("absent", running, lambda one: ()).actions == ("remove",)
    assert plan("stopped", Found(None, None), lambda one: ()).actions == ("create",)
    assert plan("started", running, lambda one: [Change("policy", 1, 2)], {"policy"}).actions == ("update",)
