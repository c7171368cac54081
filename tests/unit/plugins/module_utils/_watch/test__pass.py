# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole passes over an engine of paper, with locks and turns on a real disk."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lease, _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _labels, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _saved_logs
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _gpu_lock
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _needs
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Config, Limits
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._pass import Pass, Place, Ways
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._probing import Probe
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._ties import Row

NOW = 1795435800.0  # ten minutes after the servers started
STARTED = "2026-11-23T12:00:00Z"
CDI_ERROR = 'could not select device driver "cdi" with capabilities: []'


class Host:
    """An engine with servers, and what a pass tells."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.lines: dict[str, list[LogLine]] = {}
        self.refuse: dict[str, str] = {}
        self.calls: list[str] = []
        self.probes: dict[str, Probe] = {}
        self.memories: dict[str, Memory] = {}
        self.told: list[str] = []
        self.saved: list[bool] = []
        self.ties: dict[str, frozenset[int]] = {}
        self.knock = ""
        self.knocked: list[tuple[str, int]] = []
        self.links: list[Row] = []
        self.heads: set[str] = set()
        self.now = NOW
        self.place = Place(str(folder / "secrets"), str(folder / "run/locks"), str(folder / "run/turns"))

    # --- the engine ---

    def add(self, name: str, gpus: t.Sequence[str] = (), **state: t.Any) -> dict[str, t.Any]:
        requests = [{"Driver": "cdi", "DeviceIDs": list(gpus)}] if gpus else []
        self.there[name] = {
            "Id": f"id-{name}",
            "Name": f"/{name}",
            "RestartCount": 0,
            "State": {"Running": True, "StartedAt": STARTED, "ExitCode": 0, **state},
            "Config": {
                "Image": "vllm/vllm-openai:v0.32.0",
                "Labels": {_labels.LABEL_MANAGED_BY: _labels.MANAGED_BY, _labels.LABEL_KIND: _labels.KIND},
                "Cmd": ["/m", "--served-model-name", name],
            },
            "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}, "DeviceRequests": requests},
        }
        self.probes[name] = Probe("token")
        return self.there[name]

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        found = self.there.get(name)
        return None if found is None else {**found, "State": dict(found["State"])}

    def start(self, name: str) -> None:
        self.calls.append(f"start {name}")
        if name in self.refuse:
            self.there[name]["State"]["Error"] = self.refuse[name]
            raise EngineError(self.refuse[name])
        self.there[name]["State"].update(
            Running=True, StartedAt=f"2026-11-23T12:10:{len(self.calls):02}Z", Error="", ExitCode=0
        )
        self.probes[name] = Probe("down", "Connection refused")

    def stop(self, name: str, seconds: int) -> None:
        self.calls.append(f"stop {name} {seconds}")
        self.there[name]["State"].update(Running=False, ExitCode=137)

    def log(self, name: str, since: float = 0.0) -> list[LogLine]:
        return [line for line in self.lines.get(name, []) if line.at >= since]

    def execute(self, name: str, command: t.Sequence[str], seconds: float) -> Ran:
        return Ran(0, "- Connection refused", "")

    def containers(self) -> list[dict[str, t.Any]]:
        return []

    # --- the other members ---

    def _knock(self, address: str, port: int) -> str:
        self.knocked.append((address, port))
        return self.knock

    def _replicas(self, container: str, left_out: t.Container[int], head: str) -> list[Row]:
        assert container == "id-pair"
        assert 29501 in left_out
        assert 29550 in left_out
        self.heads.add(head)
        return self.links

    # --- passes ---

    def watch(self, config: Config | None = None, **servers: str) -> list[str]:
        config = config or Config(servers or dict.fromkeys(self.there, "started"), Limits(start=1200.0))

        def save() -> None:
            self.saved.append(any(memory.restarting for memory in self.memories.values()))

        def ask(server: t.Any, model: str, limits: Limits, before: int) -> Probe:
            return self.probes[model]

        engine = t.cast(t.Any, self)
        ways = Ways(lambda port, head: self.ties, self._knock, self._replicas)
        Pass(engine, config, self.memories, save, self.told.append, lambda: self.now, ask, self.place, ways).run()
        return [f"{name} {memory.state}" for name, memory in self.memories.items()]


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(_saved_logs.keep, "__defaults__", (str(tmp_path / "log"),))
    monkeypatch.setattr(_needs, "missing", lambda engine, container: "")
    return Host(tmp_path)


def test_a_hung_server_is_restarted_and_its_fall_is_kept(host: Host) -> None:
    host.add("alpha")
    host.add("beta")
    host.lines["alpha"] = [LogLine(NOW - 500, "INFO 11-23 12:01:00 [core.py:1] something")]
    assert host.watch() == ["alpha ready", "beta ready"]
    host.probes["alpha"] = Probe("still", "it generated nothing within 20 seconds, though it answers")
    assert host.watch() == ["alpha starting", "beta ready"]
    assert host.calls == ["stop alpha 10", "start alpha"]
    assert host.saved == [True]  # so that a pass that is cut off is gone on with
    memory = host.memories["alpha"]
    fall = memory.last_fall
    assert (memory.restarts_total, memory.falls_total, fall["cause"], fall["at"]) == (1, 1, "hung", NOW)
    assert fall["action"] == "the watch restarted it"
    assert "something" in pathlib.Path(fall["log_file"]).read_text("utf-8")
    assert host.watch() == ["alpha starting", "beta ready"]
    host.probes["alpha"] = Probe("token")
    assert host.watch() == ["alpha ready", "beta ready"]
    assert host.calls == ["stop alpha 10", "start alpha"]


def test_restarts_that_do_not_help_end(host: Host) -> None:
    host.add("alpha")
    config = Config({"alpha": "started"}, Limits(restarts=2, backoff=60.0, start=1200.0))
    for _fall in range(4):
        host.probes["alpha"] = Probe("token")
        host.watch(config)
        host.probes["alpha"] = Probe("still", "nothing")
        for _pass in range(4):
            host.watch(config)
            host.now += 30
    assert host.calls == ["stop alpha 10", "start alpha"] * 2
    memory = host.memories["alpha"]
    assert (memory.state, memory.given_up, memory.restarts_total, memory.falls_total) == ("hung", True, 2, 3)
    assert "did not help" in memory.message


def test_servers_on_one_gpu_start_in_their_order(host: Host) -> None:
    for name in ("beta", "alpha"):
        host.add(name, ["nvidia.com/gpu=0"], Running=False, ExitCode=128, Error=CDI_ERROR)
    host.add("gamma", ["nvidia.com/gpu=1"], Running=False, ExitCode=128, Error=CDI_ERROR)
    assert host.watch() == ["beta starting", "alpha waiting", "gamma starting"]
    assert host.memories["alpha"].message == "waiting until beta has started, which shares its GPU or processor"
    host.probes["beta"] = Probe("token")
    assert host.watch() == ["beta ready", "alpha starting", "gamma starting"]
    assert host.calls == ["start beta", "start gamma", "start alpha"]


def test_a_start_waits_for_what_it_needs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_needs, "missing", lambda engine, container: "waiting for /srv/models")
    host.add("alpha", Running=False, ExitCode=128, Error=CDI_ERROR)
    assert host.watch() == ["alpha waiting"]
    assert (host.calls, host.memories["alpha"].attempts) == ([], [])


def test_an_engine_that_refuses_is_asked_again_unless_it_never_will(host: Host) -> None:
    host.add("alpha", Running=False, ExitCode=128, Error=CDI_ERROR)
    host.refuse["alpha"] = CDI_ERROR
    assert host.watch() == ["alpha stopped"]
    assert not host.memories["alpha"].given_up
    host.now += 61
    del host.refuse["alpha"]
    assert host.watch() == ["alpha starting"]
    host.probes["alpha"] = Probe("token")
    host.add("beta", Running=False, ExitCode=127, Error="exec: vllm: executable file not found in $PATH")
    host.refuse["beta"] = 'exec: "vllm": executable file not found in $PATH: unknown'
    host.watch()
    assert host.memories["beta"].given_up
    host.now += 61
    host.watch()
    assert host.calls.count("start beta") == 1


def test_a_server_that_a_run_works_on_is_left_alone(host: Host) -> None:
    host.add("alpha")
    host.watch()
    host.probes["alpha"] = Probe("still", "nothing")
    with _lock.hold("vllm_server", "alpha", "replacing it", directory=host.place.locks):
        assert host.watch() == ["alpha changing"]
    with _gpu_lock.turn([_gpu_lock.CPU], directory=host.place.turns):
        assert host.watch() == ["alpha waiting"]
    assert host.calls == []
    assert host.watch() == ["alpha starting"]


def test_what_changed_since_the_look_is_left_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add("alpha")
    host.watch()
    host.probes["alpha"] = Probe("still", "nothing")

    def other(engine: t.Any, container: t.Any) -> str:
        host.there["alpha"]["Id"] = "another"
        return ""

    monkeypatch.setattr(_needs, "missing", other)
    host.watch()
    assert host.calls == []


def test_a_server_that_the_engine_started_again_has_fallen(host: Host) -> None:
    container = host.add("alpha")
    host.watch()
    began = host.memories["alpha"].started_at
    host.lines["alpha"] = [
        LogLine(began + 60, "ERROR 11-23 12:01:00 [core.py:1] EngineCore encountered a fatal error."),
        LogLine(began + 60, "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
        LogLine(began + 120, "INFO 11-23 12:02:00 [api.py:1] starting"),
    ]
    container["RestartCount"] = 2
    container["State"].update(StartedAt="2026-11-23T12:01:02Z", FinishedAt="2026-11-23T12:01:01Z")
    host.watch()
    memory = host.memories["alpha"]
    assert (memory.falls_total, memory.restarts_total, host.calls) == (2, 0, [])
    assert memory.last_fall["cause"] == "cuda_memory_access"
    assert memory.last_fall["action"] == "the engine started it again"


def test_a_start_that_fails_again_and_again_keeps_the_log_of_the_first(host: Host) -> None:
    container = host.add("alpha")
    host.watch()
    host.probes["alpha"] = Probe("down", "Connection refused")
    logs = set()
    for count in range(1, 9):
        began = host.memories["alpha"].started_at
        host.lines.setdefault("alpha", []).append(LogLine(began + 1, "OSError: [Errno 28] No space left on device"))
        host.now += 30
        container["RestartCount"] = count
        container["State"].update(StartedAt=f"2026-11-23T12:1{count}:00Z", FinishedAt=f"2026-11-23T12:1{count}:00Z")
        host.watch()
        logs.add(host.memories["alpha"].last_fall["log_file"])
    assert (host.memories["alpha"].falls_total, len(logs)) == (8, 1)
    assert sum("fell" in line for line in host.told) == 1


def test_a_server_that_ends_without_a_word_is_told_so(host: Host) -> None:
    container = host.add("alpha")
    host.watch()
    container["RestartCount"] = 1
    container["State"].update(StartedAt="2026-11-23T12:01:02Z", FinishedAt="2026-11-23T12:01:01Z")
    host.watch()
    assert host.memories["alpha"].last_fall["text"] == "the server ended, and its log does not say why"


def test_an_error_of_its_own_that_no_restart_cures_is_told_and_left(host: Host) -> None:
    container = host.add("alpha")
    container["Config"]["StopTimeout"] = 10
    host.watch()
    host.lines["alpha"] = [LogLine(NOW, "ERROR 11-23 12:10:00 [core.py:1] OSError: [Errno 28] No space left on device")]
    host.probes["alpha"] = Probe("error", "POST /v1/completions answered 500: Internal Server Error")
    assert host.watch() == ["alpha failing"]
    host.now += 30
    host.watch()
    memory = host.memories["alpha"]
    assert (memory.given_up, host.calls, memory.last_fall["cause"]) == (True, [], "disk_full")
    host.now += 30
    host.watch()
    assert memory.falls_total == 1


def test_servers_that_are_not_declared_are_not_watched(host: Host) -> None:
    host.add("alpha")
    host.add("beta")
    host.memories["gone"] = Memory()
    assert host.watch(alpha="started", asleep="stopped", lost="started") == [
        "alpha ready",
        "asleep stopped",
        "lost absent",
    ]
    assert host.told == [
        "alpha: ready",
        "asleep: stopped",
        "lost: absent: it is not there; run the playbook that makes it (servers, webui or gateway)",
    ]


def test_a_server_that_cannot_be_looked_at_does_not_keep_the_others_from_it(host: Host) -> None:
    host.add("alpha")
    host.add("beta")["Config"]["Cmd"] += ["--config", "/run/private_llm/config.yaml"]
    host.there["beta"]["Config"]["Entrypoint"] = list(_spec.ENTRYPOINT)
    keys = pathlib.Path(host.place.secrets) / "beta"
    keys.mkdir(parents=True)
    (keys / "api_keys").write_bytes(b"\xff\xfe")
    assert host.watch() == ["alpha ready", "beta unknown"]
    assert "damaged" in host.memories["beta"].message


# --- members of a server over several hosts ---


def add_member(host: Host, rank: int, **state: t.Any) -> None:
    found = host.add("pair", **state)
    found["Config"]["Labels"][_labels.LABEL_MEMBER] = f"{rank}:a,b"
    found["Config"]["Cmd"] += ["--master-addr", "10.0.0.1", *(["--headless"] if rank else [])]
    found["HostConfig"]["RestartPolicy"]["Name"] = "no"
    host.ties = {f"10.0.0.{2 - rank}": frozenset({40001})}


def test_a_worker_is_asked_nothing_and_follows_its_head(host: Host) -> None:
    add_member(host, 1)
    host.probes["pair"] = Probe("down", "nobody asks a worker")
    assert host.watch() == ["pair joined"]
    host.ties = {}
    assert host.watch() == ["pair starting"]
    assert host.calls == ["stop pair 10", "start pair"]
    memory = host.memories["pair"]
    assert (memory.last_fall["cause"], memory.last_fall["action"]) == ("parted", "the watch restarted it")
    # It waits for the next life of its head, for as long as that takes.
    host.now += 4000
    assert host.watch() == ["pair starting"]
    host.ties = {"10.0.0.1": frozenset({40002})}
    assert host.watch() == ["pair joined"]
    assert host.calls == ["stop pair 10", "start pair"]


def test_a_head_that_has_lost_a_worker_is_not_waited_for(host: Host) -> None:
    add_member(host, 0)
    assert host.watch() == ["pair ready"]
    host.ties = {}
    asked = host.probes.pop("pair")
    assert host.watch() == ["pair starting"]
    assert host.calls == ["stop pair 10", "start pair"]
    assert host.memories["pair"].last_fall["cause"] == "parted"
    host.probes["pair"] = asked
    assert host.watch() == ["pair ready"]


def test_a_worker_does_not_believe_in_a_connection_to_a_head_that_does_not_listen(host: Host) -> None:
    add_member(host, 1)
    host.knock = "refused"
    assert host.watch() == ["pair joined"]  # it is not asked for before it was connected
    assert host.watch() == ["pair starting"]


@pytest.mark.parametrize("rank", [0, 1])
def test_replicas_follow_each_other_though_nobody_keeps_a_connection_at_the_master_port(host: Host, rank: int) -> None:
    add_member(host, rank)
    host.there["pair"]["Config"]["Cmd"] += ["--data-parallel-size", "2"]
    host.ties = {}
    assert host.watch() == ["pair ready" if rank == 0 else "pair starting"]
    host.links = [Row("01", ("10.0.0.1", 40491), ("10.0.0.2", 57254), 1)]
    assert host.watch() == ["pair ready" if rank == 0 else "pair joined"]
    # A connection that is made anew, at another port, is as good.
    host.links = [Row("01", ("10.0.0.1", 41301), ("10.0.0.2", 48024), 1)]
    assert host.watch() == ["pair ready" if rank == 0 else "pair joined"]
    assert host.heads == {"" if rank == 0 else "10.0.0.1"}
    host.links = []
    assert host.watch() == ["pair starting"]
    assert host.calls == ["stop pair 10", "start pair"]


def test_a_worker_of_replicas_asks_for_its_head_where_it_is_connected(host: Host) -> None:
    add_member(host, 1)
    host.there["pair"]["Config"]["Cmd"] += ["--data-parallel-size", "2"]
    host.links = [Row("01", ("10.0.0.2", 57254), ("10.0.0.1", 40491), 1)]
    assert host.watch() == ["pair joined"]
    host.knock = "refused"
    assert host.watch() == ["pair starting"]
    assert host.knocked == [("10.0.0.1", 40491)]


def test_a_head_that_ended_starts_anew_and_its_fall_is_kept(host: Host) -> None:
    add_member(host, 0)
    assert host.watch() == ["pair ready"]
    host.there["pair"]["State"].update(Running=False, ExitCode=0, FinishedAt="2026-11-23T12:09:00Z")
    for attempt in range(1, 6):
        host.now += 700
        assert host.watch() == ["pair starting"]
        assert host.calls == ["start pair"] * attempt
        assert host.memories["pair"].falls_total == attempt
        host.there["pair"]["State"].update(Running=False, ExitCode=0)


def test_a_member_whose_cause_stays_is_left(host: Host) -> None:
    add_member(host, 1)
    host.lines["pair"] = [LogLine(NOW - 500, "RuntimeError: Cannot find any model weights with `/m`")]
    assert host.watch() == ["pair joined"]
    host.there["pair"]["State"].update(Running=False, ExitCode=1, FinishedAt="2026-11-23T12:09:00Z")
    assert host.watch() == ["pair stopped"]
    assert host.calls == []
    assert host.memories["pair"].given_up


def test_a_member_that_a_run_claims_is_left_alone(host: Host) -> None:
    add_member(host, 1)
    assert host.watch() == ["pair joined"]
    with _lock.hold("vllm_server", "pair", "", directory=host.place.locks):
        _lease.take("vllm_server", "pair", "servers of c/1.2", "", host.place.locks, host.now)
    host.there["pair"]["State"].update(Running=False, ExitCode=1, FinishedAt="2026-11-23T12:09:00Z")
    assert host.watch() == ["pair changing"]
    assert "another run (servers of c/1.2) is at work on it" in host.memories["pair"].message
    host.now += _lease.SECONDS
    assert host.watch() == ["pair starting"]
