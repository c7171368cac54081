# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to look at servers that run, how soon a crash is told, and what vLLM's defaults are worth.

    no-op    a play with the role vllm_server on a host with four servers that are as declared, and a play with a ping
    crash    from the death of a container that does not start to the module's answer that says why
    flags    start and throughput with this collection's defaults, first and again, and with the flags of the usual
             recipe: --enforce-eager --dtype bfloat16 --gpu-memory-utilization 0.95

Everything runs on this machine, on the CPU, with the lab's image and a tiny model with random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "scripts" / "lab"))

from images import CACHE, RECIPES, TORCH

IMAGE = RECIPES["vllm"].reference
COMPILING = "private-llm-lab/vllm-openai-cpu-compiling:v0.32.0"
NAME = "bench-vllm"
PORT = 28500
SMALL = {"VLLM_CPU_KVCACHE_SPACE": 1}
RECIPE_FLAGS: dict[str, Any] = {"enforce_eager": True, "dtype": "bfloat16", "gpu_memory_utilization": 0.95}

# The lab's image has neither a compiler nor PyTorch's headers; the published one has both.
ADD_COMPILER = """
apt-get update -q && apt-get install -q -y --no-install-recommends g++ python3-dev && apt-get clean
python3 - <<'END'
import glob, zipfile
with zipfile.ZipFile(glob.glob("/mnt/wheels/torch-*.whl")[0]) as wheel:
    headers = [name for name in wheel.namelist() if name.startswith("torch/include/")]
    wheel.extractall("/usr/local/lib/python3.11/dist-packages", headers)
END
"""


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
    """Seconds of the wall clock."""
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
        """A server on this host alone, without a key."""
        return {
            "name": f"{NAME}-{number}",
            "image": IMAGE,
            "model": str(self.model),
            "port": PORT + number,
            "bind": "127.0.0.1",
            "api_keys": [],
            "env": SMALL,
            **given,
        }

    def play(self, name: str, **play: Any) -> Callable[[], str]:
        """A playbook for this host, and how to run it."""
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
        result: dict[str, Any] = json.loads(said[said.index("{") :])
        return result

    def remove(self, numbers: range) -> None:
        """Take servers away again."""
        servers = [{"name": f"{NAME}-{number}", "state": "absent"} for number in numbers]
        self.module("vllm_servers", {"servers": servers})


def no_op(bench: Bench, runs: int) -> dict[str, Any]:
    """Four servers that are as declared, against a ping."""
    engine = {"max_model_len": 256, "enforce_eager": True}
    instances = [bench.instance(number, engine=engine) for number in range(4)]
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
    """A tensor parallel size that does not divide the heads: vLLM ends by itself after some seconds."""
    seconds = []
    for _turn in range(runs):
        engine = {"max_model_len": 256, "enforce_eager": True, "tensor_parallel_size": 3}
        bench.module("vllm_server", bench.instance(9, engine=engine, restart_policy="no"), check=False)
        told = time.time()
        died = run(["docker", "inspect", "--format", "{{.State.FinishedAt}}", f"{NAME}-9"]).strip()
        seconds.append(told - datetime.datetime.fromisoformat(died[:19] + "+00:00").timestamp())
        bench.remove(range(9, 10))
    print(f"crash    told {statistics.median(seconds):.1f} s after the container died", flush=True)
    return {"seconds": seconds}


def compiling_image() -> None:
    """The lab's image with what vLLM compiles with."""
    if run(["docker", "images", "--quiet", COMPILING]).strip():
        return
    name = f"{NAME}-image"
    wheels = CACHE / "wheels" / "vllm"
    if not list(wheels.glob(f"torch-{TORCH}*.whl")):
        raise SystemExit(f"there is no wheel of torch in {wheels}; scripts/lab/images.py --only vllm downloads it")
    argv = ["docker", "run", "--name", name, "--volume", f"{wheels}:/mnt/wheels:ro", "--entrypoint", "sh", IMAGE]
    try:
        run([*argv, "-euc", ADD_COMPILER])
        run(["docker", "commit", "--change", 'ENTRYPOINT ["vllm","serve"]', name, COMPILING])
    finally:
        run(["docker", "rm", "--force", name], check=False)


def generate(port: int, tokens: int) -> int:
    """One request that generates this many tokens whatever they are; returns how many came."""
    body = {"model": f"{NAME}-{port - PORT}", "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


def throughput(port: int, at_once: int, tokens: int = 400) -> float:
    """Tokens a second over so many requests at once, after one to warm up."""
    generate(port, 16)
    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        total = sum(pool.map(lambda _index: generate(port, tokens), range(at_once)))
    return total / (time.monotonic() - started)


@contextlib.contextmanager
def server(bench: Bench, number: int, engine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A server for as long as it is measured; its compile cache stays."""
    try:
        yield bench.module("vllm_server", bench.instance(number, image=COMPILING, engine=engine))
    finally:
        bench.remove(range(number, number + 1))


def flags(bench: Bench, runs: int) -> dict[str, Any]:
    """Our defaults, cold and with a kept cache, and the recipe's flags, turn about."""
    compiling_image()
    image_id = run(["docker", "images", "--quiet", "--no-trunc", COMPILING]).strip().partition(":")[2]
    # The memory for the KV cache is stated by SMALL in all of them: a share of the host's memory is no GPU's.
    ways = {
        "defaults, first start": {"max_model_len": 1024},
        "defaults, again": {"max_model_len": 1024},
        "the recipe's flags": {"max_model_len": 1024, **RECIPE_FLAGS},
    }
    figures: dict[str, dict[str, list[float]]] = {way: {"start": [], "tokens_1": [], "tokens_8": []} for way in ways}
    for _turn in range(runs):
        for folder in Path("/var/cache/private_llm/vllm").glob(f"*-{image_id[:12]}"):
            shutil.rmtree(folder)
        for number, (way, engine) in enumerate(ways.items()):
            with server(bench, 20 + number, engine) as result:
                figures[way]["start"].append(result["ready"]["seconds"])
                figures[way]["tokens_1"].append(throughput(PORT + 20 + number, 1))
                figures[way]["tokens_8"].append(throughput(PORT + 20 + number, 8))
    print(f"flags    {'':<24}{'start':>10}{'1 request':>14}{'8 at once':>14}", flush=True)
    for way, rows in figures.items():
        start, one, eight = (statistics.median(rows[key]) for key in ("start", "tokens_1", "tokens_8"))
        print(f"         {way:<24}{start:>8.1f} s{one:>10.0f} t/s{eight:>10.0f} t/s", flush=True)
    return figures


def main() -> int:
    """Measure what is named, or all of it."""
    parts: dict[str, Callable[[Bench, int], dict[str, Any]]] = {"no-op": no_op, "crash": crash, "flags": flags}
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
