# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a folder on a free local port, in the background: serve.py FOLDER FILE writes address and process id there."""

from __future__ import annotations

import functools
import http.server
import json
import os
import sys
from pathlib import Path


def main(folder: str, answer: str) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    pid = os.fork()
    if pid:
        text = json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "pid": pid})
        Path(answer).write_text(text, encoding="utf-8")
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
