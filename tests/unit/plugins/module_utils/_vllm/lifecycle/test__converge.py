# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import threading
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _keys, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _saved_logs
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import Diagnosis
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _converge, _measurements
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._lifecycle import Plan, StartError
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.question import _ask, _in_image

PATIENCE = 60.0  # seconds after which a test that waits for something that never comes fails


class Server:
    """A server whose work is told to it, and who tells when it was at it."""

    def __init__(
        self, name: str, devices: tuple[str, ...], work: t.Callable[[], None] = lambda: None, state: str = "started"
    ) -> None:
        self.name, self.devices, self.state = name, devices, state
        self.plan = Plan(("start",) if state == "started" else ("stop",), ())
        self.host = _converge.Host(False, lambda: None)
        self.result: dict[str, t.Any] = {
            "changed": True,
            "diff": {"before": {}, "after": {"name": name}},
            "actions": [],
            "settled": False,
        }
        self.work = work
        self.log: list[str] = []
        self.lock: t.Any = None

    def prepare(self, engine: t.Any) -> None:
        self.log.append(f"prepare {self.name}")

    def settle(self, engine: t.Any) -> None:
        self.log.append(f"settle {self.name}")

    def courtesy(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def carry_out(self, engine: t.Any) -> None:
        self.log.append(f"begin {self.name}")
        self.work()
        self.log.append(f"end {self.name}")


@pytest.fixture(autouse=True)
def locks(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of locks for this test."""
    folder = str(tmp_path / "private_llm" / "locks")
    hold_all, holder_of = _lock.hold_all, _lock.holder_of
    monkeypatch.setattr(
        _lock,
        "hold_all",
        lambda kind, names, doing, waiting: hold_all(kind, names, doing, waiting, folder, lambda seconds: None),
    )
    monkeypatch.setattr(_lock, "holder_of", lambda kind, name: holder_of(kind, name, folder))
    return folder


def run(*servers: Server) -> tuple[list[_converge.Outcome], list[str]]:
    log: list[str] = []
    for server in servers:
        server.log = log
    some: t.Any = list(servers)
    engine: t.Any = object()
    return _converge.run(some, lambda: engine), log


def test_servers_on_different_gpus_start_side_by_side() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    outcomes, _log = run(
        Server("a", ("GPU-1",), lambda: void(both.wait())), Server("b", ("GPU-2",), lambda: void(both.wait()))
    )
    assert [outcome.problem for outcome in outcomes] == ["", ""]


def void(_value: object) -> None:
    """For what has to return nothing."""


def test_servers_on_one_gpu_start_one_after_another_in_their_order() -> None:
    servers = [Server(name, ("GPU-1", f"GPU-{name}")) for name in "abcd"]
    _outcomes, log = run(*servers)
    assert log[4:] == ["begin a", "end a", "begin b", "end b", "begin c", "end c", "begin d", "end d"]


def test_one_that_fails_does_not_hold_up_the_others() -> None:
    def fail() -> None:
        raise ValueError("it is broken")

    outcomes, log = run(Server("a", ("cpu",), fail), Server("b", ("cpu",)))
    assert [outcome.problem for outcome in outcomes] == ["it is broken", ""]
    assert log[-1] == "end b"


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), KeyError("surprise"), RecursionError("deep")]
)
def test_a_fault_of_any_kind_leaves_the_results_of_the_others(fault: Exception) -> None:
    def fail() -> None:
        raise fault

    outcomes, _log = run(Server("a", ("GPU-1",), fail), Server("b", ("GPU-2",)))
    assert outcomes[1].problem == ""
    assert str(fault.args[-1]) in outcomes[0].problem
    if not isinstance(fault, OSError):
        assert "an error of the collection itself in test__converge.py, line" in outcomes[0].problem


def test_a_fault_of_the_look_leaves_the_others() -> None:
    broken = Server("a", ("GPU-1",))
    broken.prepare = lambda engine: fail_with(UnicodeDecodeError("utf-8", b"", 0, 1, "odd"))  # type: ignore[method-assign]
    outcomes, log = run(broken, Server("b", ("GPU-2",)))
    assert "UnicodeDecodeError" in outcomes[0].problem
    assert outcomes[1].problem == ""
    assert log[-1] == "end b"


def fail_with(error: Exception) -> None:
    raise error


def test_the_lock_is_held_from_the_look_to_the_end(locks: str) -> None:
    held: list[tuple[str, bool]] = []

    def note(moment: str) -> None:
        held.append((moment, _lock.holder_of("vllm_server", "a") is not None))

    server = Server("a", ("cpu",), lambda: note("work"))
    server.prepare = lambda engine: note("look")  # type: ignore[method-assign]  # a look that tells what it sees
    run(server)
    note("after")
    assert held == [("look", True), ("work", True), ("after", False)]


def test_a_second_run_waits_and_looks_anew_when_the_first_has_ended(locks: str) -> None:
    begun, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        begun.set()
        go_on.wait(PATIENCE)
        order.append("first has ended")

    second = Server("a", ("cpu",), lambda: order.append("second works"))
    second.prepare = lambda engine: order.append("second looks")  # type: ignore[method-assign]  # tells when it looks
    threads = [
        threading.Thread(target=run, args=(Server("a", ("cpu",), first),)),
        threading.Thread(target=run, args=(second,)),
    ]
    threads[0].start()
    assert begun.wait(PATIENCE)
    threads[1].start()
    threads[1].join(0.3)
    assert order == []
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["first has ended", "second looks", "second works"]


def test_check_mode_waits_for_nobody_and_says_who_is_at_work(locks: str) -> None:
    warnings: list[str] = []
    server = Server("a", ("cpu",))
    server.host = _converge.Host(True, lambda: None, warnings.append)
    with _lock.hold_all("vllm_server", ["a"], "loading weights", lambda name, holder: None):
        _outcomes, log = run(server)
    assert log == ["prepare a", "settle a"]
    assert "a is being changed by another run on this host (process " in warnings[0]
    assert "loading weights" in warnings[0]


READY = {"seconds": 3.0, "kv_cache_tokens": 7, "max_concurrency": 2.0, "max_model_len": 512}


def unchanged_server(monkeypatch: pytest.MonkeyPatch, works: bool, **given: t.Any) -> _converge.Server:
    """A server that runs as it is declared, or is away as it is declared; whether it generates a token."""
    server = _converge.Server(options(name="alpha", **given), _converge.Host(True, lambda: None))
    server.found = _converge._lifecycle.Found({"Id": "one"}, None)
    server.spec = _spec.ServerSpec("alpha", "vllm/vllm-openai-cpu:v0.32.0", "/m", ("alpha",), 18000, "127.0.0.1", {})
    monkeypatch.setattr(_converge._readiness, "working", lambda *unused: READY if works else None)
    monkeypatch.setattr(_measurements, "read", lambda name: None)
    return server


@pytest.mark.parametrize(
    ("works", "given", "settled"),
    [
        (True, {}, True),
        (False, {}, False),
        (False, {"wait": False}, True),
        (False, {"state": "stopped"}, True),
        (False, {"state": "absent"}, True),
    ],
)
def test_a_server_with_nothing_to_do_is_settled_once_it_has_generated_a_token(
    monkeypatch: pytest.MonkeyPatch, works: bool, given: dict[str, t.Any], settled: bool
) -> None:
    server = unchanged_server(monkeypatch, works, **given)
    server.settle(t.cast(t.Any, object()))
    assert server.result["settled"] is settled
    assert server.result["ready"] == (READY if works else _converge._readiness.nothing_measured())


def test_a_server_that_changes_or_is_being_changed_or_measured_anew_is_not_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changing, held, restarted = (unchanged_server(monkeypatch, True) for _turn in range(3))
    changing.result["changed"] = True
    changing.settle(t.cast(t.Any, object()))
    with _lock.hold_all("vllm_server", ["alpha"], "loading weights", lambda name, holder: None):
        held.settle(t.cast(t.Any, object()))
    monkeypatch.setattr(_measurements, "record", lambda *unused: {"measured_at": "later than what is kept"})
    restarted.settle(t.cast(t.Any, object()))
    assert [server.result["settled"] for server in (changing, held, restarted)] == [False, False, False]


class Life:
    """A lifecycle that ends as it is told."""

    outage: float | None = None

    def __init__(self, ending: t.Any) -> None:
        self.ending = ending
        self.carried_out = 0

    def carry_out(self, *_unused: t.Any) -> t.Any:
        self.carried_out += 1
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending


def carried_out(monkeypatch: pytest.MonkeyPatch, ending: t.Any) -> tuple[_converge.Server, list[str], str]:
    """A real server whose container ended so, on a host whose disks are full; with the warnings and the problem."""

    def full(*_unused: t.Any, **_unused_too: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_saved_logs, "keep", full)
    monkeypatch.setattr(_measurements, "write", full)
    monkeypatch.setattr(_measurements, "record", lambda *unused: {"a": 1})
    warnings: list[str] = []
    server = _converge.Server(options(name="alpha"), _converge.Host(False, lambda: None, warnings.append))
    server.spec = t.cast(t.Any, object())
    monkeypatch.setattr(server, "lifecycle", lambda engine, report: Life(ending))
    monkeypatch.setattr(server, "container_now", lambda engine: {"id": "x"})
    problem = ""
    try:
        server.carry_out(t.cast(t.Any, object()))
    except ValueError as error:
        problem = str(error)
    return server, warnings, problem


def test_a_full_disk_takes_no_diagnosis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = Diagnosis("it is broken", "Error: x", "mend it", "some_id")
    failed = StartError("it did not start. The previous container was put back", diagnosis, ["line"], 5.0, True)
    server, warnings, problem = carried_out(monkeypatch, failed)
    assert problem == "it did not start. The previous container was put back"
    assert server.result["diagnosis"]["id"] == "some_id"
    assert server.result["rolled_back"]
    assert server.result["log_tail"] == ["line"]
    assert server.result["log_file"] == ""
    assert warnings == ["alpha: its log could not be kept: No space left on device"]


def test_a_full_disk_does_not_fail_a_good_start(monkeypatch: pytest.MonkeyPatch) -> None:
    server, warnings, problem = carried_out(monkeypatch, {"seconds": 3.0})
    assert problem == ""
    assert server.result["ready"] == {"seconds": 3.0}
    assert server.result["settled"]
    assert warnings == ["alpha: what it measured could not be kept for the next plan: No space left on device"]


class Image:
    """An engine on which one server runs, and whose image answers what it is told."""

    def __init__(self, server: _converge.Server, ran: Ran, same: bool = False) -> None:
        engine = {"max_model_len": "512"} if same else {"max_model_len": "256"}
        spec = _spec.ServerSpec("alpha", "vllm/vllm-openai-cpu:v0.32.0", "/m", ("alpha",), 18000, "127.0.0.1", engine)
        body = _spec.create_body(spec)
        self.current: dict[str, t.Any] = {
            "Id": "one",
            "Name": "/alpha",
            "Image": "sha256:1",
            "Config": body,
            "HostConfig": body["HostConfig"],
            "State": {"Running": True},
        }
        self.ran = ran
        self.asked = 0
        server.found = _converge._lifecycle.Found(self.current, None)
        server.image = {"Id": "sha256:1"}
        server.plan = Plan(("recreate", "start"), ())
        server.spec = dataclasses.replace(spec, engine={"max_model_len": "512"})
        server.host.claimed["alpha"] = set()

    def inspect_image(self, name: str) -> dict[str, t.Any]:
        return {"Id": name, "Config": {}}

    def run_once(self, *_unused: t.Any) -> Ran:
        self.asked += 1
        return self.ran


PASSED = Ran(0, f'{_in_image.MARK}{{"stage": "configured"}}', "")
REFUSED = Ran(2, "", "vllm serve: error: unrecognized arguments: --no-such 3")
UNCLEAR = Ran(1, "", "RuntimeError: No CUDA GPUs are available")


def changed_server(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ran: Ran, same: bool = False
) -> tuple[_converge.Server, Image, Life, list[str]]:
    """A server that runs and is to be changed; what its image answers; its life; the warnings."""
    warnings: list[str] = []
    server = _converge.Server(options(name="alpha"), _converge.Host(False, lambda: None, warnings.append))
    image = Image(server, ran, same)
    life = Life({"seconds": 3.0})
    monkeypatch.setattr(server, "lifecycle", lambda engine, report: life)
    monkeypatch.setattr(server, "container_now", lambda engine: {"id": "one"})
    monkeypatch.setattr(server, "makes", lambda plan: False)
    monkeypatch.setattr(_converge._gpu_lock, "turn", lambda *unused: contextlib.nullcontext())
    monkeypatch.setattr(_measurements, "record", lambda *unused: None)
    monkeypatch.setattr(_saved_logs, "keep", lambda *unused: "/log")
    for function in (_ask.has_passed, _ask.remember):
        monkeypatch.setattr(function, "__defaults__", (str(tmp_path),))
    return server, image, life, warnings


def test_a_change_that_the_image_refuses_stops_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, image, life, warnings = changed_server(tmp_path, monkeypatch, REFUSED)
    with pytest.raises(StartError, match=r"was not touched, because its image refuses the change: .*--no-such"):
        server.carry_out(t.cast(t.Any, image))
    assert (life.carried_out, warnings) == (0, [])
    assert server.result["asked"]["verdict"] == _ask.REFUSED
    assert server.result["diagnosis"]["id"] == "unknown_option"
    assert server.result["outage_seconds"] == 0.0
    assert (server.result["rolled_back"], server.result["log_file"]) == (False, "/log")


def test_a_change_that_the_image_takes_is_not_asked_twice(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, image, life, warnings = changed_server(tmp_path, monkeypatch, PASSED)
    server.carry_out(t.cast(t.Any, image))
    server.carry_out(t.cast(t.Any, image))
    assert (life.carried_out, image.asked, warnings) == (2, 1, [])


def test_an_unclear_answer_is_told_and_stops_no_change(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, image, life, warnings = changed_server(tmp_path, monkeypatch, UNCLEAR)
    server.carry_out(t.cast(t.Any, image))
    server.carry_out(t.cast(t.Any, image))
    assert (life.carried_out, image.asked) == (2, 2)
    assert "could not say beforehand" in warnings[0]
    assert "No CUDA GPUs are available" in warnings[0]


def test_gpus_that_are_not_known_stop_no_change(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, image, life, warnings = changed_server(tmp_path, monkeypatch, REFUSED)
    server.host.claimed["alpha"] = {"GPU-1"}
    server.carry_out(t.cast(t.Any, image))
    assert (life.carried_out, image.asked) == (1, 0)
    assert "compute capability of its GPUs is not known" in warnings[0]


@pytest.mark.parametrize("reason", ["same question", "does not run", "does not exist", "only starts"])
def test_where_no_server_would_be_stopped_for_other_options_nothing_is_asked(
    reason: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, image, life, _warnings = changed_server(tmp_path, monkeypatch, REFUSED, reason == "same question")
    image.current["State"]["Running"] = reason != "does not run"
    if reason == "does not exist":
        server.found = _converge._lifecycle.Found(None, None)
    if reason == "only starts":
        server.plan = Plan(("start",), ())
    server.carry_out(t.cast(t.Any, image))
    assert (life.carried_out, image.asked, server.result["asked"]) == (1, 0, {})


STARTED = "2026-11-23T12:00:00Z"
STARTED_AT = 1795435200.0


@pytest.mark.parametrize(
    ("label", "written", "stale"),
    [
        ("", STARTED_AT - 100, False),
        ("", STARTED_AT + 100, True),  # changed after the start, by hand or by a run that was cut off
        ("", STARTED_AT + 10**6, False),  # a time that has not come yet: the clock was ahead when they were written
        ("same", STARTED_AT + 100, False),
        ("same", STARTED_AT + 10**6, False),
        ("other", STARTED_AT - 100, True),
    ],
)
def test_keys_from_the_future_restart_nothing(
    label: str, written: float, stale: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _keys.files_of(["sk-one"])
    server = _converge.Server(options(name="alpha"), _converge.Host(False, lambda: None))
    server.directory = str(tmp_path / "private_llm" / "vllm_server" / "alpha")
    _keys.write_directory(server.directory, files)
    for name in files:
        os.utime(os.path.join(server.directory, name), (written, written))
    monkeypatch.setattr(_converge.time, "time", lambda: STARTED_AT + 1000)
    labels = {"same": _keys.fingerprint(files), "other": _keys.fingerprint(_keys.files_of(["sk-two"]))}
    container = {
        "State": {"Running": True, "StartedAt": STARTED},
        "Config": {"Labels": {"private_llm.fleet.keys": labels[label]} if label else {}},
    }
    assert server.runs_with_other_keys(container, files) is stale


def test_what_leaves_goes_first() -> None:
    outcomes, log = run(Server("a", ("cpu",)), Server("b", (), state="absent"))
    assert log == ["prepare b", "begin b", "end b", "prepare a", "begin a", "end a"]
    assert [outcome.server.name for outcome in outcomes] == ["a", "b"]


def test_the_result_of_several() -> None:
    def fail() -> None:
        raise ValueError("it is broken")

    quiet = Server("c", ("GPU-3",))
    quiet.result["changed"] = False
    outcomes, _log = run(Server("a", ("GPU-1",)), Server("b", ("GPU-2",), fail), quiet)
    assert _converge.summary(outcomes) == {
        "changed": True,
        "servers": [
            {"name": "a", "failed": False, "msg": "", "status": "", "changed": True, "actions": [], "settled": False},
            {
                "name": "b",
                "failed": True,
                "msg": "it is broken",
                "status": "",
                "changed": True,
                "actions": [],
                "settled": False,
            },
            {"name": "c", "failed": False, "msg": "", "status": "", "changed": False, "actions": [], "settled": False},
        ],
        "diff": [
            {"before": {}, "after": {"name": name}, "before_header": name, "after_header": name} for name in ("a", "b")
        ],
    }


@pytest.mark.parametrize(
    ("given", "container", "settled", "status"),
    [
        ({}, {"id": "one"}, True, "ready"),
        ({}, {"id": "one"}, False, ""),
        ({"wait": False}, {"id": "one"}, True, ""),
        ({"state": "stopped"}, {"id": "one"}, True, "stopped"),
        ({"state": "stopped"}, {}, True, "absent"),
        ({"state": "absent"}, {}, True, "absent"),
    ],
)
def test_the_status_is_told_where_it_is_certain(
    given: dict[str, t.Any], container: dict[str, t.Any], settled: bool, status: str
) -> None:
    server = _converge.Server(options(name="alpha", **given), _converge.Host(False, lambda: None))
    server.result.update(container=container, settled=settled)
    assert _converge.status_of(server) == status


def options(**given: t.Any) -> dict[str, t.Any]:
    defaults = {name: option.get("default") for name, option in _converge.ARGUMENTS.items()}
    return {**defaults, "image": "vllm/vllm-openai-cpu:v0.32.0", "model": "/srv/x", "port": 18005, **given}


def test_all_that_is_wrong_with_the_options_is_said_at_once() -> None:
    warnings: list[str] = []
    host = _converge.Host(False, lambda: None, warnings.append)
    servers = [
        _converge.Server(options(name="alpha", engine={"max_modle_len": 1}), host),
        _converge.Server(options(name="alpha", api_keys=[]), host),
        _converge.Server(options(name="beta", api_keys=[], bind="127.0.0.1"), host),
        _converge.Server(options(name="gamma", api_keys=[], allow_unauthenticated=True), host),
        _converge.Server(options(name="delta", image="vllm/vllm-openai-cpu:v0.99.0", engine={"new_thing": 1}), host),
        _converge.Server(options(name="omega", image="vllm/vllm-openai-cpu:latest", engine={"swap_space": 1}), host),
    ]
    with pytest.raises(ValueError, match="is not an option of vLLM") as error:
        _converge.check_all(servers)
    assert str(error.value).split("\n") == [
        "alpha: engine.max_modle_len: is not an option of vLLM 0.32.0; did you mean max_model_len?",
        "alpha is the name of two servers; a name is a container of the host",
        "alpha: api_keys: is empty, so anyone who reaches 0.0.0.0:18005 may use the model; leave it out to have a key "
        "made, bind to 127.0.0.1, or set allow_unauthenticated: true",
    ]
    assert warnings == [
        "engine.new_thing of delta is not an option of vLLM up to 0.33 and is passed on as it is, because vLLM "
        "0.99.0 is newer"
    ]
