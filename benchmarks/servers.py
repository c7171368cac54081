# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to look at servers that run, and how soon a crash is told.

    no-op    a play with the role vllm_server on a host with four servers that are as declared, and a play with a ping
    crash    from the death of a container that does not start to the answer on the terminal that says why

Everything runs on this machine, on the CPU, with the lab's image and a tiny model with random weights. What the options
of vLLM are worth is measured by server_options.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
sys.path[:0] = [str(ROOT / "scripts" / "lab"), str(ROOT / ".collections")]

from images import RECIPES

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import epoch

IMAGE = RECIPES["vllm"].reference
NAME = "bench-vllm"
PORT = 28500
# Quick to start, and small enough for four on one machine.
ENGINE = {"max_model_len": 256, "enforce_eager": True, "kv_cache_memory_bytes": 2**26}


def run(argv: list[str], check: bool = True, env: dict[str, str] | None = None) -> str:
    """Run a command; stop with all it said when it fails and must not."""
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes by the wall clock."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


class Bench:
    """A folder with a model, and playbooks that are made for one measurement."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.model = work / "model"
        run([sys.executable, "scripts/lab/tiny_model.py", "--out", str(self.model), "--says", "Hello."])

    def instance(self, number: int, **given: Any) -> dict[str, Any]:
        """Return a server on this host alone, without a key."""
        return {
            "name": f"{NAME}-{number}",
            "image": IMAGE,
            "model": str(self.model),
            "port": PORT + number,
            "bind": "127.0.0.1",
            "api_keys": [],
            "engine": ENGINE,
            **given,
        }

    def play(self, name: str, **play: Any) -> Callable[[], str]:
        """Write a playbook for this host and return a function that runs it."""
        path = self.work / f"{name}.yml"
        path.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, **play}]))
        variables = {"ansible_python_interpreter": sys.executable}
        argv = [str(TOOLS / "ansible-playbook"), "-i", "localhost,", str(path), "-e", json.dumps(variables)]
        return lambda: run(argv)

    def module(self, name: str, arguments: dict[str, Any], check: bool = True) -> dict[str, Any]:
        """Run one module here and give its result."""
        argv = [
            str(TOOLS / "ansible"),
            "localhost",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-m",
            f"private_llm.fleet.{name}",
        ]
        argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-a", json.dumps(arguments)]
        said = run(
            argv, check, {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"}
        )
        # Before it may stand what Ansible says of a failure, with braces of its own.
        start = re.search(r"^localhost \| \w+!? => ", said, re.MULTILINE)
        if start is None:
            raise SystemExit(f"{name} gave no result:\n{said}")
        result: dict[str, Any] = json.JSONDecoder().raw_decode(said, start.end())[0]
        return result

    def remove(self, numbers: range) -> None:
        """Take servers away again."""
        servers = [{"name": f"{NAME}-{number}", "state": "absent"} for number in numbers]
        self.module("vllm_servers", {"servers": servers})


def no_op(bench: Bench, runs: int) -> dict[str, Any]:
    """Measure four servers that are as declared, against a ping."""
    instances = [bench.instance(number) for number in range(4)]
    variables = {
        "vllm_server_instances": instances,
        "vllm_server_image_pull": "never",
        # Docker's library is in this interpreter's environment already, and nothing is to be installed there.
        "host_python_venv": str(Path(sys.prefix)),
        "vllm_server_packages": [],
    }
    role = bench.play("role", roles=[{"role": "private_llm.fleet.vllm_server"}], vars=variables)
    ping = bench.play("ping", tasks=[{"ansible.builtin.ping": {}}])
    try:
        first = timed(role)
        said = role()
        if "changed=0" not in said:
            raise SystemExit(f"the second run changed something:\n{said}")
        times: dict[str, list[float]] = {"role": [], "ping": []}
        for _turn in range(runs):
            times["role"].append(timed(role))
            times["ping"].append(timed(ping))
    finally:
        bench.remove(range(4))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"no-op    role with four servers {medians['role']:.2f} s, ping {medians['ping']:.2f} s, "
        f"ratio {medians['role'] / medians['ping']:.1f}; the first run took {first:.0f} s",
        flush=True,
    )
    return {"first": first, **times}


def crash(bench: Bench, runs: int) -> dict[str, Any]:
    """Measure a tensor parallel size that does not divide the heads: vLLM ends by itself after some seconds."""
    seconds = []
    for _turn in range(runs):
        engine = {**ENGINE, "tensor_parallel_size": 3}
        result = bench.module("vllm_server", bench.instance(9, engine=engine, restart_policy="no"), check=False)
        told = time.time()
        if (result.get("diagnosis") or {}).get("id") != "heads_not_divisible":
            raise SystemExit(f"it ended in another way: {result.get('msg')}")
        died = run(["docker", "inspect", "--format", "{{.State.FinishedAt}}", f"{NAME}-9"]).strip()
        seconds.append(told - epoch(died))
        bench.remove(range(9, 10))
    print(f"crash    told {statistics.median(seconds):.1f} s after the container died", flush=True)
    return {"seconds": seconds}


def main() -> int:
    """Measure what is named, or all of it."""
    parts: dict[str, Callable[[Bench, int], dict[str, Any]]] = {"no-op": no_op, "crash": crash}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; none named means all")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(parts))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(parts)}")
    work = Path(tempfile.mkdtemp(prefix="private-llm-bench-", dir="/var/tmp"))
    work.chmod(0o755)
    try:
        bench = Bench(work)
        figures = {name: parts[name](bench, arguments.runs) for name in arguments.parts or parts}
    finally:
        shutil.rmtree(work)
    kept = ROOT / ".cache" / "artifacts" / "bench-servers.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
