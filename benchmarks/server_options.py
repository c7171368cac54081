# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options that many guides copy cost: `--enforce-eager --dtype bfloat16 --gpu-memory-utilization 0.95`.

Starts the same model with the collection's defaults and with those options, turn about, each with a cache folder of
its own: first with an empty one, then with what the first start left there. A start is measured from the process to
the first generated token. Each server then answers the same requests, one at a time and many at once, with prompts of
random tokens and answers of a fixed length.

Needs `vllm` on this machine, on a GPU or a CPU; where it is in an image, run this in the image. With
`--load-format dummy` among the model's options a configuration and a tokenizer are enough, and what is measured is
everything but the reading of weights:

    python benchmarks/server_options.py /srv/models/Qwen/Qwen3-8B/current -- --load-format dummy
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _log
from ansible_collections.private_llm.fleet.tests.support import ports

HOST = "127.0.0.1"
WAYS = {
    "defaults": [],
    "copied options": ["--enforce-eager", "--dtype", "bfloat16", "--gpu-memory-utilization", "0.95"],
}


@dataclass
class Measured:
    """What one server took to start, and how fast it answered."""

    start_seconds: float
    facts: dict[str, float] = field(default_factory=dict)
    one_tokens_per_second: float = 0.0
    many_tokens_per_second: float = 0.0


@dataclass(frozen=True)
class Load:
    """Requests that every server gets: how many, how many at once, and the tokens of each."""

    requests: int
    at_once: int
    prompt: int
    answer: int
    vocabulary: int

    def prompts(self, count: int, seed: int) -> list[list[int]]:
        """Return prompts of random tokens, so that no prefix is found in a cache; the same for the same seed."""
        chance = random.Random(seed)
        return [[chance.randrange(3, self.vocabulary) for _ in range(self.prompt)] for _ in range(count)]


def generate(port: int, prompt: list[int], tokens: int) -> int:
    """Let the server answer one prompt to the full length; returns how many tokens it says it made."""
    connection = http.client.HTTPConnection(HOST, port, timeout=600)
    body = {"model": "m", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise SystemExit(f"the server answers {response.status}: {answer[:300].decode('utf-8', 'replace')}")
    return int(json.loads(answer)["usage"]["completion_tokens"])


def tokens_per_second(port: int, prompts: list[list[int]], at_once: int, tokens: int) -> float:
    """Return the generated tokens of all requests together, over the wall clock."""
    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        made = sum(pool.map(lambda prompt: generate(port, prompt, tokens), prompts))
    seconds = time.monotonic() - started
    if made != len(prompts) * tokens:
        raise SystemExit(f"{made} tokens came in place of {len(prompts) * tokens}")
    return made / seconds


@contextlib.contextmanager
def served(
    vllm: list[str], model: str, options: list[str], cache: Path, log: Path, patience: float
) -> Iterator[tuple[int, float]]:
    """Run a server on a free port; yield the port and the seconds to its first token, and stop it at the end."""
    port = ports.free_port()
    env = dict(_spec.BASE_ENV)
    here = {key: value.replace(_spec.CACHE_MOUNT, str(cache)) for key, value in env.items()}
    command = [*vllm, "serve", model, "--served-model-name", "m", "--host", HOST, "--port", str(port), *options]
    with log.open("wb") as stream:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env={**os.environ, **here}, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
        try:
            while True:
                if process.poll() is not None or time.monotonic() - started > patience:
                    tail = log.read_text("utf-8", "replace").splitlines()[-30:]
                    raise SystemExit("\n".join([*tail, f"it did not start: {' '.join(command)}"]))
                with contextlib.suppress(OSError, SystemExit):
                    generate(port, [3, 4, 5], 1)
                    break
                time.sleep(0.1)
            yield port, time.monotonic() - started
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            # Whatever is left would keep the next server's memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def measure(
    vllm: list[str], model: str, options: list[str], cache: Path, log: Path, load: Load, patience: float
) -> Measured:
    with served(vllm, model, options, cache, log, patience) as (port, seconds):
        found = _log.facts(log.read_text("utf-8", "replace").splitlines())
        result = Measured(seconds, {key: value for key, value in found.items() if isinstance(value, (int, float))})
        tokens_per_second(port, load.prompts(2 * load.at_once, seed=1), load.at_once, load.answer)  # warm up
        few = load.prompts(max(2, load.requests // 128), seed=2)
        result.one_tokens_per_second = tokens_per_second(port, few, 1, load.answer)
        many = load.prompts(load.requests, seed=3)
        result.many_tokens_per_second = tokens_per_second(port, many, load.at_once, load.answer)
    return result


def report(found: dict[str, list[Measured]], load: Load) -> str:
    """Return a table for a person: the two ways side by side, and the one over the other."""
    rows = [
        ("start, empty cache (s)", lambda runs: runs[0].start_seconds),
        ("start, filled cache (s)", lambda runs: statistics.median(run.start_seconds for run in runs[1:])),
        ("one request at a time (tokens/s)", lambda runs: statistics.median(run.one_tokens_per_second for run in runs)),
        (
            f"{load.at_once} requests at a time (tokens/s)",
            lambda runs: statistics.median(run.many_tokens_per_second for run in runs),
        ),
        ("KV cache (tokens)", lambda runs: runs[-1].facts.get("kv_cache_tokens", 0)),
    ]
    ours, theirs = found["defaults"], found["copied options"]
    lines = ["|  | defaults | copied options | defaults / copied |", "|---|---|---|---|"]
    for words, value in rows:
        first, second = value(ours), value(theirs)
        digits = 0 if first >= 1000 else 1
        lines.append(f"| {words} | {first:.{digits}f} | {second:.{digits}f} | {first / second if second else 0:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--vllm", default="vllm", help="the command; several words for one that is a module")
    parser.add_argument("--runs", type=int, default=2, help="starts of each way; the first has an empty cache")
    parser.add_argument("--requests", type=int, default=1024)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prompt")
    parser.add_argument("--answer", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--patience", type=float, default=1800, help="seconds to wait for a start")
    parser.add_argument("--keep", help="folder for the servers' logs and the figures (result.json)")
    parser.epilog = "What follows -- are options of vLLM that both get."
    own = sys.argv[1:]
    both = own[own.index("--") + 1 :] if "--" in own else []
    arguments = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    if arguments.runs < 2:
        parser.error("--runs must be 2 or more: one start with an empty cache, one with a filled one")

    config = json.loads((Path(arguments.model) / "config.json").read_text("utf-8"))
    vocabulary = config.get("vocab_size") or config["text_config"]["vocab_size"]
    load = Load(arguments.requests, arguments.at_once, arguments.prompt, arguments.answer, vocabulary)
    scratch = Path(tempfile.mkdtemp(prefix="server-options-"))
    keep = Path(arguments.keep) if arguments.keep else scratch
    keep.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    try:
        for run in range(arguments.runs):
            for way, options in WAYS.items():
                name = way.replace(" ", "-")
                one = measure(
                    arguments.vllm.split(), arguments.model, [*both, *options],
                    scratch / name, keep / f"{name}-{run}.log", load, arguments.patience,
                )  # fmt: skip
                found[way].append(one)
                print(f"{way}, start {run + 1}: {one}", flush=True)
                result = {way: [vars(one) for one in runs] for way, runs in found.items()}
                (keep / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(report(found, load))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
