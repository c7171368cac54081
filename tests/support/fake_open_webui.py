# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of Open WebUI's API as this collection calls, in memory, with answers that a test can bend.

The real one is met in the integration tests; this one can be made to lie.
"""

from __future__ import annotations

import copy
import http.server
import json
import threading
import typing as t
import urllib.parse

VERSION = "0.12.4"
ADMIN = {"id": "u1", "name": "Admin", "email": "admin@example.com", "role": "admin"}
PASSWORD = "pw of admin"

Bend = t.Callable[[str, t.Any], t.Any]


class Raw(t.NamedTuple):
    """An answer that is no JSON of ours: status, media type and body as they are sent."""

    status: int
    content_type: str
    body: bytes


class FakeOpenWebUi:
    """A server on this machine. What it has is in its attributes; bend changes what it says about that."""

    def __init__(self) -> None:
        self.bend: Bend = lambda _call, data: data
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.restart()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                call = f"{self.command} {urllib.parse.urlsplit(self.path).path}"
                outer.calls.append(call)
                outer.headers.append(dict(self.headers))
                status, data = outer.answer(self.command, self.path, body)
                bent = outer.bend(call, data)
                raw = bent if isinstance(bent, Raw) else Raw(status, "application/json", json.dumps(bent).encode())
                self.send_response(raw.status)
                self.send_header("Content-Type", raw.content_type)
                self.send_header("Content-Length", str(len(raw.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(raw.body)
                self.close_connection = True

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def do_DELETE(self) -> None:
                self._serve()

            def log_message(self, *args: t.Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def restart(self) -> None:
        """Reset to the first day, with two accounts, a group, a model and a connection."""
        self.bend = lambda _call, data: data
        self.calls.clear()
        self.headers.clear()
        self.passwords = {ADMIN["email"]: PASSWORD, "ann@example.com": "pw of ann"}
        self.users = [dict(ADMIN), {"id": "u2", "name": "Ann", "email": "ann@example.com", "role": "admin"}]
        self.groups: dict[str, dict[str, t.Any]] = {
            "g1": {"id": "g1", "name": "research", "description": "They try.", "user_ids": ["u1"]}
        }
        self.connections: dict[str, t.Any] = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": ["http://gpu-01:18005/v1"],
            "OPENAI_API_KEYS": ["kept-key"],
            "OPENAI_API_CONFIGS": {"0": {"enable": True, "prefix_id": "", "model_ids": [], "tags": []}},
        }
        self.rows: dict[str, dict[str, t.Any]] = {
            "qwen": {"id": "qwen", "name": "qwen", "meta": {"description": ""}, "params": {}, "access_grants": []}
        }
        self.settings: dict[str, t.Any] = {
            "ui.enable_signup": False,
            "ui.default_user_role": "pending",
            "rag.openai.api_key": "kept-key",
            "rag.top_k": 3,
        }

    def answer(self, method: str, path: str, body: t.Any) -> tuple[int, t.Any]:
        """Return status and data for one call."""
        parts = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        call = f"{method} {parts.path}"
        simple: dict[str, t.Callable[[], t.Any]] = {
            "GET /ready": lambda: {"status": True},
            "GET /api/version": lambda: {"version": VERSION, "deployment_id": ""},
            "GET /api/config": lambda: {"version": VERSION, "features": {"auth_trusted_header": False}},
            "GET /api/v1/auths/": lambda: {**ADMIN},
            "GET /openai/config": lambda: self.connections,
            "GET /openai/models": lambda: {"data": [{"id": "qwen", "urlIdx": 0}]},
            "POST /openai/verify": lambda: {"object": "list", "data": [{"id": "qwen"}]},
            "GET /api/models": lambda: {"data": [{"id": "qwen"}, {"id": "other"}]},
            "POST /api/chat/completions": lambda: {
                "choices": [{"message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            },
            "GET /api/v1/users/all": lambda: {"users": self.users, "total": len(self.users)},
            "GET /api/v1/users/": lambda: {"users": self.users, "total": len(self.users)},
            "GET /api/v1/groups/": lambda: [{**one, "member_count": 1} for one in self.groups.values()],
            "GET /api/v1/configs/export": lambda: self.settings,
            "GET /api/v1/auths/admin/config/oauth": lambda: {"ENABLE_OAUTH_PERSISTENT_CONFIG": True},
        }
        if call in simple:
            return 200, copy.deepcopy(simple[call]())
        if call == "POST /api/v1/auths/signin":
            who = next((one for one in self.users if one["email"] == body["email"].lower()), None)
            if who is None or self.passwords.get(who["email"]) != body["password"]:
                return 400, {"detail": "The email or password provided is incorrect."}
            return 200, {**who, "token": f"jwt-of-{who['id']}"}
        if call == "POST /openai/config/update":
            self.connections = body
            return 200, body
        if call == "POST /api/v1/configs/import":
            self.settings.update(body["config"])
            return 200, self.settings
        if parts.path.startswith("/api/v1/models"):
            return self._models(call, query, body)
        if parts.path.startswith("/api/v1/groups"):
            return self._groups(method, parts.path, body)
        return self._users(method, parts.path, body)

    def _models(self, call: str, query: dict[str, str], body: t.Any) -> tuple[int, t.Any]:
        if call == "GET /api/v1/models/model":
            row = self.rows.get(query.get("id", ""))
            return (200, copy.deepcopy(row)) if row else (404, {"detail": "Model not found"})
        row = self.rows.setdefault(
            body["id"], {"id": body["id"], "name": body["id"], "meta": {}, "params": {}, "access_grants": []}
        )
        row.update(body)
        return 200, copy.deepcopy(row)

    def _groups(self, method: str, path: str, body: t.Any) -> tuple[int, t.Any]:
        if path == "/api/v1/groups/create":
            made = f"g{len(self.groups) + 1}"
            self.groups[made] = {"id": made, "user_ids": [], **body}
            return 200, self.groups[made]
        group_id, _slash, verb = path[len("/api/v1/groups/id/") :].partition("/")
        group = self.groups[urllib.parse.unquote(group_id)]
        if verb == "delete":
            del self.groups[group["id"]]
        elif verb == "update":
            group.update(body)
        elif verb == "users/add":
            group["user_ids"] = sorted({*group["user_ids"], *body["user_ids"]})
        elif verb == "users/remove":
            group["user_ids"] = sorted(set(group["user_ids"]) - set(body["user_ids"]))
        return 200, copy.deepcopy(group)

    def _users(self, method: str, path: str, body: t.Any) -> tuple[int, t.Any]:
        if path == "/api/v1/auths/add":
            made = {"id": f"u{len(self.users) + 1}", **{name: body[name] for name in ("name", "email", "role")}}
            self.users.append(made)
            self.passwords[made["email"]] = body["password"]
            return 200, made
        user_id = urllib.parse.unquote(path[len("/api/v1/users/") :].partition("/")[0])
        user = next((one for one in self.users if one["id"] == user_id), None)
        if user is None:
            return 404, {"detail": "Not Found"}
        if method == "DELETE":
            self.users.remove(user)
        else:
            user.update({name: value for name, value in body.items() if name != "password"})
            if "password" in body:
                self.passwords[user["email"]] = body["password"]
        return 200, copy.deepcopy(user)
