# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are up in their container: are they reached at the host's port, and who answers there instead."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _reach
from ansible_collections.private_llm.fleet.tests.support import ports


class Handler(http.server.BaseHTTPRequestHandler):
    server_version = "uvicorn"
    sys_version = ""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_an_address_is_asked(port: int) -> None:
    assert _reach.ask("127.0.0.1", port, "/health") == _reach.Look(200, "HTTP 200 from uvicorn", "uvicorn")
    assert _reach.ask("127.0.0.1", port, "/other").status == 404
    assert _reach.ask("127.0.0.1", port, "/health", tls=True) == _reach.Look(0, "something that does not speak TLS")


def test_an_address_that_does_not_answer_says_how() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert _reach.ask("127.0.0.1", port, "/", timeout=0.2) == _reach.Look(0, "no answer within 0.2 seconds")
    assert _reach.ask("127.0.0.1", port, "/") == _reach.Look(0, "connection refused")


def inside(place: _reach.Place) -> _reach.Look:
    command = _reach.inside_command(place)
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True)
    return _reach.parse_inside(done.stdout)


def test_a_question_in_the_container_is_answered_alike(port: int) -> None:
    assert inside(_reach.Place("192.0.2.1", 80, port)) == _reach.Look(200, "HTTP 200 from uvicorn", "uvicorn")
    assert inside(_reach.Place("192.0.2.1", 80, port, path="/other")).status == 404
    assert "refused" in inside(_reach.Place("192.0.2.1", 80, ports.free_port())).says
    assert _reach.parse_inside("") == _reach.Look(0, "no answer")


PLACE = _reach.Place("127.0.0.1", 3000, 8080)
UP = _reach.Look(200, "HTTP 200 from uvicorn", "uvicorn")


def test_what_is_reached_or_not_up_is_no_fault() -> None:
    nothing = _reach.Look(0, "connection refused")
    assert _reach.judge(PLACE, UP, UP, "inside", "Open WebUI", "web") is None
    assert _reach.judge(PLACE, nothing, nothing, "inside", "Open WebUI", "web") is None
    # It is just getting ready, and answered the second question in another way.
    assert _reach.judge(PLACE, UP._replace(status=503), UP, "inside", "Open WebUI", "web") is None


def test_what_is_up_and_not_reached_is_told_with_what_to_do() -> None:
    verdict = _reach.judge(
        PLACE, _reach.Look(0, "connection refused"), UP, "port 8080 in its container", "Open WebUI", "web"
    )
    assert verdict is not None
    assert verdict.cause.startswith("Open WebUI answers in its container and not at the host's port 3000")
    assert verdict.evidence == ("port 8080 in its container: HTTP 200 from uvicorn; 127.0.0.1:3000: connection refused")
    assert "systemctl restart docker" in verdict.fix


def test_who_holds_the_port_is_named() -> None:
    verdict = _reach.judge(PLACE, UP, UP, "inside", "Open WebUI", "web", holder="process nginx (pid 7)")
    assert verdict is not None
    assert verdict.cause.endswith("somebody else does: process nginx (pid 7)")
    assert verdict.fix.startswith("change port")


def test_a_command_that_cannot_run_leaves_the_containers_address() -> None:
    def execute(command: object) -> str:
        raise ValueError("no python3")

    container = {"NetworkSettings": {"Networks": {"a": {"IPAddress": "172.30.0.2"}, "b": None, "c": {"IPAddress": ""}}}}
    outside, seen, where = _reach.look(PLACE, container, execute, lambda address, *rest: UP)
    assert (outside, seen, where) == (UP, UP, "172.30.0.2:8080")
    _outside, seen, _where = _reach.look(PLACE, {}, execute, lambda address, *rest: UP)
    assert seen == _reach.Look(0, "no python3")
