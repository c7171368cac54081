# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that wants a password, and the server that it takes tokens from: both flows of the standard API."""

from __future__ import annotations

import base64
import json
import threading
import typing as t
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD, IDENTITY = "ann", "s3cret:with-colon", "identity-1"
TOKEN = "access-1"


class ClosedRegistry:
    """Serves a folder to whoever knows the password; ``flow`` is basic or bearer, ``realm`` where tokens come from."""

    def __init__(self, root: str, flow: str) -> None:
        self.flow = flow
        self.token = TOKEN
        self.realm = ""
        # What came in the header Authorization, by path.
        self.seen: list[tuple[str, str]] = []
        # Blobs are kept elsewhere when this says where.
        self.blobs_at = ""
        registry = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: t.Any, **more: t.Any) -> None:
                super().__init__(*args, directory=root, **more)

            def log_message(self, *unused: t.Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                registry.answer(self)

            def do_POST(self) -> None:
                registry.trade(self)

            def serve(self) -> None:
                super().do_GET()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.realm = f"http://{self.address}/token"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Serve nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def basic(self) -> str:
        """Return what user and password look like in the header."""
        return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    def answer(self, request: t.Any) -> None:
        """Answer a request for a token, a manifest or a blob."""
        sent = request.headers.get("Authorization", "")
        self.seen.append((urlsplit(request.path).path, sent))
        if request.path.startswith("/token"):
            query = parse_qs(urlsplit(request.path).query)
            wanted = query == {"service": ["lab"], "scope": ["repository:acme/tiny:pull"]}
            self._tell(request, (200 if sent == self.basic else 401) if wanted else 400)
        elif sent != (self.basic if self.flow == "basic" else f"Bearer {self.token}"):
            request.send_response(401)
            scope = 'service="lab",scope="repository:acme/tiny:pull"'
            request.send_header(
                "WWW-Authenticate",
                'Basic realm="lab"' if self.flow == "basic" else f'Bearer realm="{self.realm}",{scope}',
            )
            request.end_headers()
        elif self.blobs_at and "/blobs/" in request.path:
            request.send_response(307)
            request.send_header("Location", f"http://{self.blobs_at}{request.path}")
            request.end_headers()
        else:
            request.serve()

    def trade(self, request: t.Any) -> None:
        """Trade an identity token for an access token."""
        form = parse_qs(request.rfile.read(int(request.headers["Content-Length"])).decode())
        good = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == [IDENTITY]
        self._tell(request, 200 if good and form.get("scope") == ["repository:acme/tiny:pull"] else 401)

    def _tell(self, request: t.Any, status: int) -> None:
        request.send_response(status)
        request.end_headers()
        if status == 200:
            request.wfile.write(json.dumps({"access_token": self.token, "expires_in": 60}).encode())
