#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a real server busy while the watch looks at it, and count what the watch did: it must do nothing.

    molecule converge --scenario-name watch
    .venv/bin/python benchmarks/watch.py --minutes 60

The host is one of the lab, with the watch's timer at work. Clients ask without a pause, each for as many tokens as it
is given. The last line is JSON: what the clients saw (requests, failed, cut, longest_wait_s until a first token), how
often the watch looked (passes) and how it found the server (states), and restarts, falls and starts of the container
meanwhile. It fails when one of these three is not 0, or when a request failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "lab"))

import load

MEMORY = "/var/lib/private_llm/server_watch/state.json"
METRICS = "/var/lib/private_llm/metrics/server_watch.prom"
ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
SECONDS = 1.0  # between two looks at what the watch remembers


def asked(*argv: str) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def on(host: str, *argv: str) -> str:
    """Run a command on the lab host and return what it printed."""
    return asked("docker", "exec", host, *argv)


def remembered(host: str, server: str) -> dict[str, Any]:
    """Return what the watch remembers of the server."""
    found: dict[str, Any] = json.loads(on(host, "cat", MEMORY))["servers"][server]
    return found


def watched(host: str, server: str, stop: threading.Event) -> collections.Counter[str]:
    """Count how each pass found the server, until told to stop."""
    states: collections.Counter[str] = collections.Counter()
    last = ""
    while not stop.wait(SECONDS):
        latest = on(host, "grep", "^private_llm_watch_last_pass", METRICS)
        if latest != last:
            last = latest
            states[remembered(host, server)["state"]] += 1
    return states


def main() -> int:
    """Ask, look, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="private-llm-lab-watch-gpu-01", help="the container that is the host")
    parser.add_argument("--server", default="alpha")
    parser.add_argument("--port", type=int, default=18005)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="that each request asks for at most")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    host, server = options.host, options.server
    key = on(host, "cat", f"/etc/private_llm/vllm_server/{server}/api_keys").split()[0]
    address = asked("docker", "inspect", "--format", ADDRESS, host)
    started = on(host, "docker", "inspect", "--format", "{{.State.StartedAt}}", server)
    before = remembered(host, server)
    stop = threading.Event()
    states: list[collections.Counter[str]] = []
    looking = threading.Thread(target=lambda: states.append(watched(host, server, stop)))
    looking.start()
    clients = load.Load(f"http://{address}:{options.port}", key, server, options.tokens)
    seen = load.run(clients, options.clients, None, 60 * options.minutes)
    stop.set()
    looking.join()
    after = remembered(host, server)
    done = {
        "restarts": after["restarts_total"] - before["restarts_total"],
        "falls": after["falls_total"] - before["falls_total"],
        "starts": int(on(host, "docker", "inspect", "--format", "{{.State.StartedAt}}", server) != started),
    }
    told = {"minutes": options.minutes, "clients": options.clients, **seen}
    print(json.dumps({**told, "passes": sum(states[0].values()), "states": dict(states[0]), **done}))
    return 1 if any(done.values()) or seen["failed"] or not seen["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
