#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what site.yml costs where nothing is to be done, against a play that only pings.

    benchmarks/site.py [--hosts 1 10 50] [--runs 3] [--keep]

One lab machine with a real engine, pretended GPUs, a vLLM server and Open WebUI is brought to its state once. Then
site.yml and the ping play run in turn. Fleets of more hosts are stand-ins: further names for the same machine, each
with an address of its own at which it and its server are reached. It prints one line of JSON at its end:

    ratio                how many times as long as the ping play site.yml takes on one host
    tasks                how many tasks site.yml starts on one host, skipped ones and includes among them
    hosts                processor seconds of the controller for each host, by the number of hosts
    plan_1000x4_cpu_s    processor seconds of the plan of 1,000 hosts with four servers each (plan.py)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
LAB = ROOT / "scripts" / "lab"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import plan
from tests.support import playbooks

PREFIX = "bench-site"
MACHINE = "one"
LIMIT_SECONDS = 3600


def run(argv: list[str], *, stdin: str = "", env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; stop with all of it when the command fails."""
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def lab(script: str, *arguments: str, stdin: str = "") -> str:
    """Run one of the lab's scripts."""
    return run([sys.executable, str(LAB / script), *arguments], stdin=stdin)


def make_machine() -> dict[str, Any]:
    """Make the machine and the services that it needs, and return its variables and the lab's."""
    platform = {"name": MACHINE, "image": "debian:12-engine", "preload": ["vllm", "open-webui"]}
    machine = json.loads(lab("hosts.py", "up", "--prefix", PREFIX, stdin=json.dumps([platform])))[MACHINE]
    return {**machine, **json.loads(lab("services.py", "up", "index", "hub"))}


def address(number: int) -> str:
    """Return the address of a stand-in, which the machine itself has."""
    return f"10.254.{number // 250}.{number % 250 + 1}"


def add_addresses(container: str, count: int) -> None:
    """Give the machine an address for each stand-in."""
    commands = "; ".join(f"ip address replace {address(number)}/32 dev lo" for number in range(count))
    run(["docker", "exec", container, "sh", "-ec", commands])


def inventory(machine: dict[str, Any], hosts: int) -> dict[str, Any]:
    """Return an inventory of so many names for the machine; the first one is the web host, too."""
    names = [f"host-{number:02}" for number in range(hosts)]
    fingerprint = (ROOT / ".cache" / "lab" / "nvidia-repo" / "fingerprint").read_text(encoding="utf-8").strip()
    variables = {
        **machine,
        # The plan refuses an address that two hosts have. Each has one of its own; ssh is told where the machine is.
        "ansible_ssh_common_args": f"{machine['ansible_ssh_common_args']} -o HostName={machine['ansible_host']}",
        "host_python_index_url": machine["lab_index_url"],
        "nvidia_toolkit_base_url": "http://127.0.0.1:8082",
        "nvidia_toolkit_key_fingerprints": [fingerprint],
        "model_download_endpoint": machine["lab_hub_url"],
        "model_download_index_url": machine["lab_index_url"],
        "vllm_server_image": "vllm/vllm-openai-cpu:v0.32.0",
        "vllm_server_ready_timeout": 300,
        "vllm_server_engine": {"max_model_len": 1024, "enforce_eager": True, "kv_cache_memory_bytes": 2**26},
        "vllm_server_instances": [{"name": "alpha", "model": "private-llm-lab/tiny-alpha", "gpus": [1], "port": 18005}],
        "open_webui_image": "ghcr.io/open-webui/open-webui:v0.12.4-slim",
        "open_webui_admin_email": "admin@example.com",
        # Of several names for one machine, one would have Open WebUI watched there and the others not.
        "server_watch_services": hosts == 1,
    }
    return {
        "all": {"vars": variables},
        "gpu_hosts": {
            "hosts": {name: {"ansible_host": address(number)} for number, name in enumerate(names)},
        },
        "webui_hosts": {"hosts": {names[0]: {}}},
    }


class Fleet:
    """An inventory of so many hosts, and the two plays on it."""

    def __init__(self, work: Path, machine: dict[str, Any], hosts: int) -> None:
        self.hosts = hosts
        self.inventory = work / f"{hosts}.json"
        self.inventory.write_text(json.dumps(inventory(machine, hosts), indent=2), encoding="utf-8")
        self.ping = work / "ping.yml"
        tasks = [{"name": "Ping", "ansible.builtin.ping": {}}]
        self.ping.write_text(json.dumps([{"name": "Ping", "hosts": "all", "gather_facts": False, "tasks": tasks}]))

    def play(self, playbook: Path | str) -> tuple[float, float]:
        """Run a playbook and return the seconds of the clock and of the controller's processor."""
        argv = playbooks.command(str(playbook), [str(self.inventory)])
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        run(argv, env={**playbooks.environment(), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"})
        seconds = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def count(self) -> int:
        """Run site.yml once more, stop unless it changes nothing, and return the number of tasks that it starts."""
        outcome = playbooks.run("playbooks/site.yml", [str(self.inventory)])
        if outcome.returncode or outcome.changes():
            found = "\n".join(outcome.changed_tasks()) or outcome.text[-8000:]
            raise SystemExit(f"site.yml on hosts in their state did not leave them alone:\n{found}")
        return sum(len(play["tasks"]) for play in outcome.plays)


def measure(hosts: list[int], runs: int, work: Path) -> dict[str, Any]:
    """Bring the machine to its state, and measure."""
    machine = make_machine()
    add_addresses(machine["lab_container"], max(hosts))
    (work / "bare.json").write_text(json.dumps({"gpu_hosts": {"hosts": {MACHINE: machine}}}), encoding="utf-8")
    run(
        playbooks.command("molecule/site/prepare.yml", [str(work / "bare.json")]),
        env={**playbooks.environment(), "MOLECULE_PROJECT_DIRECTORY": str(ROOT)},
    )
    one = Fleet(work, machine, 1)
    first, _cpu = one.play("playbooks/site.yml")
    print(f"the first run took {first:.0f} s", file=sys.stderr, flush=True)
    tasks = one.count()
    site: list[tuple[float, float]] = []
    ping: list[float] = []
    for _turn in range(runs):
        site.append(one.play("playbooks/site.yml"))
        ping.append(one.play(one.ping)[0])
        print(f"site.yml {site[-1][0]:.1f} s, ping {ping[-1]:.2f} s", file=sys.stderr, flush=True)
    seconds, alone = statistics.median(clock for clock, _cpu in site), statistics.median(ping)
    cpu = {1: statistics.median(cpu for _clock, cpu in site)}
    for number in hosts:
        if number not in cpu:
            # The one change of this run is that the others' connections are declared.
            cpu[number] = Fleet(work, machine, number).play("playbooks/site.yml")[1] / number
            print(f"{number} hosts: {cpu[number]:.2f} s for each", file=sys.stderr, flush=True)
    return {
        "ratio": round(seconds / alone, 1),
        "tasks": tasks,
        "hosts": {str(number): round(cpu[number], 2) for number in sorted({1, *hosts})},
        "plan_1000x4_cpu_s": plan.measure()["cpu_s"],
        "site_s": round(seconds, 1),
        "ping_s": round(alone, 2),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave the machine for the next run")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="private-llm-bench-"))
    try:
        figures = measure(arguments.hosts, arguments.runs, work)
    finally:
        if not arguments.keep:
            lab("hosts.py", "down", "--prefix", PREFIX)
            lab("services.py", "down")
            shutil.rmtree(work)
    kept = ROOT / ".cache" / "artifacts" / "bench-site.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
