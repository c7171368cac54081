# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On a host: let Ann have an account, a chat, a file and a session, and keep the session in /srv/ann."""

from __future__ import annotations

import json
import pathlib
import typing as t
import urllib.request

URL = "http://127.0.0.1:3000"


def call(path: str, token: str, body: t.Any, kind: str = "application/json") -> t.Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    password = pathlib.Path("/etc/private_llm/open_webui/admin_password").read_text().strip()
    admin = call("/api/v1/auths/signin", "", {"email": "admin@example.com", "password": password})
    ann = {"name": "Ann", "email": "ann@example.com", "password": "anns password", "role": "user"}
    token = call("/api/v1/auths/add", admin["token"], ann)["token"]
    call("/api/v1/chats/new", token, {"chat": {"title": "Written before the upgrade", "messages": []}})
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="note.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nuploaded before the upgrade\r\n--x--\r\n"
    )
    call("/api/v1/files/?process=false", token, form, "multipart/form-data; boundary=x")
    pathlib.Path("/srv/ann").write_text(token)


if __name__ == "__main__":
    main()
