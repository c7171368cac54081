# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for `vllm serve`: answers as vLLM does after a second, and has nothing to load."""

from __future__ import annotations

import http.server
import json
import sys
import time


def argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        model = {"id": argument("--served-model-name"), "max_model_len": int(argument("--max-model-len"))}
        answers = {
            "/health": "",
            "/v1/models": json.dumps({"data": [model]}),
            "/metrics": "vllm:num_requests_running 0\n",
        }
        self.answer(answers.get(self.path))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"usage": {"completion_tokens": 1}}) if self.path == "/v1/completions" else None)

    def answer(self, text: str | None) -> None:
        body = (text or "").encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


time.sleep(1.0)
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(argument("--port"))), Handler)
print("INFO:     Application startup complete.", flush=True)
server.serve_forever()
