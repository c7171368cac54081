# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _keys, _labels, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._spec import Change, ServerSpec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import Diagnosis
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _lifecycle
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._lifecycle import (
    Found,
    Hooks,
    Lifecycle,
    Plan,
    StartError,
    plan,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._readiness import NotReadyError

WAIT = "wait for /srv/x with sk-new"
SPEC = ServerSpec("alpha", "vllm:v0.32.0", "/srv/x", ("alpha",), 18005, "0.0.0.0", stop_timeout=15)
READY = {"seconds": 1.0}
OPTION = Change("max_model_len", 1, 2)
POLICY = Change("restart_policy", "always", "no")


def container(**state: t.Any) -> dict[str, t.Any]:
    return {"State": {"Running": True, **state}}


RUNNING = container()
STOPPED = container(Running=False)


@pytest.mark.parametrize(
    ("state", "current", "changes", "actions"),
    [
        ("started", None, [], ["create", "start"]),
        ("stopped", None, [], ["create"]),
        ("absent", None, [], []),
        ("started", RUNNING, [], []),
        ("stopped", RUNNING, [], ["stop"]),
        ("absent", RUNNING, [], ["remove"]),
        ("started", STOPPED, [], ["start"]),
        ("stopped", STOPPED, [], []),
        ("started", container(Paused=True), [], ["unpause"]),
        ("started", container(Running=False, Restarting=True), [], []),
        ("stopped", container(Running=False, Restarting=True), [], ["stop"]),
        ("started", RUNNING, [OPTION], ["recreate", "start"]),
        ("stopped", RUNNING, [OPTION], ["recreate"]),
        ("started", RUNNING, [POLICY], ["update"]),
        ("started", STOPPED, [POLICY], ["update", "start"]),
        ("started", RUNNING, [POLICY, OPTION], ["recreate", "start"]),
    ],
)
def test_plan(state: str, current: dict[str, t.Any] | None, changes: list[Change], actions: list[str]) -> None:
    planned = plan(state, Found(current, None), lambda container: changes)
    assert list(planned.actions) == actions
    assert planned.changed is bool(actions)


@pytest.mark.parametrize(
    ("state", "current", "differs", "actions"),
    [
        ("started", None, {}, ["restore_previous", "start"]),
        ("started", None, {"previous": [OPTION]}, ["restore_previous", "recreate", "start"]),
        ("started", None, {"previous": [POLICY]}, ["restore_previous", "update", "start"]),
        ("started", RUNNING, {}, ["remove_previous"]),
        ("started", STOPPED, {}, ["remove_previous", "start"]),
        ("started", RUNNING, {"current": [OPTION]}, ["restore_previous", "start"]),
        ("started", RUNNING, {"current": [OPTION], "previous": [OPTION]}, ["restore_previous", "recreate", "start"]),
        ("absent", None, {}, ["remove_previous"]),
        ("absent", RUNNING, {}, ["remove", "remove_previous"]),
    ],
)
def test_plan_after_a_run_that_was_cut_off(
    state: str, current: dict[str, t.Any] | None, differs: dict[str, list[Change]], actions: list[str]
) -> None:
    previous = container(Running=False, Previous=True)

    def compare(found: t.Mapping[str, t.Any]) -> list[Change]:
        return differs.get("previous" if found["State"].get("Previous") else "current", [])

    assert list(plan(state, Found(current, previous), compare).actions) == actions


class Lab:
    """A lifecycle over the fake engine; ``outcome`` is what waiting comes to."""

    def __init__(self, engine: t.Any, directory: pathlib.Path) -> None:
        self.engine = engine
        self.directory = str(directory / "private_llm" / "vllm_server" / "alpha")
        self.failures: list[Exception | None] = []  # one for each wait, until there are no more
        self.now = 100.0
        self.waits = True
        self.outage: float | None = None

    def have(self, name: str = "alpha", running: bool = True, policy: str = "always") -> None:
        body = _spec.create_body(SPEC)
        body["HostConfig"]["RestartPolicy"] = _spec.restart_policy_body(policy)
        self.engine.add(name, body, running)["Id"] = f"old {name}"

    def wait(self, spec: ServerSpec, files: t.Mapping[str, str]) -> dict[str, t.Any]:
        self.engine.calls.append(f"wait for {spec.model} with {files.get(_keys.KEY_FILE, 'no key').strip()}")
        self.now += 20.0
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return READY

    def drain(self, spec: ServerSpec, files: t.Mapping[str, str]) -> None:
        self.engine.calls.append(f"drain {spec.model} with {files.get(_keys.KEY_FILE, 'no key').strip()}")
        self.now += 7.0

    def lifecycle(self, files: t.Mapping[str, str], rollback: bool = True) -> Lifecycle:
        hooks = Hooks(self.wait, self.drain, lambda: self.now)
        return Lifecycle(self.engine, "alpha", self.directory, files, rollback, self.waits, hooks)

    def carry_out(self, *actions: str, rollback: bool = True, renamed: str = "") -> dict[str, t.Any]:
        lifecycle = self.lifecycle(_keys.files_of(["sk-new"]), rollback)
        try:
            return lifecycle.carry_out(Plan(actions, ()), SPEC, Found(None, None, renamed))
        finally:
            self.outage = lifecycle.outage


@pytest.fixture
def lab(engine: t.Any, tmp_path: pathlib.Path) -> Lab:
    return Lab(engine, tmp_path)


NOT_READY = NotReadyError(Diagnosis("it is broken", "Error: x", "mend it", "some_id"), [LogLine(5.0, "last line")], 5.0)


def test_a_new_server(lab: Lab) -> None:
    assert lab.carry_out("create", "start") == READY
    assert lab.engine.calls == ["create alpha", "start alpha", WAIT]
    assert _keys.read_directory(lab.directory) == _keys.files_of(["sk-new"])


def test_a_new_server_that_does_not_start_is_stopped_and_kept(lab: Lab) -> None:
    lab.failures = [NOT_READY]
    with pytest.raises(StartError) as error:
        lab.carry_out("create", "start")
    assert lab.engine.calls == ["create alpha", "start alpha", WAIT, "stop alpha 15"]
    assert str(error.value) == (
        "the vLLM server alpha did not become ready: it is broken. It said: Error: x. What to do: mend it. "
        "The container is stopped, and kept for its log: docker logs alpha."
    )
    assert error.value.diagnosis.id == "some_id"
    assert (error.value.log, error.value.begun) == (["last line"], 5.0)
    assert not error.value.rolled_back


def test_a_new_server_that_the_engine_refuses_to_start_is_removed(lab: Lab) -> None:
    lab.engine.refuse = {"start alpha": 'could not select device driver "nvidia" with capabilities: [[gpu]]'}
    with pytest.raises(StartError) as error:
        lab.carry_out("create", "start")
    assert lab.engine.there == {}
    assert error.value.diagnosis.id == "no_gpu_runtime"
    assert str(error.value).endswith("The container was removed, because it never ran.")


def test_a_replaced_server_waits_until_the_new_one_is_ready(lab: Lab) -> None:
    lab.have()
    assert lab.carry_out("recreate", "start") == READY
    assert lab.outage == 20.0
    assert lab.engine.calls == [
        "drain /srv/x with no key",
        "rename alpha alpha.previous",
        "restart policy of alpha.previous no",
        "stop alpha.previous 15",
        "create alpha",
        "start alpha",
        WAIT,
        "remove alpha.previous",
    ]


def test_a_server_that_cannot_be_replaced_comes_back_as_it_was(lab: Lab) -> None:
    lab.have()
    _keys.write_directory(lab.directory, _keys.files_of(["sk-old"]))
    lab.failures = [NOT_READY]
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate", "start")
    assert error.value.rolled_back
    assert str(error.value).endswith("was put back and serves again; the outage was 40.0 seconds.")
    assert lab.outage == 40.0
    assert lab.engine.calls[-1] == "wait for /srv/x with sk-old"
    assert list(lab.engine.there) == ["alpha"]
    back = lab.engine.there["alpha"]
    assert back["Id"] == "old alpha"
    assert back["State"]["Running"]
    assert back["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert _keys.read_directory(lab.directory) == _keys.files_of(["sk-old"])


def test_a_server_that_cannot_be_replaced_and_does_not_come_back(lab: Lab) -> None:
    lab.have()
    lab.failures = [NOT_READY, NotReadyError(Diagnosis("the disk is full", "x", "y", "disk_full"))]
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate", "start")
    assert error.value.diagnosis.id == "some_id"
    assert str(error.value).endswith(
        "The previous container was put back, but does not serve, either: the disk is full."
    )
    assert lab.outage is None


def test_an_engine_that_does_not_let_the_previous_server_come_back_hides_no_diagnosis(lab: Lab) -> None:
    lab.have()
    lab.failures = [NOT_READY]
    lab.engine.refuse = {"remove alpha": "removal is in progress"}
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate", "start")
    assert error.value.diagnosis.id == "some_id"
    assert not error.value.rolled_back
    assert str(error.value).endswith("The previous container could not be put back; run again: removal is in progress.")
    assert sorted(lab.engine.there) == ["alpha", "alpha.previous"]


def test_nobody_waits_when_told_not_to(lab: Lab) -> None:
    lab.have()
    lab.waits = False
    lab.engine.refuse = {"start alpha": "no such device"}
    with pytest.raises(StartError):
        lab.carry_out("recreate", "start")
    lab.engine.refuse = {}
    assert lab.carry_out("recreate", "start") == {}
    assert not [call for call in lab.engine.calls if call.startswith("wait")]


def test_a_server_that_was_renamed_gets_its_name_back(lab: Lab) -> None:
    lab.have("zeta")
    found = _lifecycle.look(lab.engine, "alpha")
    assert found.renamed == "zeta"
    assert plan("started", found, lambda container: ()).actions == ("rename",)
    assert plan("started", found, lambda container: [OPTION]).actions == ("rename", "recreate", "start")
    lab.carry_out("rename", renamed="zeta")
    assert lab.engine.calls == ["rename zeta alpha", WAIT]
    assert list(lab.engine.there) == ["alpha"]


def test_a_server_that_was_renamed_is_removed_all_the_same(lab: Lab) -> None:
    lab.have("zeta")
    found = _lifecycle.look(lab.engine, "alpha")
    planned = plan("absent", found, lambda container: ())
    assert planned.actions == ("remove",)
    lab.lifecycle({}).remove(planned, found)
    assert lab.engine.there == {}


def test_a_stopped_server_comes_back_stopped(lab: Lab) -> None:
    lab.have(running=False)
    lab.engine.refuse = {"create alpha": "no such image"}
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate")
    assert str(error.value).endswith("The previous container was put back, stopped as it was.")
    assert not lab.engine.there["alpha"]["State"]["Running"]


def test_without_rollback_nothing_is_kept(lab: Lab) -> None:
    lab.have()
    lab.failures = [NOT_READY]
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate", "start", rollback=False)
    assert not error.value.rolled_back
    assert list(lab.engine.there) == ["alpha"]
    assert lab.engine.there["alpha"]["Id"] != "old alpha"


def test_a_cut_off_replacement_is_undone_and_done_again(lab: Lab) -> None:
    lab.have("alpha.previous", running=False, policy="no")
    lab.have("alpha")
    lab.carry_out("restore_previous", "recreate", "start")
    assert lab.engine.calls[:4] == [
        "remove alpha",
        "rename alpha.previous alpha",
        "rename alpha alpha.previous",
        "restart policy of alpha.previous no",
    ]
    assert list(lab.engine.there) == ["alpha"]


def test_a_cut_off_replacement_that_fails_again_starts_the_previous_server(lab: Lab) -> None:
    lab.have("alpha.previous", running=False, policy="no")
    lab.failures = [NOT_READY]
    with pytest.raises(StartError):
        lab.carry_out("restore_previous", "recreate", "start")
    back = lab.engine.there["alpha"]
    assert (back["Id"], back["State"]["Running"]) == ("old alpha.previous", True)
    assert back["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_the_new_server_of_a_cut_off_run_is_proven_before_the_previous_one_goes(lab: Lab) -> None:
    lab.have("alpha.previous", running=False, policy="no")
    lab.have("alpha")
    lab.carry_out("remove_previous")
    assert lab.engine.calls == [WAIT, "remove alpha.previous"]


def test_the_new_server_of_a_cut_off_run_that_is_not_ready_gives_way(lab: Lab) -> None:
    lab.have("alpha.previous", running=False, policy="no")
    lab.have("alpha")
    lab.failures = [NOT_READY]
    with pytest.raises(StartError) as error:
        lab.carry_out("remove_previous")
    assert error.value.rolled_back
    assert lab.engine.there["alpha"]["Id"] == "old alpha.previous"
    assert lab.engine.there["alpha"]["State"]["Running"]


def test_a_running_server_that_is_not_ready_is_left_alone(lab: Lab) -> None:
    lab.have()
    lab.failures = [NOT_READY]
    with pytest.raises(StartError) as error:
        lab.carry_out()
    assert lab.engine.calls == [WAIT]
    assert str(error.value).endswith("The container was left as it is.")


def test_small_steps(lab: Lab) -> None:
    lab.have()
    lab.carry_out("update", "unpause")
    lab.waits = False
    lab.carry_out("stop")
    assert lab.engine.calls == [
        "restart policy of alpha unless-stopped",
        "unpause alpha",
        WAIT,
        "drain /srv/x with sk-new",
        "stop alpha 15",
    ]


def test_removal_takes_the_keys_along(lab: Lab) -> None:
    lab.have()
    lab.have("alpha.previous", running=False)
    _keys.write_directory(lab.directory, _keys.files_of(["sk-old"]))
    lab.lifecycle({}).remove(Plan(("remove", "remove_previous"), ()), _lifecycle.look(lab.engine, "alpha"))
    assert lab.engine.calls == [
        "drain /srv/x with sk-old",
        "stop alpha 15",
        "remove alpha",
        "remove alpha.previous",
    ]
    assert _keys.read_directory(lab.directory) == {}


def test_somebody_elses_container(engine: t.Any) -> None:
    engine.add("alpha", {"Image": "nginx", "Labels": {}, "HostConfig": {}})
    with pytest.raises(_lifecycle.ForeignContainerError) as error:
        _lifecycle.look(engine, "alpha")
    assert str(error.value) == (
        "a container called alpha exists and was not made by this collection (image nginx); choose another name, or "
        "remove it yourself: docker rm -f alpha"
    )
    engine.add("beta", _spec.create_body(SPEC))
    assert _lifecycle.look(engine, "beta").previous is None


def test_a_full_disk_keeps_no_previous_server_from_coming_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.have()
    _keys.write_directory(lab.directory, _keys.files_of(["sk-old"]))
    lab.failures = [NOT_READY]
    write, written = _keys._write_private, []

    def full_from_the_second_time(path: str, text: str) -> None:
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(_keys, "_write_private", full_from_the_second_time)
    with pytest.raises(StartError) as error:
        lab.carry_out("recreate", "start")
    assert error.value.rolled_back
    assert "was put back and serves again" in str(error.value)
    assert "could not be brought back: the keys in" in str(error.value)
    assert lab.engine.there["alpha"]["Id"] == "old alpha"
    assert lab.engine.there["alpha"]["State"]["Running"]


def test_keys_that_cannot_be_written_put_the_previous_server_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, text: str) -> None:
        raise OSError(28, "No space left on device")

    lab.have()
    monkeypatch.setattr(_keys, "_write_private", full)
    with pytest.raises(StartError, match="cannot be written: No space left on device; make room") as error:
        lab.carry_out("recreate", "start")
    assert error.value.rolled_back
    assert lab.engine.there["alpha"]["State"]["Running"]


def test_a_fault_of_the_collection_itself_puts_the_previous_server_back(lab: Lab) -> None:
    lab.have()
    lab.failures = [KeyError("surprise")]
    with pytest.raises(StartError, match="KeyError: 'surprise'") as error:
        lab.carry_out("recreate", "start")
    assert error.value.rolled_back


def test_a_restore_that_is_out_of_date_removes_nothing(lab: Lab) -> None:
    lab.have()
    with pytest.raises(EngineError, match=r"alpha\.previous is gone, so there is nothing to put back"):
        lab.carry_out("restore_previous", "recreate", "start")
    assert lab.engine.there["alpha"]["Id"] == "old alpha"


def test_a_new_container_tells_which_keys_it_has(lab: Lab) -> None:
    lab.carry_out("create", "start")
    label = lab.engine.there["alpha"]["Config"]["Labels"][_labels.LABEL_KEYS]
    assert _keys.matches(label, _keys.files_of(["sk-new"]))
    assert not _keys.matches(label, _keys.files_of(["sk-old"]))
