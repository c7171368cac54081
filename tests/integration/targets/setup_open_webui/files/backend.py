# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that speaks as much of OpenAI's protocol as a connection needs: a list of models, a key, an echo.

$MODE makes one of it that hangs when it is asked for its models, or that answers with nonsense.
"""

from __future__ import annotations

import http.server
import json
import os
import time
import typing as t

MODELS = os.environ["MODELS"].split(",")
KEY = os.environ.get("KEY", "")
MODE = os.environ.get("MODE", "")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if MODE == "hang":
            print("asked for", self.path, flush=True)
            time.sleep(3600)
        elif MODE == "nonsense":
            self.answer(200, "<html>It works!</html>")
        elif self.path != "/v1/models":
            self.answer(404, {"detail": "Not Found"})
        elif self.allowed():
            self.answer(200, {"object": "list", "data": [{"id": one, "object": "model"} for one in MODELS]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.answer(404, {"detail": "Not Found"})
        elif self.allowed():
            text = f"{body['model']} heard: {body['messages'][-1]['content']}"
            message = {"role": "assistant", "content": text}
            self.answer(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def allowed(self) -> bool:
        if KEY and self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, {"error": "Unauthorized"})
            return False
        return True

    def answer(self, status: int, data: t.Any) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
