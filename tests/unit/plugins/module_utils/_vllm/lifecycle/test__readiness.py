# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _reach
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import Server
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _deaths
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _readiness
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._readiness import (
    NotReadyError,
    Waiter,
    log_since,
)
from ansible_collections.private_llm.fleet.tests.support import ports

FIXTURES = pathlib.Path(__file__).parents[4] / "fixtures" / "vllm"
STARTED_AT = 1795435200.0


class Clock:
    """Time that passes only when somebody sleeps; what is to happen then is told before."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, t.Callable[[], None]]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for event in [event for event in self.events if event[0] <= self.now]:
            self.events.remove(event)
            event[1]()

    def read(self) -> float:
        return self.now


class Lab:
    """One container that loads, and one HTTP server that answers for it."""

    def __init__(self, engine: t.Any, vllm: t.Any) -> None:
        self.engine, self.vllm, self.clock = engine, vllm, Clock()
        self.reports: list[str] = []
        engine.add("alpha", {"HostConfig": {}})

    def at(self, seconds: float, event: t.Callable[[], None]) -> None:
        self.clock.events.append((seconds, event))

    def log(self, lines: t.Sequence[str], at: float = STARTED_AT) -> None:
        self.engine.lines.setdefault("alpha", []).extend(LogLine(at, line) for line in lines)

    def serve(self, name: str = "alpha", status: int = 200) -> None:
        self.vllm.answers = {
            "/health": (200, ""),
            "/v1/models": (status, {"data": [{"id": name, "max_model_len": 512}]}),
            "/v1/completions": (200, {"usage": {"completion_tokens": 1}}),
            "/metrics": (200, 'vllm:cache_config_info{kv_cache_size_tokens="7",kv_cache_max_concurrency="2"} 1\n'),
        }

    def end(self, **state: t.Any) -> None:
        self.engine.there["alpha"]["State"].update(Running=False, **{"FinishedAt": "2026-11-23T12:01:00Z", **state})

    def wait(self, timeout: float = 60.0, port: int = 0) -> dict[str, t.Any]:
        return Waiter(
            self.engine,
            "alpha",
            Server("127.0.0.1", port or self.vllm.port),
            ["alpha"],
            timeout,
            self.reports.append,
            self.clock.sleep,
            self.clock.read,
        ).wait()


@pytest.fixture
def lab(engine: t.Any, vllm: t.Any) -> Lab:
    return Lab(engine, vllm)


def test_ready_after_a_while(lab: Lab) -> None:
    lines = (FIXTURES / "start_0.32.0.log").read_text().splitlines()
    lab.at(5, lambda: lab.log(lines[:60]))
    lab.at(20, lambda: lab.log(lines[60:], STARTED_AT + 20.7))
    lab.at(22, lab.serve)
    assert lab.wait() == {
        "seconds": 20.7,
        "kv_cache_tokens": 2097152,
        "max_concurrency": 4096.0,
        "max_model_len": 512,
    }
    assert lab.clock.now == 22
    assert list(dict.fromkeys(lab.reports))[-1] == "generating a first token"
    assert "answering" in lab.reports


def test_without_a_log_the_server_itself_says_what_it_holds(lab: Lab) -> None:
    lab.serve()
    assert lab.wait() == {"seconds": None, "kv_cache_tokens": 7, "max_concurrency": 2.0, "max_model_len": 512}


def test_an_exit_ends_the_wait_at_once_with_the_cause(lab: Lab) -> None:
    lab.log((FIXTURES / "failures" / "unknown_flag.log").read_text().splitlines())
    lab.at(3, lambda: lab.end(ExitCode=2))
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert lab.clock.now == 3
    assert error.value.diagnosis.id == "unknown_option"
    assert error.value.log[-1] == "vllm: error: unrecognized arguments: --max-modle-len 1024"


def test_a_restart_counts_as_an_exit(lab: Lab) -> None:
    def restart() -> None:
        lab.engine.there["alpha"]["RestartCount"] = 1

    lab.at(3, restart)
    lab.at(4, lab.serve)
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.cause == "vLLM did not start for a reason that is not known to this collection"


def test_an_old_failure_in_the_log_is_not_blamed(lab: Lab) -> None:
    lab.log(["ValueError: No available memory for the cache blocks."], STARTED_AT - 100)
    lab.log(["KeyError: 'new'"])
    lab.end(ExitCode=1)
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.evidence == "KeyError: 'new'"


def test_what_fails_at_once_speaks_before_the_engine_has_noted_its_start(lab: Lab) -> None:
    # As Docker 20.10 tells it of a program that is not there: the line is 4 ms older than the start.
    lab.log(["ValueError: No available memory for the cache blocks."], STARTED_AT - 100)
    lab.log(["[FATAL tini (7)] exec vllm failed: No such file or directory"], STARTED_AT - 0.004)
    lab.end(ExitCode=127, Restarting=True)
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "no_vllm"
    assert error.value.log == ["[FATAL tini (7)] exec vllm failed: No such file or directory"]


def test_the_end_of_the_start_before_is_where_the_log_of_this_one_begins(lab: Lab) -> None:
    state = lab.engine.there["alpha"]["State"]
    state["FinishedAt"] = "2026-11-23T11:59:59.500Z"
    lab.log(["ValueError: No available memory for the cache blocks."], STARTED_AT - 0.6)
    lab.log(["KeyError: 'new'"], STARTED_AT - 0.1)
    assert log_since(lab.engine.inspect("alpha")) == STARTED_AT - 0.5
    lab.at(3, lambda: lab.engine.there["alpha"].update(RestartCount=1))
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.log == ["KeyError: 'new'"]


def test_the_kernel_killed_it(lab: Lab) -> None:
    lab.end(ExitCode=137, OOMKilled=True)
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "host_out_of_memory"


def test_time_is_up(lab: Lab) -> None:
    lab.log(["(Worker pid=1) Loading safetensors checkpoint shards:  35% Completed | 7/20 [00:01<?, ?it/s]"])
    with pytest.raises(NotReadyError) as error:
        lab.wait(timeout=10)
    assert error.value.diagnosis.id == "timeout"
    assert error.value.diagnosis.cause == (
        "the server was not ready after 10 seconds; it was loading weights, file 7 of 20"
    )
    assert lab.clock.now == 10


def test_time_is_up_and_the_log_says_why(lab: Lab) -> None:
    lab.log(["INFO 11-23 12:00:00 [x.py:1] No available shared memory broadcast block found in 60 seconds."])
    with pytest.raises(NotReadyError) as error:
        lab.wait(timeout=10)
    assert error.value.diagnosis.id == "worker_hangs"


def test_a_server_that_is_up_and_serves_something_else(lab: Lab) -> None:
    lab.serve("beta")
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "not_working"
    assert error.value.diagnosis.evidence == "it serves beta and not alpha"


def test_a_server_that_refuses_the_key(lab: Lab) -> None:
    lab.serve(status=401)
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.evidence.startswith("GET /v1/models answered 401")


def test_a_container_that_vanishes(lab: Lab) -> None:
    lab.at(2, lambda: lab.engine.remove("alpha"))
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "removed"


# --- up in the container, and not reached -----------------------------------------------------------------------------

UP = ["(APIServer pid=1) INFO:     Application startup complete."]


def test_a_server_that_is_up_and_not_reached_is_told_within_a_minute(lab: Lab) -> None:
    lab.at(2, lambda: lab.log(UP))
    lab.engine.inside = "200 uvicorn"
    port = ports.free_port()
    with pytest.raises(NotReadyError) as error:
        lab.wait(timeout=1200, port=port)
    assert lab.clock.now < 60
    assert error.value.diagnosis.id == "not_reached"
    assert "answers in its container and not at the host's port" in error.value.diagnosis.cause
    assert "HTTP 200 from uvicorn" in error.value.diagnosis.evidence
    assert "restart the engine" in error.value.diagnosis.fix


def test_a_server_that_is_reached_a_little_later_is_ready(lab: Lab) -> None:
    lab.at(2, lambda: lab.log(UP))
    lab.engine.inside = "200 uvicorn"
    lab.at(18, lab.serve)
    assert lab.wait(timeout=1200)["max_model_len"] == 512


def test_a_server_that_answers_nowhere_is_waited_for(lab: Lab) -> None:
    lab.at(2, lambda: lab.log(UP))
    lab.at(100, lab.serve)
    assert lab.wait(timeout=1200)["max_model_len"] == 512
    assert lab.clock.now >= 100


def test_a_stranger_at_the_hosts_port_is_told(lab: Lab) -> None:
    lab.serve("beta")
    lab.log(UP)
    lab.engine.inside = "200 uvicorn"
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "not_reached"
    assert "at the host's port" in error.value.diagnosis.cause
    assert "somebody else does" in error.value.diagnosis.cause


def test_without_a_log_a_server_that_is_not_reached_is_told_when_time_is_up(lab: Lab) -> None:
    lab.engine.inside = "200 uvicorn"
    with pytest.raises(NotReadyError) as error:
        lab.wait(timeout=10)
    assert error.value.diagnosis.id == "not_reached"


def test_the_containers_address_is_asked_where_no_command_runs_in_it(lab: Lab) -> None:
    asked = []

    def ask(address: str, port: int, path: str, tls: bool) -> _reach.Look:
        asked.append((address, port, path))
        return _reach.Look(200, "HTTP 200") if address == "172.30.0.2" else _reach.Look(0, "connection refused")

    container = lab.engine.there["alpha"]
    container["NetworkSettings"]["Networks"] = {"bridge": {"IPAddress": "172.30.0.2"}}
    place = _reach.Place("127.0.0.1", 18005, 8000)
    outside, inside, where = _reach.look(place, container, None, ask)
    assert asked == [("127.0.0.1", 18005, "/health"), ("172.30.0.2", 8000, "/health")]
    verdict = _reach.judge(place, outside, inside, where, "vLLM", "alpha")
    assert verdict is not None
    assert verdict.evidence == "172.30.0.2:8000: HTTP 200; 127.0.0.1:18005: connection refused"


def test_without_its_bridge_a_containers_address_may_be_a_strangers(lab: Lab) -> None:
    # As seen with a real engine: the way to the container's address led to a proxy of the network outside.
    def ask(address: str, port: int, path: str, tls: bool) -> _reach.Look:
        return _reach.Look(403, "HTTP 403 from proxy", "proxy")

    container = lab.engine.there["alpha"]
    container["NetworkSettings"]["Networks"] = {"bridge": {"IPAddress": "172.30.0.2"}}
    place = _reach.Place("127.0.0.1", 18005, 8000)
    outside, inside, where = _reach.look(place, container, lambda command: "200 uvicorn\n", ask)
    verdict = _reach.judge(place, outside, inside, where, "vLLM", "alpha")
    assert verdict is not None
    assert "something else (HTTP 403 from proxy): the Docker Engine's network on this host is broken" in verdict.cause
    assert verdict.evidence.startswith("port 8000 in its container: HTTP 200 from uvicorn")


# --- after a start ----------------------------------------------------------------------------------------------------


def test_an_engine_that_dies_at_the_first_request_is_diagnosed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_deaths, "host_flags", lambda: frozenset(("avx2", "avx512f", "amx_tile")))
    lab.serve()
    lab.vllm.answers["/v1/completions"] = (500, {"error": {"message": "EngineCore encountered an issue."}})
    lab.log(
        [
            *UP,
            "(APIServer pid=1) WARNING 11-23 12:00:50 [x.py:1] [shutdown] MPClient: engine core exited unexpectedly",
            "(APIServer pid=1) INFO:     Finished server process [1]",
            "/usr/lib/python3/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked",
        ]
    )
    lab.at(3, lambda: lab.end(ExitCode=0))
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert (error.value.diagnosis.id, error.value.diagnosis.value) == ("amx_refused", "float32")
    assert "processor has AMX" in error.value.diagnosis.cause
    assert "Finished server process" not in error.value.diagnosis.evidence


def test_a_first_request_that_fails_is_told_with_what_the_log_says(lab: Lab) -> None:
    lab.serve()
    lab.vllm.answers["/v1/completions"] = (500, {"error": {"message": "EngineCore encountered an issue."}})
    lab.log(
        [
            *UP,
            "(EngineCore pid=9) ERROR 11-23 12:00:50 [core.py:1] EngineCore encountered a fatal error.",
            "(EngineCore pid=9) ERROR 11-23 12:00:50 [core.py:1] Traceback (most recent call last):",
            '(EngineCore pid=9) ERROR 11-23 12:00:50 [core.py:1]   File "/x/vllm/v1/engine/core.py", line 1, in step',
            "(EngineCore pid=9) ERROR 11-23 12:00:50 [core.py:1] torch.AcceleratorError: CUDA error: an illegal memory "
            "access was encountered",
        ]
    )
    with pytest.raises(NotReadyError) as error:
        lab.wait()
    assert error.value.diagnosis.id == "cuda_memory_access"
    assert error.value.diagnosis.cause.startswith("the server is up, but does not do its work: a kernel failed")


@pytest.mark.parametrize(
    ("policy", "state", "found"),
    [
        ("unless-stopped", {"ExitCode": 0}, None),
        ("unless-stopped", {"ExitCode": 137}, None),
        ("unless-stopped", {"ExitCode": 143}, None),
        ("unless-stopped", {"ExitCode": 137, "OOMKilled": True}, "host_out_of_memory"),
        ("unless-stopped", {"ExitCode": 137, "Restarting": True}, "host_out_of_memory"),
        ("no", {"ExitCode": 137}, "host_out_of_memory"),
        ("no", {"ExitCode": 139}, "crashed"),
        ("no", {"ExitCode": 1}, "no_kv_memory"),
    ],
)
def test_a_container_that_dies_hours_later_is_diagnosed_and_one_that_was_stopped_is_not(
    lab: Lab, policy: str, state: dict[str, t.Any], found: str | None
) -> None:
    if state["ExitCode"] == 1:
        lab.log([*UP, "(EngineCore pid=9) ValueError: No available memory for the cache blocks."], STARTED_AT + 7200)
    lab.engine.there["alpha"]["HostConfig"]["RestartPolicy"] = {"Name": policy}
    lab.end(FinishedAt="2026-11-23T15:00:00Z", **state)
    diagnosis = _readiness.ended(lab.engine, "alpha", lab.engine.inspect("alpha"))
    assert (diagnosis.id if diagnosis else None) == found


def test_a_server_that_fails_its_requests_is_told_with_what_it_logged(lab: Lab) -> None:
    container = lab.engine.inspect("alpha")
    assert _readiness.troubled(lab.engine, "alpha", container, "it hangs").evidence == "it hangs"
    lab.log([*UP, "(EngineCore pid=9) ERROR 11-23 12:00:50 [core.py:1] RuntimeError: CUDA error: unknown error"])
    assert _readiness.troubled(lab.engine, "alpha", container, "it hangs").id == "cuda_driver"


def test_a_server_works_that_generates_a_token_now(lab: Lab) -> None:
    def working(*names: str) -> dict[str, t.Any] | None:
        server = Server("127.0.0.1", lab.vllm.port)
        return _readiness.working(lab.engine, "alpha", lab.engine.inspect("alpha"), server, names, 5.0)

    assert working("alpha") is None
    lab.serve()
    assert (working("alpha") or {})["kv_cache_tokens"] == 7
    assert working("beta") is None
    lab.vllm.answers["/v1/completions"] = (500, "no")
    assert working("alpha") is None


def waiter(lab: Lab, timeout: float = 1e12) -> Waiter:
    """Return a waiter to whom the container's start, long ago by this machine's clock, is within the time allowed."""
    server = Server("127.0.0.1", lab.vllm.port)
    return Waiter(lab.engine, "alpha", server, ["alpha"], timeout, lab.reports.append, lab.clock.sleep, lab.clock.read)


def test_a_slice_of_the_wait_ends_without_a_verdict(lab: Lab) -> None:
    assert waiter(lab).wait_some(5) is None
    assert lab.clock.now == 5
    lab.serve()
    assert (waiter(lab).wait_some(5) or {})["kv_cache_tokens"] == 7


def test_slices_together_last_no_longer_than_the_time_since_the_start(lab: Lab) -> None:
    with pytest.raises(NotReadyError, match="was not ready after"):
        waiter(lab, 0.0).wait_some(1000)


def test_of_a_worker_it_is_told_only_that_it_ended(lab: Lab) -> None:
    waiter(lab).check_runs()
    lab.log(["ERROR: no space left on device"])
    lab.end(ExitCode=1)
    with pytest.raises(NotReadyError):
        waiter(lab).check_runs()
