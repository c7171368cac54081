#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers like engines that have their configuration elsewhere: on /run/rootless.sock and /run/snap.sock."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from typing import Any

ENGINES: dict[str, dict[str, Any]] = {
    "rootless": {
        "DockerRootDir": "/home/ops/.local/share/docker",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
    },
    "snap": {"DockerRootDir": "/var/snap/docker/common/var-lib-docker", "SecurityOptions": ["name=apparmor"]},
}


def serve(name: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps(ENGINES[name] if self.path == "/info" else []).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def address_string(self) -> str:
            return name

    socketserver.UnixStreamServer(f"/run/{name}.sock", Handler).serve_forever()


for engine in ENGINES:
    threading.Thread(target=serve, args=[engine]).start()
