# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody else writes Open WebUI's connections at the worst moments, which the real one cannot be made to have."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _private_folder
from ansible_collections.private_llm.fleet.plugins.modules import open_webui_connection


class Web:
    """As much of Open WebUI as there is to its connections: one value that is read and replaced as a whole."""

    def __init__(self) -> None:
        self.config: dict[str, t.Any] = {}
        self.replace("http://first/v1")
        self.reads = 0
        self.writes = 0
        self.before_read: dict[int, t.Callable[[], None]] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/api/version":
                    self.answer({"version": "0.12.4"})
                    return
                outer.reads += 1
                outer.before_read.get(outer.reads, lambda: None)()
                self.answer(outer.config)

            def do_POST(self) -> None:
                outer.writes += 1
                outer.config = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(outer.config)

            def answer(self, data: t.Any) -> None:
                text = json.dumps(data).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: t.Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def replace(self, *urls: str) -> None:
        self.config = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": list(urls),
            "OPENAI_API_KEYS": [""] * len(urls),
            "OPENAI_API_CONFIGS": {},
        }


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Iterator[Web]:
    monkeypatch.setattr(open_webui_connection, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(_private_folder, "private_folder", lambda: str(tmp_path))
    made = Web()
    yield made
    made.server.shutdown()
    made.server.server_close()


def run(web: Web, capsys: pytest.CaptureFixture[str], tmp_path: Path, **options: t.Any) -> dict[str, t.Any]:
    arguments = {
        "webui_url": web.url,
        "webui_token": "sk-x",
        "url": "http://ours/v1",
        "_ansible_remote_tmp": str(tmp_path),
        **options,
    }
    with patch_module_args(arguments), pytest.raises(SystemExit):
        open_webui_connection.main()
    result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_others_wrote_after_the_first_look_stays(
    web: Web, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    web.before_read[2] = lambda: web.replace("http://first/v1", "http://theirs/v1")
    result = run(web, capsys, tmp_path)
    assert result["changed"] is True
    urls = ["http://first/v1", "http://theirs/v1", "http://ours/v1"]
    assert web.config["OPENAI_API_BASE_URLS"] == urls
    assert [one["url"] for one in result["connections"]] == urls
    assert len(result["diff"]["before"]["connections"]) == 2


def test_what_others_wrote_in_our_stead_is_not_written_again(
    web: Web, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    web.before_read[2] = lambda: web.replace("http://first/v1", "http://ours/v1")
    result = run(web, capsys, tmp_path)
    assert (result["changed"], result["declared"][0]["action"], web.writes) == (False, "unchanged", 0)


def test_who_was_overwritten_fails_and_says_so(web: Web, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    web.before_read[3] = lambda: web.replace("http://first/v1", "http://theirs/v1")
    result = run(web, capsys, tmp_path)
    assert result["failed"] is True
    assert "did not keep them: connection 1 is http://theirs/v1 instead of http://ours/v1" in result["msg"]
    assert "let one play at a time do that" in result["msg"]
