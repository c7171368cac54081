#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long a release takes from one host to eight others that can each send so many bytes a second.

    benchmarks/spread.py [--hosts 8] [--rate 40] [--without-star]

Each host is a process on this machine that does what the modules do there: serve, fetch, verify, publish. One copy is
the size by the rate. Three ways: along the chain; along the chain while a host in its middle is killed at a random
moment; and a star, where all fetch from the first host. The release has 1 GiB, or SPREAD_BYTES bytes.

The last line is JSON: each time by that of one copy, and the processor time of the chain by that of the star.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.private_llm.fleet.tests.support.ports import free_ports

HOST = ROOT / "tests" / "support" / "spread_host.py"
FILES = 4
BLOCK = 1024 * 1024
TOKEN = "0123456789abcdef" * 2


def make_release(folder: Path, size: int) -> list[dict[str, Any]]:
    """Write a release of so many bytes and return its list of files."""
    files = []
    for number in range(FILES):
        digest, left = hashlib.sha256(), size // FILES
        with (folder / f"shard-{number}.bin").open("wb") as stream:
            while left:
                block = os.urandom(min(BLOCK, left))
                stream.write(block)
                digest.update(block)
                left -= len(block)
        files.append({"path": f"shard-{number}.bin", "size": size // FILES, "sha256": digest.hexdigest()})
    return files


class Host:
    """A host as a process."""

    def __init__(self, **given: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HOST],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._input, self._output = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        self.tell(json.dumps({"token": TOKEN, **given}))
        self.hear()

    def tell(self, line: str) -> None:
        """Say something to it."""
        print(line, file=self._input, flush=True)

    def hear(self) -> dict[str, Any]:
        """Return what it says next."""
        found: dict[str, Any] = json.loads(self._output.readline())
        return found

    def cpu(self) -> float:
        """Return the seconds of processor time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, way: str, count: int, rate: int, files: list[dict[str, Any]]) -> tuple[float, float, int]:
    """Return the seconds until the last host has it, the processor time of all, and the bytes that the hub gave."""
    ports = free_ports(count + 1)
    hosts: list[Host] = []
    size = sum(int(file["size"]) for file in files)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            for number in range(count + 1):
                before = [0] if way == "star" else range(number - 1, -1, -1)
                peers = [f"http://127.0.0.1:{ports[one]}" for one in before if number]
                models = [["acme/big", files, str(folder / "hub")]]
                root = str(Path(place, str(number)))
                hosts.append(Host(root=root, models=models, port=ports[number], peers=peers, rate=rate))
            hosts[0].tell("go")
            hosts[0].hear()
            begun, started = sum(host.cpu() for host in hosts), time.monotonic()
            for host in hosts[1:]:
                host.tell("go")
            victim = None
            if way == "killed":
                victim = hosts[random.randrange(2, count)]
                moment = random.uniform(0.1, 0.9)
                time.sleep(moment * size / rate)
                victim.process.kill()
                print(f"killed: host {hosts.index(victim)}, after {moment:.0%} of the time of one copy", flush=True)
            done = [host.hear() for host in hosts[1:] if host is not victim]
            took = time.monotonic() - started
            failures = [one["failure"] for one in done if one["failure"]]
            if failures:
                sys.exit(f"{way}: {failures[0]}")
            cpu = sum(host.cpu() for host in hosts if host is not victim) - begun
            return took, cpu, sum(int(one["line"]) for one in done)
        finally:
            for host in hosts:
                host.process.kill()
                host.process.communicate()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hosts", type=int, default=8, help="hosts that lack the release")
    parser.add_argument("--rate", type=int, default=40, help="MiB a second that each host can send")
    parser.add_argument("--without-star", action="store_true", help="leave out what takes longest")
    given = parser.parse_args()
    size, rate = int(os.environ.get("SPREAD_BYTES", str(1024**3))), given.rate * 1024**2
    result: dict[str, Any] = {"hosts": given.hosts, "bytes": size, "one_copy_seconds": round(size / rate, 1)}
    with tempfile.TemporaryDirectory(prefix="spread-") as made:
        folder = Path(made)
        (folder / "hub").mkdir()
        files = make_release(folder / "hub", size)
        cpu = {}
        for way, name in (("chain", "ratio_to_one_copy"), ("killed", "killed_middle"), ("star", "star")):
            if way == "star" and given.without_star:
                continue
            took, cpu[way], line = measure(folder, way, given.hosts, rate, files)
            print(f"{way}: {took:.1f} s, {cpu[way]:.1f} s of processor time, {line} bytes from the hub", flush=True)
            result[name] = round(took * rate / size, 2)
            result[f"{way}_bytes_from_hub"] = line
        if "star" in cpu:
            result["cpu_ratio_to_star"] = round(cpu["chain"] / cpu["star"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
