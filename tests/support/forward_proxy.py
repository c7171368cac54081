# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small HTTP proxy on this machine, which is where all names lead that it is asked for."""

from __future__ import annotations

import base64
import http.client
import http.server
import threading
import typing as t
from urllib.parse import urlsplit

DROPPED = ("connection", "keep-alive", "proxy-authorization", "proxy-connection", "transfer-encoding")


class ForwardProxy(http.server.ThreadingHTTPServer):
    """Passes requests on; ``asked`` holds the host of each. With a password it refuses those who do not know it."""

    daemon_threads = True

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None
        self.url = f"http://{f'{user}:{password}@' if user else ''}127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> ForwardProxy:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ForwardProxy

    def log_message(self, *unused: object) -> None:
        """Log nothing: the server keeps what was asked."""

    def do_GET(self) -> None:
        """Pass a request on."""
        self.close_connection = True
        if self.server.expected not in (None, self.headers.get("Proxy-Authorization")):
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="lab"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        url = urlsplit(self.path)
        self.server.asked.append(t.cast(str, url.hostname))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
        onward = http.client.HTTPConnection("127.0.0.1", url.port or 80, timeout=30)
        onward.request(self.command, self.path[self.path.index(url.netloc) + len(url.netloc) :], body or None, kept)
        answer = onward.getresponse()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in DROPPED:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            block = answer.read(65536)
            if not block:
                break
            self.wfile.write(block)
        onward.close()

    do_HEAD = do_POST = do_GET  # noqa: N815 (the names are the base class's)
