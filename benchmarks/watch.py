#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a real server busy while it is watched: the watch must restart nothing; and measure what a pass costs.

    benchmarks/watch.py [--minutes 60] [--clients 8] [--cores 0.5] [--keep]

A lab host runs a real vLLM on the processor and the watch with its defaults. Clients stream answers without a pause,
and how each pass found the server is written to standard error. Then the watch looks at eight stand-ins, which answer
with the metrics of that vLLM. It prints one line of JSON at its end:

    minutes, clients           how long and by how many the server was asked
    requests, failed, cut      what the clients saw, with longest_wait_s and first_ms (median) until a first token
    passes, states             how often the watch looked, and how it found the server
    fewest_requests            the fewest requests that the server had in a pass
    false_restarts, falls      restarts and falls that the watch noted, and starts of the container
    pass_cpu_s                 processor seconds of a pass over the stand-ins
    watch_core_share           the share of one core that such a pass takes every 30 seconds

It fails when the watch noted anything, when the container was started anew, or when a request failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "lab"), str(ROOT / "benchmarks")]

import load
from rolling import lab, play

PREFIX, NAME, SERVER, PORT = "bench-watch", "gpu-01", "alpha", 18005
HOST = f"private-llm-lab-{PREFIX}-{NAME}"
IMAGE = "private-llm-lab/vllm-openai-cpu:v0.32.0"
STATE = "/var/lib/private_llm/server_watch"
METRICS = "/var/lib/private_llm/metrics/server_watch.prom"
CONFIG = "/etc/private_llm/server_watch/config.json"
LOOK_SECONDS = 1.0  # between two looks at what the watch remembers
INTERVAL = 30  # seconds between two passes
STAND_INS, PASSES = 8, 20
STAND_IN = """
import http.server

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(open("/stand-in/metrics", "rb").read())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(b'{"usage": {"completion_tokens": 1}}')

    def say(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8000), Answer).serve_forever()
"""
COST = """
import resource, subprocess, sys
for number in range(int(sys.argv[1])):
    subprocess.run(sys.argv[2:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def on(*argv: str, given: str = "") -> str:
    """Run a command on the lab host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", HOST, *argv],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


def remembered() -> dict[str, Any]:
    """Return what the watch remembers, by server."""
    found: dict[str, Any] = json.loads(on("cat", f"{STATE}/state.json"))["servers"]
    return found


def host(work: Path) -> str:
    """Make the host with its server and the watch, and return its address."""
    platform = {"name": NAME, "image": "debian:13-engine", "preload": ["vllm"]}
    variables = lab("hosts.py", "up", "--prefix", PREFIX, stdin=json.dumps([platform]))[NAME]
    services = lab("services.py", "up", "index")
    address = str(variables["lab_ip"])
    server = {"name": SERVER, "model": "lab/tiny", "gpus": [], "port": PORT}
    wanted = {
        **variables,
        "vllm_server_address": address,
        "vllm_server_image": IMAGE,
        "vllm_server_image_pull": "never",
        "vllm_server_ready_timeout": 300,
        "vllm_server_engine": {"enforce_eager": True, "max_model_len": 512, "kv_cache_memory_bytes": 2**26},
        "vllm_server_instances": [server],
        "host_python_index_url": services["lab_index_url"],
    }
    inventory = work / "inventory.json"
    written = {"all": {"vars": services}, "gpu_hosts": {"hosts": {NAME: wanted}}}
    inventory.write_text(json.dumps(written), encoding="utf-8")
    for playbook in ("molecule/gateway/prepare.yml", "playbooks/servers.yml"):
        print(f"{playbook}: {play(playbook, inventory):.0f} s", file=sys.stderr, flush=True)
    return address


def first_pass() -> None:
    """Wait until the watch has seen that the server works."""
    deadline = time.monotonic() + 10 * INTERVAL
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        try:
            if remembered()[SERVER]["state"] == "ready":
                return
        except (subprocess.SubprocessError, KeyError):
            continue
    raise SystemExit("the watch did not find the server ready")


def watched(stop: threading.Event) -> list[tuple[str, int]]:
    """Return how each pass found the server, and how many requests it had, until told to stop."""
    passes: list[tuple[str, int]] = []
    last = on("grep", "^private_llm_watch_last_pass", METRICS)
    while not stop.wait(LOOK_SECONDS):
        try:
            latest, found = on("grep", "^private_llm_watch_last_pass", METRICS), remembered()[SERVER]
        except subprocess.SubprocessError as error:
            print(f"{time.strftime('%H:%M:%S')} cannot look: {error}", file=sys.stderr, flush=True)
            continue
        if latest != last:
            last = latest
            passes.append((found["state"], found["requests"]))
            said = f": {found['message']}" if found["message"] else ""
            judged = f"{found['state']}{said}, {found['requests']} requests"
            print(f"{time.strftime('%H:%M:%S')} {judged}", file=sys.stderr, flush=True)
    return passes


def started() -> str:
    """Return when the container of the server was started."""
    return on("docker", "inspect", "--format", "{{.State.StartedAt}}", SERVER)


def under_load(address: str, clients: int, tokens: int, minutes: float) -> dict[str, Any]:
    """Have clients ask without a pause, and return what they and the watch saw."""
    key = on("cat", f"/etc/private_llm/vllm_server/{SERVER}/api_keys").split()[0]
    before, began = remembered()[SERVER], started()
    stop = threading.Event()
    passes: list[tuple[str, int]] = []
    looking = threading.Thread(target=lambda: passes.extend(watched(stop)))
    looking.start()
    asking = load.Load(f"http://{address}:{PORT}", key, SERVER, tokens, whole=True)
    seen = load.run(asking, clients, None, 60 * minutes)
    stop.set()
    looking.join()
    after = remembered()[SERVER]
    return {
        "minutes": minutes,
        "clients": clients,
        **seen,
        "passes": len(passes),
        "states": dict(collections.Counter(state for state, _requests in passes)),
        "fewest_requests": min((requests for _state, requests in passes), default=0),
        "false_restarts": after["restarts_total"] - before["restarts_total"],
        "falls": after["falls_total"] - before["falls_total"],
        "starts": int(started() != began),
    }


def cost() -> dict[str, float]:
    """Return what a pass over the stand-ins costs."""
    on("systemctl", "stop", "private-llm-watch.timer", "private-llm-watch.service")
    page = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{PORT}/metrics').read().decode())"
    on("mkdir", "-p", "/srv/stand-in")
    on("tee", "/srv/stand-in/metrics", given=on("python3", "-c", page))
    on("tee", "/srv/stand-in/server.py", given=STAND_IN)
    labels = json.loads(on("docker", "inspect", "--format", "{{json .Config.Labels}}", SERVER))
    told = [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    on("docker", "stop", SERVER)
    names = [f"stand-in-{number}" for number in range(STAND_INS)]
    for number, name in enumerate(names):
        ways = ["--publish", f"127.0.0.1:{PORT + 1 + number}:8000", "--volume", "/srv/stand-in:/stand-in:ro"]
        made = ["--detach", "--name", name, *told, *ways, "--entrypoint", "python3"]
        on("docker", "run", *made, IMAGE, "/stand-in/server.py")
    config = json.loads(on("cat", CONFIG))
    on("tee", CONFIG, given=json.dumps({**config, "servers": dict.fromkeys(names, "started")}))
    command = ["/usr/bin/python3", "-I", "/opt/private_llm/server_watch", "pass"]
    on(*command)
    seconds = float(on("python3", "-c", COST, str(PASSES), *command)) / PASSES
    states = {name: found["state"] for name, found in remembered().items()}
    if states != dict.fromkeys(names, "ready"):
        raise SystemExit(f"the stand-ins were not found ready: {states}")
    return {"pass_cpu_s": round(seconds, 3), "watch_core_share": round(seconds / INTERVAL, 4)}


def main() -> int:
    """Ask, look, measure, and print; status 1 when the watch noted anything or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--cores", type=float, default=0.5, help="that the server may use; the rest is for other work")
    parser.add_argument("--keep", action="store_true", help="leave the host")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="private-llm-bench-"))
    try:
        address = host(work)
        on("docker", "update", "--cpus", str(options.cores), SERVER)
        first_pass()
        figures = under_load(address, options.clients, options.tokens, options.minutes)
        figures.update(cost())
    finally:
        if not options.keep:
            lab("hosts.py", "down", "--prefix", PREFIX)
            lab("services.py", "down")
        shutil.rmtree(work)
    print(json.dumps(figures), flush=True)
    noted = any(figures[one] for one in ("false_restarts", "falls", "starts", "failed", "cut"))
    return 1 if noted or not figures["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
