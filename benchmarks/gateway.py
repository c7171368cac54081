#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the costs of a gateway against a direct connection to the same server, side by side in one run.

The server answers at once, so that all one sees is the gateway. The last line is JSON: added_ms (time of one request of
2 kB more than without, median), cpu_us (HAProxy's processor time for such a request), and for 1,000 servers and 200
users check_s (`haproxy -c`), reload_s (until the new configuration serves) and rss_mb (memory of the running gateway).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.private_llm.fleet.plugins.module_utils._gateway import _runtime
from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _model, _render
from ansible_collections.private_llm.fleet.tests.support import ports, proxies

REQUESTS = 1500
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 1900}]}).encode()


class Answer(BaseHTTPRequestHandler):
    """A server that answers at once."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # the answer is one piece

    def handle(self) -> None:
        """Answer until the connection ends, in whatever way."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *unused: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a health check."""
        self.do_POST()

    def do_POST(self) -> None:
        """Answer a request."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def put(directory: Path, servers: list[dict[str, Any]], users: list[dict[str, Any]], port: int) -> None:
    """Write a gateway's files; the key of a user is `key-` and the name."""
    settings = _render.Settings(
        bind="127.0.0.1", port=port, directory=str(directory), run_directory=str(directory), account=os.environ["USER"]
    )
    (directory / "models").mkdir()
    for name, content in _render.files(_model.fleet_of(servers, users), settings).items():
        (directory / name).write_text(content)
    sums = ((hashlib.sha256(f"key-{user['name']}".encode()).hexdigest(), user["name"]) for user in users)
    (directory / _render.USERS_MAP).write_text("".join(f"{key} {name}\n" for key, name in sums))
    (directory / _render.SERVER_KEYS_MAP).write_text("".join(f"{one['name']} key\n" for one in servers))


def median_ms(port: int) -> float:
    """Return the median time of one request on a connection that stays."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    times = []
    for _request in range(REQUESTS):
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", BODY, {"Authorization": "Bearer key-ann"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            sys.exit(f"port {port} answered {answer.status}: {said[:200]!r}")
        times.append(time.perf_counter() - began)
    connection.close()
    return 1000 * statistics.median(times)


def workers(master: int) -> list[int]:
    """Return the processes that a master started."""
    text = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(master)], capture_output=True, text=True, check=False
    ).stdout
    return [int(word) for word in text.split()]


def processor_seconds(pids: list[int]) -> float:
    """Return the processor time that processes took."""
    # The kernel's scheduler counts in nanoseconds, the times in `stat` in ticks of 10 ms.
    threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def resident_mb(pids: list[int]) -> float:
    """Return the memory that processes hold."""
    return (
        sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE") / 2**20
    )


def one_server(folder: Path) -> dict[str, float]:
    """Compare requests to one server with and without a gateway."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    direct, port = int(server.server_address[1]), ports.free_port()
    servers = [{"name": "gpu:m", "url": f"http://127.0.0.1:{direct}", "models": ["m"], "key": "key"}]
    put(folder, servers, [{"name": "ann", "models": ["*"]}], port)
    proxy = proxies.Proxy(folder, port)
    median_ms(port)  # warm
    before = processor_seconds(workers(proxy.process.pid))
    rounds = [(median_ms(direct), median_ms(port)) for _round in range(3)]
    spent = processor_seconds(workers(proxy.process.pid)) - before
    proxy.stop()
    server.shutdown()
    added = statistics.median(through - without for without, through in rounds)
    print(f"direct, through the gateway (ms): {', '.join(f'{one:.3f}, {two:.3f}' for one, two in rounds)}")
    return {"added_ms": round(added, 3), "cpu_us": round(1e6 * spent / (3 * REQUESTS), 1)}


def large_fleet(folder: Path) -> dict[str, float]:
    """Measure the check and the memory of 1,000 servers and 200 users."""
    servers = [
        {"name": f"gpu-{n:04}:m", "url": "http://127.0.0.1:9", "models": [f"model-{n // 2}"], "key": "key"}
        for n in range(1000)
    ]
    users = [{"name": f"user-{n}", "models": [f"model-{n}"]} for n in range(200)]
    port = ports.free_port()
    put(folder, servers, users, port)
    began = time.monotonic()
    said = proxies.refusal(folder)
    check = time.monotonic() - began
    if said:
        sys.exit(said)
    proxy = proxies.Proxy(folder, port)
    memory = resident_mb([proxy.process.pid, *workers(proxy.process.pid)])
    runtime = _runtime.Runtime(str(folder / "admin.sock"))
    old = serving(runtime)
    began = time.monotonic()
    proxy.reload()
    while serving(runtime) in ("", old) and time.monotonic() - began < 60:
        time.sleep(0.02)
    reload = time.monotonic() - began
    proxy.stop()
    if reload >= 60:
        sys.exit("the gateway did not reload within 60 s")
    return {"check_s": round(check, 2), "reload_s": round(reload, 2), "rss_mb": round(memory, 1)}


def serving(runtime: _runtime.Runtime) -> str:
    """Return the process that answers on the runtime socket; empty where none does."""
    try:
        lines = runtime.ask("show info").splitlines()
    except _runtime.RuntimeSocketError:
        return ""
    return next((line for line in lines if line.startswith("Pid:")), "")


def main() -> None:
    if proxies.HAPROXY is None:
        sys.exit("there is no haproxy here; `make machine` installs it")
    os.environ.setdefault("USER", "root")
    # As roles/gateway/templates/unit.j2 has it.
    os.environ.update(MALLOC_MMAP_THRESHOLD_="8388608", MALLOC_TRIM_THRESHOLD_="33554432")
    result: dict[str, float] = {}
    for measure in (one_server, large_fleet):
        with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as folder:
            result.update(measure(Path(folder)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
