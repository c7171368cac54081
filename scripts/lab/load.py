#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streaming chats from several clients that keep their connections and try nothing twice.

    load.py http://192.0.2.30:8000 --key-file KEY --model tiny --clients 8 --until FILE
    load.py https://192.0.2.30 --ca-file CA --pause 0.2 …

It ends when FILE is there, or after --seconds, and prints one line of JSON: requests, failed (an error, or a status
other than 200), cut (a stream without its end), longest_wait_s (until the first token), first_ms (median), problems.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import ssl
import statistics
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

ANSWER_SECONDS = 600  # a request may be held while its only server is being changed
SHOWN = 5


class Load:
    """What clients saw."""

    def __init__(
        self,
        url: str,
        key: str,
        model: str,
        tokens: int,
        ca_file: Path | None = None,
        pause: float = 0,
        whole: bool = False,
    ) -> None:
        """Prepare clients; with ``whole`` each answer has as many tokens as were asked for."""
        self.host, self.port = urlsplit(url).hostname or "", urlsplit(url).port
        self.tls = ssl.create_default_context(cafile=ca_file) if urlsplit(url).scheme == "https" else None
        self.key, self.model, self.tokens, self.pause, self.whole = key, model, tokens, pause, whole
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.requests = self.failed = self.cut = 0
        self.first: list[float] = []
        self.problems: collections.Counter[str] = collections.Counter()

    def client(self, number: int) -> None:
        """Ask again and again on one connection."""
        connection = self.connect()
        asked = 0
        while not self.stop.is_set():
            asked += 1
            began = time.monotonic()
            problem, cut, first = "", False, 0.0
            try:
                problem, cut, first = self.ask(connection, f"client {number}, question {asked}", began)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            if problem or cut:
                connection.close()
                connection = self.connect()
            with self.lock:
                self.requests += 1
                self.failed += bool(problem)
                self.cut += cut
                self.first.append(first or time.monotonic() - began)
                if problem or cut:
                    self.problems[problem or "the stream ended early"] += 1
            self.stop.wait(self.pause)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is made with the first request."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_SECONDS)
        return http.client.HTTPSConnection(self.host, self.port, timeout=ANSWER_SECONDS, context=self.tls)

    def ask(self, connection: http.client.HTTPConnection, prompt: str, began: float) -> tuple[str, bool, float]:
        """Return what was wrong with an answer, whether its stream was cut, and when its first token came."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.tokens,
            "stream": True,
            "ignore_eos": self.whole,
        }
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return f"{answer.status}: {answer.read()[:200].decode(errors='replace')}", False, 0.0
        first, last = 0.0, b""
        for line in answer:
            if line.strip():
                first = first or time.monotonic() - began
                last = line.strip()
        return "", last != b"data: [DONE]", first

    def result(self) -> dict[str, object]:
        """Return what was counted."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "cut": self.cut,
            "longest_wait_s": round(max(self.first, default=0.0), 2),
            "first_ms": round(1000 * statistics.median(self.first), 2) if self.first else None,
            "problems": dict(self.problems.most_common(SHOWN)),
        }


def run(load: Load, clients: int, until: Path | None, seconds: float) -> dict[str, object]:
    """Have the clients ask until a file is there or the time is over."""
    threads = [threading.Thread(target=load.client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until is not None and until.exists()):
        time.sleep(0.1)
    load.stop.set()
    for thread in threads:
        thread.join(ANSWER_SECONDS)
    return load.result()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--pause", type=float, default=0, help="seconds between two requests of a client")
    parser.add_argument("--ca-file", type=Path, help="the CA of a gateway that serves TLS")
    parser.add_argument("--until", type=Path)
    options = parser.parse_args()
    load = Load(
        options.url,
        options.key_file.read_text().split()[0],
        options.model,
        options.tokens,
        options.ca_file,
        options.pause,
    )
    print(json.dumps(run(load, options.clients, options.until, options.seconds)))


if __name__ == "__main__":
    main()
