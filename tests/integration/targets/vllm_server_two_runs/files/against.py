# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let two runs of vllm_server want different things of one server, the second at a random moment of the first.

In every other round the first one's controller gets Ctrl-C at that moment; its module goes on on the host. At the end
of each round one of the two declared servers must serve, with nothing left of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

LOCKS = Path("/run/private_llm/locks")
PATIENCE = 120.0  # seconds for what goes on after its controller has gone


def run(options: dict[str, t.Any]) -> subprocess.Popen[str]:
    """Start one run of the module, as a playbook would."""
    argv = [str(Path(sys.executable).with_name("ansible")), "localhost", "--inventory", "localhost,"]
    argv += ["--connection", "local", "--module-name", "private_llm.fleet.vllm_server", "--args", json.dumps(options)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def inspect(name: str) -> dict[str, t.Any] | None:
    done = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return found[0] if found else None


def settle(name: str) -> None:
    """Wait until no run is at work on the server any more."""
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 6:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} is still locked after {PATIENCE:g} seconds")
        quiet = 0 if (LOCKS / f"vllm_server.{name}.lock").exists() else quiet + 1
        time.sleep(0.25)


def served(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as answer:
        return int(json.load(answer)["data"][0]["max_model_len"])


def one_round(number: int, options: dict[str, t.Any], moment: float, interrupted: bool) -> None:
    name, wanted = options["name"], (1000 + number, 5000 + number)
    first = run({**options, "engine": {"max_model_len": wanted[0]}})
    time.sleep(moment)
    if interrupted:
        os.killpg(first.pid, signal.SIGINT)
    second = run({**options, "engine": {"max_model_len": wanted[1]}})
    said = [process.communicate(timeout=300)[0] for process in (first, second)]
    settle(name)
    where = f"round {number}, {moment:.2f} s{', Ctrl-C' if interrupted else ''}"
    print(f"{where}: exit status {first.returncode} and {second.returncode}")
    everything = f"{where}\n--- first:\n{said[0]}\n--- second:\n{said[1]}"
    container = inspect(name)
    if container is None or not container["State"]["Running"]:
        raise SystemExit(f"no server runs: {everything}")
    if inspect(name + ".previous") is not None:
        raise SystemExit(f"a previous container was left: {everything}")
    if served(options["port"]) not in wanted:
        raise SystemExit(f"{served(options['port'])} is served: {everything}")
    if second.returncode != 0 or (first.returncode != 0 and not interrupted):
        raise SystemExit(f"a run failed: {everything}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", type=json.loads, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(given.rounds):
        one_round(number, given.options, chance.uniform(0.2, 6.0), interrupted=number % 2 == 1)


if __name__ == "__main__":
    main()
