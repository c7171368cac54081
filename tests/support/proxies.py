# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real HAProxy for tests, and servers behind it that answer as vLLM does as far as a proxy can tell."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import ports

# Debian's /usr/sbin is on no ordinary user's PATH.
HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def refusal(directory: Path) -> str:
    """Return what ``haproxy -c`` says against a configuration, warnings included; empty when there is nothing."""
    assert HAPROXY is not None
    run = subprocess.run(
        [HAPROXY, "-c", "-f", str(directory / "haproxy.cfg")],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    said = "\n".join(line for line in run.stderr.splitlines() if "[NOTICE]" not in line).strip()
    return said or ("" if run.returncode == 0 else run.stdout)


class Backend:
    """A server of models: /health, and an answer to every POST that tells who asked for what."""

    def __init__(self, name: str, key: str = "", port: int = 0) -> None:
        self.name = name
        self.key = key
        self.seen: list[dict[str, t.Any]] = []
        self.wait = threading.Event()
        self.wait.set()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *unused: t.Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                self.answer(200 if self.path.endswith("/health") else 404, b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                backend.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
                backend.wait.wait(20)
                if backend.key and self.headers.get("Authorization") != f"Bearer {backend.key}":
                    self.answer(401, b'{"error":"Unauthorized"}')
                    return
                self.answer(200, json.dumps({"server": backend.name}).encode())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.kept: socket.socket | None = None
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and let nobody else listen there."""
        if self.kept is None:
            self.server.shutdown()
            self.server.server_close()
            self.kept = ports.refusing(self.port)

    def close(self) -> None:
        """Give the port back."""
        self.stop()
        if self.kept is not None:
            self.kept.close()


class Proxy:
    """A HAProxy that runs on the files of a directory."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        assert HAPROXY is not None
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-W", "-f", str(directory / "haproxy.cfg")], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + 15
        while time.monotonic() < end and self.process.poll() is None:
            # A master loses a signal that comes before it says so.
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                if "Loading success" in self.log.read_text():
                    return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(self.log.read_text())

    def ask(
        self, key: str, body: t.Any = None, path: str = "/v1/chat/completions", method: str = "POST"
    ) -> tuple[int, t.Any]:
        """Return the status of one request, and its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            payload = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            # As clients do: an answer that comes before the whole body was sent is read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def lines(self) -> list[dict[str, t.Any]]:
        """Return the log of requests."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def reload(self) -> None:
        """Have it take up its files anew."""
        self.process.send_signal(signal.SIGUSR2)

    def stop(self) -> None:
        """End it, with all that runs through it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
