# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm import _converge
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._lifecycle import Plan

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
        }
        self.work = work
        self.log: list[str] = []

    def prepare(self, engine: t.Any) -> None:
        self.log.append(f"prepare {self.name}")

    def carry_out(self, engine: t.Any) -> None:
        self.log.append(f"begin {self.name}")
        self.work()
        self.log.append(f"end {self.name}")


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
            {"name": "a", "failed": False, "msg": "", "changed": True, "actions": []},
            {"name": "b", "failed": True, "msg": "it is broken", "changed": True, "actions": []},
            {"name": "c", "failed": False, "msg": "", "changed": False, "actions": []},
        ],
        "diff": [
            {"before": {}, "after": {"name": name}, "before_header": name, "after_header": name} for name in ("a", "b")
        ],
    }


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
    with pytest.raises(ValueError, match="is no option of vLLM") as error:
        _converge.check_all(servers)
    assert str(error.value).split("\n") == [
        "alpha: engine.max_modle_len: is no option of vLLM 0.32.0; did you mean max_model_len?",
        "alpha is the name of two servers; a name is a container of the host",
        "alpha: api_keys: is empty, so anyone who reaches 0.0.0.0:18005 may use the model; leave it out to have a key "
        "made, bind to 127.0.0.1, or set allow_unauthenticated: true",
    ]
    assert warnings == [
        "engine.new_thing of delta is no option of vLLM up to 0.33 and is passed on as it is, for vLLM 0.99.0 is newer"
    ]
