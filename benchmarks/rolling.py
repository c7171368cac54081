#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change servers behind a gateway while clients ask them, and count what the clients notice.

    benchmarks/rolling.py [--clients 8] [--requests 500] [--rounds 4] [--keep]
                          [--fleet INVENTORY.json]

Three servers run a real vLLM: two replicas of one model, and the only replica of another one. They run on the processor
of a host of the lab, or on a fleet that is there: an inventory in JSON with one host in gpu_hosts, whose
vllm_server_instances holds one server that says what the three have in common, and one host in gateway_hosts with its
gateway_address. Of the GPUs that this server names each of the three gets one, in turn. `site` makes the servers there,
and they stay.

The playbook `servers` changes an option of both replicas while clients stream chats on connections that they keep and
try nothing twice; it does so again until the clients have asked often enough. Then the only replica is changed once in
the same way. It prints one line of JSON at its end:

    requests, failed, cut    while the two replicas were changed: chats, those with an error, streams without an end
    longest_wait_s           the longest time until a first token
    first_ms                 the median of that
    changes, seconds         how many times the playbook ran, and how long it took on average
    only                     the same for the only replica, whose requests wait while it is away
    beside                   before all changes, the only replica asked directly and through the gateway, in turns:
                             throughput (requests of 64 clients with the gateway for each one without), first_ms
                             (median of one client that asks directly) and added_first_ms (what the gateway adds)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "scripts" / "lab"
sys.path[:0] = [str(ROOT), str(LAB)]

from load import Load
from load import run as run_load
from tests.support import playbooks

PREFIX = "bench-rolling"
SERVERS, GATEWAY = "gpu-01", "gw-01"
PORT = 8000
USER, KEY = "ann", "sk-bench-of-the-rolling-change"
PAIR, ONLY = "pair", "only"
SERVER_KEY, SERVER_PORT = "sk-bench-of-one-server", 18007
MANY, ROUND_SECONDS = 64, 15
LENGTHS = (480, 512)  # a server is changed from one to the other
LONGEST_SECONDS = 3600
LAB_PLAYBOOKS = ("molecule/gateway/prepare.yml", "playbooks/servers.yml", "playbooks/gateway.yml")


def lab(script: str, *arguments: str, stdin: str = "") -> dict[str, Any]:
    """Run one of the lab's scripts and return what it printed; stop with all of it when the script fails."""
    done = subprocess.run(
        [sys.executable, str(LAB / script), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout)) if done.stdout.strip().startswith("{") else {}


def play(playbook: str, inventory: Path) -> float:
    """Run a playbook and return its seconds; stop with all that it printed when it fails."""
    began = time.monotonic()
    os.environ["MOLECULE_PROJECT_DIRECTORY"] = str(ROOT)
    os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] = str(inventory.parent)
    outcome = playbooks.run(playbook, [str(inventory)])
    if outcome.returncode:
        raise SystemExit(f"{playbook} failed with status {outcome.returncode}:\n{outcome.text[-8000:]}")
    return time.monotonic() - began


def lab_fleet() -> dict[str, Any]:
    """Make two hosts in the lab, and return the inventory of them."""
    platforms = [
        {"name": SERVERS, "image": "debian:13-engine", "preload": ["vllm"]},
        {"name": GATEWAY, "image": "debian:12"},
    ]
    hosts = lab("hosts.py", "up", "--prefix", PREFIX, stdin=json.dumps(platforms))
    services = lab("services.py", "up", "index")
    servers = {
        **hosts[SERVERS],
        "vllm_server_address": hosts[SERVERS]["lab_ip"],
        "vllm_server_image": "private-llm-lab/vllm-openai-cpu:v0.32.0",
        "vllm_server_image_pull": "never",
        "vllm_server_ready_timeout": 300,
        "vllm_server_engine": {"enforce_eager": True, "kv_cache_memory_bytes": 2**26},
        "vllm_server_instances": [{"model": "lab/tiny", "gpus": []}],
    }
    gateway = {**hosts[GATEWAY], "gateway_address": hosts[GATEWAY]["lab_ip"]}
    return {
        "all": {"vars": {**services, "host_python_index_url": services["lab_index_url"]}},
        "gpu_hosts": {"hosts": {SERVERS: servers}},
        "gateway_hosts": {"hosts": {GATEWAY: gateway}},
    }


class Fleet:
    """A host with servers, a gateway, and an inventory of them that changes."""

    def __init__(self, work: Path, declared: dict[str, Any], plays: Sequence[str]) -> None:
        self.inventory = work / "inventory.json"
        self.declared = declared
        (self.servers,) = declared["gpu_hosts"]["hosts"].values()
        (gateway,) = declared["gateway_hosts"]["hosts"].values()
        gateway["gateway_users"] = [{"name": USER, "models": ["*"], "keys": [KEY]}]
        (self.common,) = self.servers["vllm_server_instances"]
        self.url = f"http://{gateway['gateway_address']}:{PORT}"
        self.direct_url = f"http://{self.servers['vllm_server_address']}:{SERVER_PORT}"
        self.lengths = {PAIR: LENGTHS[0], ONLY: LENGTHS[0]}
        self.write()
        for playbook in plays:
            print(f"{playbook}: {play(playbook, self.inventory):.0f} s", file=sys.stderr, flush=True)

    def server(self, place: int, name: str, model: str, port: int) -> dict[str, Any]:
        """Return the declaration of a server."""
        gpus = self.common["gpus"]
        return {
            **self.common,
            "name": name,
            "gpus": gpus and [gpus[place % len(gpus)]],
            "port": port,
            "served_model_names": [model],
            "api_keys": [SERVER_KEY],
            "engine": {**self.common.get("engine", {}), "max_model_len": self.lengths[model]},
        }

    def write(self) -> None:
        """Write the inventory."""
        self.servers["vllm_server_instances"] = [
            self.server(0, "one", PAIR, 18005),
            self.server(1, "two", PAIR, 18006),
            self.server(2, "three", ONLY, SERVER_PORT),
        ]
        self.inventory.write_text(json.dumps(self.declared, indent=2), encoding="utf-8")

    def change(self, model: str) -> float:
        """Change an option of every server of a model, and return the seconds that the playbook took."""
        self.lengths[model] = next(length for length in LENGTHS if length != self.lengths[model])
        self.write()
        return play("playbooks/servers.yml", self.inventory)


@contextmanager
def asking(fleet: Fleet, model: str, clients: int, told: dict[str, Any]) -> Iterator[Load]:
    """Have clients ask for a model, and tell at the end what they saw."""
    load = Load(fleet.url, KEY, model, tokens=8)
    until = fleet.inventory.with_name(f"{model}-is-over")
    thread = threading.Thread(target=lambda: told.update(run_load(load, clients, until, LONGEST_SECONDS)))
    thread.start()
    try:
        yield load
    finally:
        until.touch()
        thread.join()


def under_load(fleet: Fleet, model: str, clients: int, requests: int) -> dict[str, Any]:
    """Change a model's servers while clients ask, until they asked often enough, and return what they saw."""
    told: dict[str, Any] = {}
    seconds: list[float] = []
    with asking(fleet, model, clients, told) as load:
        while not seconds or load.requests < requests:
            seconds.append(fleet.change(model))
            print(f"{model} changed in {seconds[-1]:.0f} s, {load.requests} requests", file=sys.stderr, flush=True)
    return {**told, "changes": len(seconds), "seconds": round(sum(seconds) / len(seconds), 1)}


def beside(fleet: Fleet, rounds: int) -> dict[str, float]:
    """Ask the only replica directly and through the gateway, in turns, and compare what clients see."""
    ways = {
        "direct": (fleet.direct_url, SERVER_KEY),
        "gateway": (fleet.url, KEY),
    }
    told: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _round in range(rounds):
        for way, (url, key) in ways.items():
            for clients in (1, MANY):
                figures = run_load(Load(url, key, ONLY, tokens=8), clients, None, ROUND_SECONDS)
                if figures["failed"] or figures["cut"]:
                    raise SystemExit(f"{way}, {clients} clients: {figures}")
                told.setdefault((way, clients), []).append(figures)
                print(f"{way}, {clients} clients: {figures}", file=sys.stderr, flush=True)

    def median(way: str, clients: int, figure: str) -> float:
        return float(statistics.median(one[figure] for one in told[way, clients]))

    direct, through = (median(way, 1, "first_ms") for way in ways)
    return {
        "throughput": round(median("gateway", MANY, "requests") / median("direct", MANY, "requests"), 3),
        "first_ms": direct,
        "added_first_ms": round(through - direct, 2),
    }


def main() -> int:
    """Measure and print; status 1 when a client noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=500, help="how often clients ask while the two are changed")
    parser.add_argument("--rounds", type=int, default=4, help="of a minute each, in which both ways are compared")
    parser.add_argument("--keep", action="store_true", help="leave the lab's hosts for the next run")
    parser.add_argument("--fleet", type=Path, help="inventory of hosts that are there, in place of the lab's")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="private-llm-bench-"))
    try:
        if arguments.fleet:
            fleet = Fleet(work, json.loads(arguments.fleet.read_text(encoding="utf-8")), ["playbooks/site.yml"])
        else:
            fleet = Fleet(work, lab_fleet(), LAB_PLAYBOOKS)
        compared = beside(fleet, arguments.rounds)
        figures = under_load(fleet, PAIR, arguments.clients, arguments.requests)
        figures["only"] = under_load(fleet, ONLY, arguments.clients, 1)
        figures["beside"] = compared
    finally:
        if not (arguments.keep or arguments.fleet):
            lab("hosts.py", "down", "--prefix", PREFIX)
            lab("services.py", "down")
        shutil.rmtree(work)
    print(json.dumps(figures), flush=True)
    return 1 if any(told[problem] for told in (figures, figures["only"]) for problem in ("failed", "cut")) else 0


if __name__ == "__main__":
    sys.exit(main())
