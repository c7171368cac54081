# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hand Alertmanager's alerts to robots of DingTalk, WeCom and Feishu, which take messages of their own form.

Run by systemd as `python3 alert_bridge.py CONFIG.json`. The configuration names the address to `listen` on, and in
`chats` the `type`, `url` and `secret` of each; Alertmanager posts to the path `/NAME`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import sys
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

LARGEST = 4 * 1024 * 1024
ANSWER = 64 * 1024
SECONDS = 10
# Bytes of a message in UTF-8. WeCom takes 4,096 of markdown.
LONGEST = 4000
MARKS = {"firing": "FIRING", "resolved": "RESOLVED"}


class Refused(Exception):
    """A robot did not take a message; the text says what it answered, without its address."""


def text_of(notification: t.Mapping[str, t.Any]) -> str:
    """Return a notification of Alertmanager's as lines for a person."""
    lines = []
    for alert in notification.get("alerts") or []:
        labels, notes = alert.get("labels") or {}, alert.get("annotations") or {}
        lines.append(f"[{MARKS.get(alert.get('status'), 'ALERT')}] {labels.get('alertname', '')}")
        lines.append(str(notes.get("summary", "")))
        if alert.get("status") != "resolved":
            lines += [f"{key}: {notes[key]}" for key in ("cause", "action") if notes.get(key)]
        lines.append("")
    text = "\n".join(lines).strip() or "an alert without a text"
    content = text.encode("utf-8", "replace")
    return text if len(content) <= LONGEST else content[: LONGEST - 4].decode("utf-8", "ignore") + " …"


def message(chat: t.Mapping[str, str], text: str, now: float) -> tuple[str, dict[str, t.Any]]:
    """Return the URL and the body of a message to a robot, signed where it has a secret."""
    url, secret = chat["url"], chat.get("secret") or ""
    if chat["type"] == "dingtalk":
        # https://open.dingtalk.com/document/robots/customize-robot-security-settings
        if secret:
            stamp = str(round(now * 1000))
            sign = signature(secret.encode(), f"{stamp}\n{secret}".encode())
            url += f"{'&' if '?' in url else '?'}timestamp={stamp}&sign={urllib.parse.quote_plus(sign)}"
        return url, {"msgtype": "text", "text": {"content": text}}
    if chat["type"] == "feishu":
        # https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
        body: dict[str, t.Any] = {"msg_type": "text", "content": {"text": text}}
        if secret:
            stamp = str(int(now))
            body.update(timestamp=stamp, sign=signature(f"{stamp}\n{secret}".encode(), b""))
        return url, body
    # https://developer.work.weixin.qq.com/document/path/91770
    return url, {"msgtype": "markdown", "markdown": {"content": text}}


def signature(key: bytes, content: bytes) -> str:
    """Return the signature that DingTalk and Feishu ask for."""
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def send(chat: t.Mapping[str, str], text: str) -> None:
    """Send a text to a robot; Refused when it does not take it."""
    url, body = message(chat, text, time.time())
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            said = json.loads(answer.read(ANSWER))
    except urllib.error.HTTPError as error:
        raise Refused(f"status {error.code}") from error
    # An odd address has its own error, whose text holds the address, and with it what must stay secret.
    except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
        raise Refused(type(error).__name__) from None
    # A robot that refuses a message says so with status 200.
    code = said.get("errcode", said.get("code", said.get("StatusCode"))) if isinstance(said, dict) else None
    if code != 0:
        raise Refused(f"code {code}: {str(said.get('errmsg') or said.get('msg') or '')[:200]}" if code else "no code")


def handler(chats: t.Mapping[str, t.Mapping[str, str]]) -> type[http.server.BaseHTTPRequestHandler]:
    """Return what answers Alertmanager."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = SECONDS

        def do_POST(self) -> None:
            chat = chats.get(self.path.strip("/"))
            size = self.headers.get("Content-Length", "")
            if chat is None or not size.isdecimal() or int(size) > LARGEST:
                self.answer(404 if chat is None else 413)
                return
            try:
                notification = json.loads(self.rfile.read(int(size)))
                send(chat, text_of(notification))
            except (ValueError, AttributeError, TypeError, RecursionError):
                self.answer(400)
            except Refused as refused:
                print(f"{self.path.strip('/')} did not take a message: {refused}", file=sys.stderr, flush=True)
                # Alertmanager tries again.
                self.answer(502)
            else:
                self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *unused: object) -> None:
            """Say nothing of what works."""

    return Handler


def main() -> None:
    """Serve until systemd ends it."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    host, port = config["listen"]
    http.server.ThreadingHTTPServer((host, port), handler(config["chats"])).serve_forever()


if __name__ == "__main__":
    main()
