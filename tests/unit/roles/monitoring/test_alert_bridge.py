# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bridge, run as its unit runs it, between a sender and robots that answer as the real ones are documented to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.tests.support import ports

PROGRAM = Path(__file__).resolve().parents[4] / "roles" / "monitoring" / "files" / "alert_bridge.py"
SECRET = "canary-robot-secret-41c"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "EngineStalled", "host": "gpu-01"},
    "annotations": {"summary": "gpu-01:a hangs.", "cause": "A lost worker.", "action": "Restart it."},
}
ENDED = {**ALERT, "status": "resolved"}


class Robot(http.server.BaseHTTPRequestHandler):
    """Takes what is posted, and refuses in the way that the path says."""

    got: t.ClassVar[list[tuple[str, dict[str, t.Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.append((self.path, body))
        answers = {
            "/feishu": {"code": 0, "msg": "success"},
            "/refuses": {"errcode": 310000, "errmsg": "sign not match"},
        }
        said = json.dumps(answers.get(urllib.parse.urlsplit(self.path).path, {"errcode": 0, "errmsg": "ok"})).encode()
        self.send_response(500 if self.path == "/down" else 200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *unused: object) -> None:
        """Say nothing."""


@pytest.fixture
def bridge(tmp_path: Path) -> t.Iterator[int]:
    Robot.got.clear()
    robots = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Robot)
    threading.Thread(target=robots.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{robots.server_address[1]}"
    port = ports.free_port()
    chats = {
        "ding": {"type": "dingtalk", "url": f"{base}/robot/send?access_token=t", "secret": SECRET},
        "plain": {"type": "dingtalk", "url": f"{base}/robot/send?access_token=t", "secret": ""},
        "fei": {"type": "feishu", "url": f"{base}/feishu", "secret": SECRET},
        "we": {"type": "wecom", "url": f"{base}/wecom?key=k", "secret": ""},
        "no": {"type": "wecom", "url": f"{base}/refuses", "secret": ""},
        "odd": {"type": "wecom", "url": f"http://user:{SECRET}@127.0.0.1/", "secret": ""},
        "blank": {"type": "wecom", "url": f"{base}/wecom ?key={SECRET}", "secret": ""},
        "half": {"type": "wecom", "url": f"http://[::1/{SECRET}", "secret": ""},
        "down": {"type": "wecom", "url": f"{base}/down", "secret": ""},
    }
    (tmp_path / "bridge.json").write_text(json.dumps({"listen": ["127.0.0.1", port], "chats": chats}))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(tmp_path / "bridge.json")], stderr=log)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(timeout=20)
    robots.shutdown()
    robots.server_close()
    assert SECRET not in (tmp_path / "log").read_text()


def post(port: int, name: str, notification: t.Any) -> int:
    body = notification if isinstance(notification, bytes) else json.dumps(notification).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def signed(key: str, content: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), content.encode(), hashlib.sha256).digest()).decode()


def test_each_robot_gets_a_message_of_its_own_form_signed_where_it_has_a_secret(bridge: int) -> None:
    notification = {"alerts": [ALERT, ENDED]}
    assert [post(bridge, name, notification) for name in ("ding", "plain", "fei", "we")] == [200] * 4
    (ding_path, ding), (plain_path, plain), (_path, fei), (we_path, we) = Robot.got
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(ding_path).query)
    assert query["access_token"] == ["t"]
    assert query["sign"] == [signed(SECRET, f"{query['timestamp'][0]}\n{SECRET}")]
    assert abs(int(query["timestamp"][0]) / 1000 - time.time()) < 600
    text = ding["text"]["content"]
    assert (ding["msgtype"], plain["text"]["content"], plain_path) == ("text", text, "/robot/send?access_token=t")
    assert "[FIRING] EngineStalled\ngpu-01:a hangs.\ncause: A lost worker.\naction: Restart it." in text
    assert text.endswith("[RESOLVED] EngineStalled\ngpu-01:a hangs.")
    assert (fei["msg_type"], fei["content"]["text"]) == ("text", text)
    assert (
        fei["sign"]
        == base64.b64encode(hmac.new(f"{fei['timestamp']}\n{SECRET}".encode(), b"", hashlib.sha256).digest()).decode()
    )
    assert (we_path, we) == ("/wecom?key=k", {"msgtype": "markdown", "markdown": {"content": text}})


def test_a_message_that_is_not_taken_is_tried_again_by_alertmanager(bridge: int, tmp_path: Path) -> None:
    assert [post(bridge, name, {"alerts": [ALERT]}) for name in ("no", "down")] == [502, 502]
    said = (tmp_path / "log").read_text()
    assert "no did not take a message: code 310000: sign not match" in said
    assert "down did not take a message: status 500" in said


def test_an_address_that_cannot_be_asked_is_not_told(bridge: int, tmp_path: Path) -> None:
    assert [post(bridge, name, {"alerts": [ALERT]}) for name in ("odd", "blank", "half")] == [502] * 3
    said = (tmp_path / "log").read_text()
    assert "odd did not take a message: InvalidURL" in said
    assert "Traceback" not in said


def test_what_is_no_notification_is_refused(bridge: int) -> None:
    assert post(bridge, "nobody", {"alerts": []}) == 404
    assert post(bridge, "we", b"{") == 400
    assert post(bridge, "we", [1]) == 400


@pytest.mark.parametrize("sign", ["停", "🔥", "a"])
def test_a_long_message_fits_what_robots_take(bridge: int, sign: str) -> None:
    long = {**ALERT, "annotations": {"summary": sign * 5000}}
    assert post(bridge, "we", {"alerts": [long] * 20}) == 200
    assert len(Robot.got[-1][1]["markdown"]["content"].encode()) <= 4096
