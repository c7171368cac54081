# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for `open-webui serve`: answers after a second, from a database of its own with the release's schema."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import pathlib
import re
import signal
import sqlite3
import sys
import time
import uuid

DATABASE = "/app/backend/data/webui.db"


def known_schema() -> str:
    """Return a schema that the image has a migration for."""
    found = importlib.util.find_spec("open_webui")
    assert found is not None
    folder = pathlib.Path(str((found.submodule_search_locations or [])[0])) / "migrations" / "versions"
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    matches = (re.search(r"^revision\b[^=]*=\s*['\"](\w+)", text, re.MULTILINE) for text in texts)
    return next(match.group(1) for match in matches if match)


def open_database() -> None:
    """Make the database with its first person, unless it is there."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(sqlite3.connect(DATABASE)))
        stack.enter_context(database)
        if database.execute("SELECT name FROM sqlite_master WHERE name = 'user'").fetchone() is None:
            database.execute("CREATE TABLE user (id TEXT)")
            database.execute("INSERT INTO user VALUES (?)", [str(uuid.uuid4())])
            database.execute("CREATE TABLE alembic_version (version_num TEXT)")
            database.execute("INSERT INTO alembic_version VALUES (?)", [known_schema()])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {
            "/ready": {"status": True},
            "/api/version": {"version": "0.12.4"},
            "/api/config": {"name": os.environ["WEBUI_NAME"]},
        }
        body = json.dumps(answers.get(self.path)).encode()
        self.send_response(200 if self.path in answers else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# The first process of a container ends at a signal only when it says so.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(1.0)
open_database()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
