#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start servers of vLLM on the GPUs of this machine, in turn on each GPU, and keep what each of them reported.

    gpu_starts.py CASES OUT [--tokenizer DIR] [--warm 10] [--seconds 560] [--vllm 'vllm serve']

CASES is a JSON file: `models` are configurations by name, `cases` a list in the order in which GPUs are given to them:

    name      of the case, and of its log in OUT/logs
    model     a name in `models`, or a path
    engine    options of vLLM by name; true is a bare flag
    gpus      how many it needs; 0 is a start that ends before it touches one
    env       variables of its environment
    prefix    words before the command, such as `unshare`
    beside    a second case on the same GPUs, started when this one is ready
    command   a command of the shell in place of a server
    on        what to do once the log holds a text ("ready" and "turn" are moments of their own): a list of {when, do}
                hog      another process takes the memory of GPU `gpu` but `leave` MiB
                signal   process whose title holds `process` gets signal `number`
                ask      a completion of `tokens` tokens with `more` in its body; its answer is kept
                run      `command` of the shell, with the server's PORT; its output is kept
    until     "ready" (the default), "end" for one that is to fail, or a text of the log that is all that is
              wanted; `patience` seconds after its turn at most

A server gets as far as its GPU at once, and waits there for its turn (gpu_turns/), so that what one measures is not
disturbed by another. OUT/results.json says how each ended, and holds the lines about memory of each log; the cases in
it are not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TURNS = Path(__file__).resolve().parent / "gpu_turns"
READY = "Application startup complete"
# NVLink multicast can put a host's GPUs out of service where others share them.
SAFE = {
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
MEMORY_LINES = re.compile(
    r"Model loading took|Available KV cache memory|GPU KV cache size|Maximum concurrency|Graph capturing finished|"
    r"CUDA graph pool memory|Estimated CUDA graph memory|Total non KV cache memory|worker init memory snapshot|"
    r"worker requested memory|Free memory after profiling|torch\.compile took|init engine .* took|"
    r"Using max model len|Resolved architecture|Chunked prefill is enabled|attention block size|Using .* backend"
)
HOG = """
import pathlib, sys, time
import torch
go, leave = pathlib.Path(sys.argv[1]), int(sys.argv[2])
while not go.exists(): time.sleep(0.05)
torch.cuda.init()
free = torch.cuda.mem_get_info()[0]
kept = torch.empty(max(0, free - leave * 2**20), dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("has it", flush=True)
time.sleep(600)
"""


class Turns:
    """Gives GPUs to those who wait for them, the first in the list first."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.held: set[int] = set()
        self.waiting: dict[int, set[int]] = {}

    def try_take(self, place: int, gpus: set[int]) -> bool:
        """Take the GPUs when they are free and nobody before this one waits for one of them."""
        with self.changed:
            self.waiting[place] = gpus
            first = not any(other < place and wanted & gpus for other, wanted in self.waiting.items())
            if not first or self.held & gpus:
                return False
            del self.waiting[place]
            self.held |= gpus
            return True

    def give_back(self, place: int, gpus: set[int], had: bool) -> None:
        """Leave the queue, or the GPUs."""
        with self.changed:
            self.waiting.pop(place, None)
            if had:
                self.held -= gpus


@dataclasses.dataclass
class Settings:
    """What all cases share."""

    out: Path
    vllm: list[str]
    python: str
    models: dict[str, Any]
    tokenizer: Path | None
    deadline: float
    work: Path


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def flags(engine: dict[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words: list[str] = []
    for name, value in engine.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is False:
            words.append(f"--no-{name.replace('_', '-')}")
        elif isinstance(value, list):
            words += [flag, *(str(item) for item in value)]
        else:
            words += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def used_mib(gpus: set[int]) -> dict[int, int]:
    """Return the memory in use on each GPU."""
    command = ["nvidia-smi", "--query-gpu=index,memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    pairs = (line.split(",") for line in said.splitlines() if "," in line)
    return {int(index): int(used) for index, used in pairs if int(index) in gpus}


def processes(sessions: set[int]) -> list[int]:
    """Return the processes of these sessions."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # Behind the name, which may hold anything: state, parent, group, session.
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                found.append(int(entry.name))
    return sorted(found)


def end_all(sessions: set[int]) -> None:
    """Kill every process of these sessions, which nobody else shares."""
    for pid in processes(sessions):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def title(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


class Server:
    """One process of vLLM (or a command), its log and its moments."""

    def __init__(self, case: dict[str, Any], gpus: list[int], settings: Settings) -> None:
        self.case, self.gpus, self.settings = case, gpus, settings
        self.log = settings.out / "logs" / f"{case['name']}.log"
        self.turn = settings.work / "turns" / str(case["name"])
        self.turn.mkdir(parents=True)
        self.port = free_port()
        self.done: set[int] = set()
        self.notes: list[dict[str, Any]] = []
        self.hogs: dict[int, subprocess.Popen[str]] = {}
        self.offset = 0
        self.text = ""
        self.granted = 0.0
        self.process = self.launch()
        self.launched = time.monotonic()

    def environment(self) -> dict[str, str]:
        site = os.environ.get("PYTHONPATH", "")
        return {
            **os.environ, **OFFLINE,
            "PYTHONPATH": os.pathsep.join(part for part in (str(TURNS), site) if part),
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, self.gpus)),
            "VLLM_CACHE_ROOT": str(self.settings.work / "cache" / str(self.case["name"])),
            **({} if self.case.get("command") else {"GPU_TURN": str(self.turn)}),
            **{key: str(value) for key, value in self.case.get("env", {}).items()},
            **SAFE,
        }  # fmt: skip

    def command(self) -> list[str]:
        if self.case.get("command"):
            return ["bash", "-c", str(self.case["command"])]
        model = self.settings.models.get(self.case["model"])
        folder = Path(str(self.case["model"]))
        if model is not None:
            folder = self.settings.work / "models" / str(self.case["name"])
            folder.mkdir(parents=True)
            if self.settings.tokenizer:
                for name in ("tokenizer.json", "tokenizer_config.json"):
                    shutil.copy(self.settings.tokenizer / name, folder)
            (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")
        engine = {"load_format": "dummy", **self.case.get("engine", {})}
        where = ["--served-model-name", "m", "--host", "127.0.0.1", "--port", str(self.port)]
        prefix = [str(word) for word in self.case.get("prefix", [])]
        return [*prefix, *self.settings.vllm, str(folder), *where, *flags(engine)]

    def launch(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        for number, action in enumerate(self.case.get("on", [])):
            if action["do"] == "hog":
                environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(self.gpus[action.get("gpu", 0)])}
                command = [self.settings.python, "-c", HOG, str(self.turn / f"hog-{number}"), str(action["leave"])]
                self.hogs[number] = subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
                )
        with self.log.open("wb") as stream:
            return subprocess.Popen(
                self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True, cwd=self.settings.work,
            )  # fmt: skip

    def read(self) -> None:
        with self.log.open("rb") as stream:
            stream.seek(self.offset)
            more = stream.read()
        self.offset += len(more)
        self.text += more.decode("utf-8", "replace")

    def sessions(self) -> set[int]:
        return {self.process.pid, *(hog.pid for hog in self.hogs.values())}

    def waits(self) -> bool:
        """Tell whether all workers stand before their GPU."""
        engine = self.case.get("engine", {})
        ranks = int(engine.get("tensor_parallel_size", 1)) * int(engine.get("pipeline_parallel_size", 1))
        return len(list(self.turn.glob("at-*"))) >= ranks

    def act(self, moment: str) -> None:
        """Do what is to be done at this moment, or at texts that the log holds by now."""
        for number, action in enumerate(self.case.get("on", [])):
            when = action["when"]
            due = when == moment or (moment == "log" and when not in ("ready", "turn") and when in self.text)
            if number in self.done or not due:
                continue
            self.done.add(number)
            note: dict[str, Any] = {"do": action["do"], "at": round(time.monotonic() - self.launched, 1)}
            try:
                note["result"] = getattr(self, f"do_{action['do']}")(number, action)
            except (OSError, subprocess.SubprocessError, ValueError, urllib.error.URLError) as error:
                note["error"] = f"{type(error).__name__}: {error}"
            self.notes.append(note)

    def do_hog(self, number: int, _action: dict[str, Any]) -> str:
        (self.turn / f"hog-{number}").touch()
        stream = self.hogs[number].stdout
        return stream.readline().strip() if stream else ""

    def do_signal(self, _number: int, action: dict[str, Any]) -> list[int]:
        found = [pid for pid in processes({self.process.pid}) if action["process"] in title(pid)]
        for pid in found:
            os.kill(pid, int(action["number"]))
        return found

    def do_run(self, _number: int, action: dict[str, Any]) -> str:
        done = subprocess.run(
            ["bash", "-c", action["command"]], capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PORT": str(self.port)},
        )  # fmt: skip
        return (done.stdout + done.stderr)[-100_000:]

    def do_ask(self, _number: int, action: dict[str, Any]) -> str:
        count = int(action.get("prompt_tokens", 8))
        body = {"model": "m", "prompt": [5 + i % 200 for i in range(count)], "temperature": 0, "ignore_eos": True}
        body |= {"max_tokens": int(action.get("tokens", 16)), **action.get("more", {})}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=action.get("seconds", 60)) as answer:
                usage = json.loads(answer.read()).get("usage")
                return f"{answer.status} {usage}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read()[:500].decode('utf-8', 'replace')}"


def seen_enough(case: dict[str, Any], text: str) -> bool:
    """Tell whether the log holds the text that was all that is wanted of the case."""
    until = str(case.get("until", "ready"))
    return until not in ("ready", "end") and until in text


def run_case(place: int, case: dict[str, Any], gpus: list[int], turns: Turns, settings: Settings) -> dict[str, Any]:
    """Start the case, wait for its turn, and for its end."""
    wanted = set(gpus)
    servers = [Server(one, gpus, settings) for one in (case, case.get("beside")) if one]
    had, ended = False, ""
    current = servers[0]
    try:
        while not ended:
            time.sleep(0.1)
            current.read()
            now = time.monotonic()
            if now > settings.deadline:
                ended = "out of time"
            elif current.process.poll() is not None:
                current.read()
                ended = f"exit {current.process.returncode}"
            elif (since := current.granted if gpus else current.launched) and now - since > case.get("patience", 150):
                ended = "out of patience"
            elif not current.granted and gpus and (case.get("command") or current.waits()):
                if had or turns.try_take(place, wanted):
                    had = True
                    current.act("turn")
                    current.granted = time.monotonic()
                    (current.turn / "go").touch()
            elif seen_enough(current.case, current.text):
                ended = "seen"
            else:
                current.act("log")
                if READY in current.text:
                    if not (current.turn / "ready").exists():
                        (current.turn / "ready").touch()
                        current.notes.append(
                            {"do": "ready", "at": round(now - current.granted, 1), "mib": used_mib(wanted)}
                        )
                        current.act("ready")
                    # One that was to fail and did not is of no more interest, unless something is still done to it.
                    if current.case.get("until", "ready") == "ready" or not current.case.get("on"):
                        if current is servers[-1]:
                            current.notes.append({"do": "after", "mib": used_mib(wanted)})
                            ended = "ready"
                        else:
                            current = servers[1]
    finally:
        end_all({session for server in servers for session in server.sessions()})
        if had:
            until = time.monotonic() + 20
            while time.monotonic() < until and any(mib > 1500 for mib in used_mib(wanted).values()):
                time.sleep(0.2)
        turns.give_back(place, wanted, had)
    found: dict[str, Any] = {"ended": ended, "gpus": gpus}
    for server in servers:
        server.read()
        lines = [line for line in server.text.splitlines() if MEMORY_LINES.search(line)]
        found[server.case["name"]] = {
            "case": {key: value for key, value in server.case.items() if key != "beside"},
            "warm": round(server.granted - server.launched, 1),
            "held": round(time.monotonic() - server.granted, 1) if server.granted else None,
            "notes": server.notes,
            "lines": lines,
        }
    return found


def place_on_gpus(cases: list[dict[str, Any]], count: int) -> list[list[int]]:
    """Say which GPUs each case gets: those with the least to do before it."""
    load = [0.0] * count
    placed = []
    for case in cases:
        wanted = int(case.get("gpus", 1))
        chosen = sorted(sorted(range(count), key=lambda gpu: (load[gpu], gpu))[:wanted])
        until = max((load[gpu] for gpu in chosen), default=0) + case.get("cost", 40)
        for gpu in chosen:
            load[gpu] = until
        placed.append(chosen)
    print(f"about {load} s on each GPU", flush=True)
    return placed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--warm", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=560)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--vllm", default="vllm serve")
    parser.add_argument("--only", default="")
    wanted = parser.parse_args()
    known = json.loads(wanted.cases.read_text("utf-8"))
    results: dict[str, Any] = {}
    if (wanted.out / "results.json").exists():
        results = json.loads((wanted.out / "results.json").read_text("utf-8"))
    kept = {name for name, found in results.items() if found["ended"] != "out of time"}
    cases = [case for case in known["cases"] if re.search(wanted.only, case["name"]) and case["name"] not in kept]
    count = wanted.gpus or len(subprocess.check_output(["nvidia-smi", "-L"], text=True).splitlines())
    settings = Settings(
        wanted.out, shlex.split(wanted.vllm), sys.executable, known["models"], wanted.tokenizer,
        time.monotonic() + wanted.seconds, Path(tempfile.mkdtemp(prefix="gpu_starts_")),
    )  # fmt: skip
    placed, turns, slots = place_on_gpus(cases, count), Turns(), threading.Semaphore(wanted.warm)
    began = time.monotonic()

    def one(place: int) -> None:
        try:
            found = run_case(place, cases[place], placed[place], turns, settings)
            with turns.changed:
                results[cases[place]["name"]] = found
        finally:
            slots.release()
        took = time.monotonic() - began
        with turns.changed:
            print(f"{took:5.0f} {cases[place]['name']}: {results[cases[place]['name']]['ended']}", flush=True)
            (wanted.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")

    threads = []
    wanted.out.mkdir(parents=True, exist_ok=True)
    for place in range(len(cases)):
        slots.acquire()
        if time.monotonic() > settings.deadline - 20:
            print(f"no time for {', '.join(case['name'] for case in cases[place:])}", flush=True)
            break
        threads.append(threading.Thread(target=one, args=(place,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    shutil.rmtree(settings.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
