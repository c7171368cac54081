# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as processes on this machine, in a chain: what each ends with, whatever happens to one of them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.tests.support.ports import free_ports

ROOT = Path(__file__).resolve().parents[6]
HOST = ROOT / "tests" / "support" / "spread_host.py"
TOKEN = "0123456789abcdef" * 2
REPO = "acme/tiny"
SIZE = 8_000_000
# Bytes a second that a host sends in tests that need time to interfere.
SLOWLY = 4_000_000


class Model(t.NamedTuple):
    """A model on the hub, which is a folder."""

    repo: str
    files: list[dict[str, t.Any]]
    hub: Path

    @property
    def size(self) -> int:
        return sum(int(file["size"]) for file in self.files)


class Host:
    """A host: a process that serves, and fetches from the hosts before it."""

    def __init__(self, root: Path, models: list[Model], port: int, peers: list[int], **options: t.Any) -> None:
        self.root = root
        self.models = models
        self.events: list[dict[str, t.Any]] = []
        given = {
            "root": str(root),
            "token": TOKEN,
            "models": [[model.repo, model.files, str(model.hub)] for model in models],
            "port": port,
            "peers": [f"http://127.0.0.1:{peer}" for peer in peers],
            **options,
        }
        self.process = subprocess.Popen(
            [sys.executable, HOST],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(json.dumps(given))

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> dict[str, t.Any]:
        assert self.process.stdout
        found: dict[str, t.Any] = json.loads(self.process.stdout.readline())
        return found

    def ready(self) -> None:
        assert self._hear() == {"event": "ready"}

    def go(self) -> None:
        self._tell("go")

    def done(self) -> dict[str, t.Any]:
        """How it ended with one model."""
        return self._hear()

    def held(self, model: Model, name: str = "a.bin") -> int:
        """The bytes that it has of a file so far."""
        found = self.root.glob(f"models/{model.repo}/**/{name}*")
        return max((path.stat().st_size for path in found), default=0)

    def has(self, model: Model) -> bool:
        release = next((self.root / "models" / model.repo).glob("?" * 64), None)
        if release is None:
            return False
        return all((release / f["path"]).read_bytes() == (model.hub / f["path"]).read_bytes() for f in model.files)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Fleet:
    """Hosts in a chain, ended at the end of a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(8)
        self.hosts: list[Host] = []

    def model(self, repo: str = REPO, size: int = SIZE) -> Model:
        hub = self._folder / "hub" / repo
        hub.mkdir(parents=True)
        files = []
        for name, share in (("a.bin", size - 1000), ("b.txt", 1000)):
            content = random.Random(name + repo).getrandbits(8 * share).to_bytes(share, "big")
            (hub / name).write_bytes(content)
            files.append({"path": name, "size": share, "sha256": hashlib.sha256(content).hexdigest()})
        return Model(repo, files, hub)

    def host(self, *models: Model, peers: t.Sequence[int] | None = None, **options: t.Any) -> Host:
        """Add a host, which gets what it lacks from those before it, the nearest first."""
        number = len(self.hosts)
        before = range(number - 1, -1, -1) if peers is None else peers
        folder = options.pop("folder", self._folder / f"host-{number}")
        host = Host(folder, list(models), self._ports[number], [self._ports[one] for one in before], **options)
        self.hosts.append(host)
        host.ready()
        return host

    def go(self) -> None:
        for host in self.hosts:
            host.go()


@pytest.fixture
def fleet(tmp_path: Path) -> t.Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    for host in made.hosts:
        host.end()


def wait_until(happened: t.Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_one_copy_crosses_the_line(fleet: Fleet) -> None:
    model = fleet.model()
    hosts = [fleet.host(model) for _number in range(4)]
    fleet.go()
    done = [host.done() for host in hosts]
    assert [one["failure"] for one in done] == [""] * 4
    assert [one["line"] for one in done] == [model.size, 0, 0, 0]
    assert [one["peers"] for one in done] == [0, *[model.size] * 3]
    assert all(host.has(model) for host in hosts)


def test_each_host_serves_while_it_receives(fleet: Fleet) -> None:
    model = fleet.model()
    hosts = [fleet.host(model, rate=SLOWLY) for _number in range(4)]
    fleet.go()
    done = [host.done() for host in hosts]
    # One after the other would take three times as long as one copy.
    assert max(one["seconds"] for one in done) < 2 * model.size / SLOWLY
    assert all(host.has(model) for host in hosts)


def test_a_host_that_has_the_release_is_the_seed(fleet: Fleet) -> None:
    model = fleet.model()
    seed = fleet.host(model)
    seed.go()
    assert seed.done()["line"] == model.size
    late = [fleet.host(model), fleet.host(model)]
    for host in late:
        host.go()
    assert [host.done()["line"] for host in late] == [0, 0]
    assert all(host.has(model) for host in late)


def test_a_host_that_lies_changes_nothing(fleet: Fleet) -> None:
    model = fleet.model()
    seed = fleet.host(model)
    seed.go()
    seed.done()
    liar = fleet.host(model)
    liar.go()
    liar.done()
    path = next(liar.root.glob(f"models/{REPO}/*/a.bin"))
    content = bytearray(path.read_bytes())
    content[5_000_000] ^= 1
    path.write_bytes(content)
    told = [fleet.host(model), fleet.host(model)]
    for host in told:
        host.go()
    assert [host.done()["failure"] for host in told] == ["", ""]
    assert all(host.has(model) for host in told)


def test_when_all_hosts_lie_the_hub_is_left(fleet: Fleet) -> None:
    model = fleet.model()
    liar = fleet.host(model)
    liar.go()
    liar.done()
    path = next(liar.root.glob(f"models/{REPO}/*/a.bin"))
    path.write_bytes(bytes(path.stat().st_size))
    honest = fleet.host(model)
    honest.go()
    done = honest.done()
    assert (done["failure"], done["line"]) == ("", model.files[0]["size"])
    assert honest.has(model)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_middle_that_dies_or_stands_still_is_passed(fleet: Fleet, sign: signal.Signals) -> None:
    model = fleet.model()
    hosts = [fleet.host(model, rate=SLOWLY, limits={"READ_LIMIT": 1.0}) for _number in range(4)]
    fleet.go()
    wait_until(lambda: hosts[2].held(model) > 2_000_000)
    os.kill(hosts[1].process.pid, sign)
    done = {number: hosts[number].done() for number in (0, 2, 3)}
    assert {number: one["failure"] for number, one in done.items()} == dict.fromkeys(done, "")
    # Each byte once, and none from the hub: what was there was gone on with.
    assert [done[number]["line"] for number in (2, 3)] == [0, 0]
    assert [done[number]["peers"] for number in (2, 3)] == [model.size, model.size]
    assert all(hosts[number].has(model) for number in (2, 3))
    assert done[2]["left_out"] != []


def test_when_nobody_lives_the_hub_goes_on(fleet: Fleet) -> None:
    model = fleet.model()
    seed = fleet.host(model, rate=SLOWLY)
    seed.go()
    seed.done()
    host = fleet.host(model)
    host.go()
    wait_until(lambda: host.held(model) > 2_000_000)
    seed.end()
    done = host.done()
    assert done["failure"] == ""
    assert done["peers"] > 2_000_000
    assert done["peers"] + done["line"] == model.size
    assert host.has(model)


def test_a_slow_host_is_passed(fleet: Fleet) -> None:
    model = fleet.model()
    seed, slow = fleet.host(model), fleet.host(model, rate=100_000)
    for host in (seed, slow):
        host.go()
        host.done()
    late = fleet.host(model, limits={"WINDOW": 1.0, "MARGIN": 1_000_000})
    late.go()
    done = late.done()
    assert (done["failure"], done["line"]) == ("", 0)
    assert "is slow" in done["left_out"][0]
    assert done["seconds"] < 10


def test_a_full_disk_in_the_chain_stops_that_host_alone(fleet: Fleet) -> None:
    model = fleet.model()
    first = fleet.host(model)
    full = fleet.host(model, file_size=3_000_000)
    last = fleet.host(model)
    fleet.go()
    assert first.done()["failure"] == ""
    assert "File too large" in full.done()["failure"]
    done = last.done()
    assert (done["failure"], done["line"]) == ("", 0)
    assert last.has(model)


def test_two_models_at_once(fleet: Fleet) -> None:
    models = [fleet.model("acme/tiny"), fleet.model("acme/other")]
    hosts = [fleet.host(*models) for _number in range(3)]
    fleet.go()
    for number, host in enumerate(hosts):
        done = [host.done() for _model in models]
        assert [one["failure"] for one in done] == ["", ""]
        assert sum(one["line"] for one in done) == (0 if number else 2 * SIZE)
        assert all(host.has(model) for model in models)


def test_a_killed_run_is_gone_on_with(fleet: Fleet) -> None:
    model = fleet.model()
    seed = fleet.host(model, rate=SLOWLY)
    seed.go()
    seed.done()
    killed = fleet.host(model)
    killed.go()
    wait_until(lambda: killed.held(model) > 3_000_000)
    killed.end()
    held = killed.held(model)
    resumed = fleet.host(model, peers=[0], folder=killed.root)
    resumed.go()
    done = resumed.done()
    assert (done["failure"], done["line"]) == ("", 0)
    assert done["peers"] <= model.size - held
    assert resumed.has(model)


def test_whoever_waits_for_a_host_that_has_not_begun_gets_it_when_it_has(fleet: Fleet) -> None:
    model = fleet.model()
    first, second = fleet.host(model), fleet.host(model)
    second.go()
    time.sleep(1)
    assert second.held(model) == 0
    first.go()
    assert first.done()["line"] == model.size
    assert second.done()["line"] == 0
    assert second.has(model)


def test_another_token_gets_nothing(fleet: Fleet) -> None:
    model = fleet.model()
    seed = fleet.host(model)
    seed.go()
    seed.done()
    stranger = fleet.host(model, token="f" * 32)
    stranger.go()
    done = stranger.done()
    assert (done["peers"], done["line"]) == (0, model.size)
    assert "answers 401" in done["left_out"][0]
