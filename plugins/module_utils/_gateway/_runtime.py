# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""A running HAProxy, asked and told over its runtime socket."""

from __future__ import annotations

import contextlib
import csv
import io
import socket
import time
import typing as t

ANSWER_LIMIT = 64 * 1024 * 1024
READY, DRAIN, MAINT = "ready", "drain", "maint"

# What the statistics call a server, for each state that an administrator gives it.
_STATES = {DRAIN: "DRAIN", MAINT: "MAINT"}


class RuntimeSocketError(ValueError):
    """The proxy did not do what it was told; the text says what it answered."""


class NotRunning(RuntimeSocketError):
    """Nobody listens on the runtime socket."""


class ServerState(t.NamedTuple):
    """A server as the proxy sees it."""

    backend: str
    server: str
    status: str
    requests: int

    def is_in(self, state: str) -> bool:
        """Return whether the server is in the state that an administrator gave it."""
        if state == READY:
            return not self.status.startswith(tuple(_STATES.values()))
        return self.status == _STATES[state]


class Runtime:
    """The runtime socket of one proxy."""

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def ask(self, command: str) -> str:
        """Return the answer to one command."""
        end = time.monotonic() + self._timeout
        pieces: list[bytes] = []
        size = 0
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(self._timeout)
            try:
                connection.connect(self._path)
            except (FileNotFoundError, ConnectionRefusedError) as error:
                raise NotRunning(f"no gateway listens on {self._path}") from error
            except OSError as error:
                raise RuntimeSocketError(f"{self._path} cannot be reached: {error.strerror or error}") from error
            try:
                connection.sendall(command.encode("utf-8") + b"\n")
                while True:
                    connection.settimeout(max(0.01, end - time.monotonic()))
                    piece = connection.recv(65536)
                    if not piece:
                        return b"".join(pieces).decode("utf-8", "replace").strip()
                    size += len(piece)
                    if size > ANSWER_LIMIT:
                        raise RuntimeSocketError(f"the answer on {self._path} is larger than {ANSWER_LIMIT >> 20} MiB")
                    pieces.append(piece)
            except OSError as error:
                raise RuntimeSocketError(f"no answer on {self._path}: {error.strerror or error}") from error

    def release(self) -> str:
        """Return the release of the configuration that the proxy runs with; it is the proxy's description."""
        for line in self.ask("show info").splitlines():
            key, _colon, value = line.partition(":")
            if key == "description":
                return value.strip()
        return ""

    def servers(self) -> list[ServerState]:
        """Return every server that the proxy balances, without those inside of a hop."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").lstrip("# ")))
        try:
            return [
                ServerState(row["pxname"], row["svname"], row["status"].strip(), int(row["scur"] or 0))
                for row in rows
                if row["svname"] not in ("FRONTEND", "BACKEND") and ":to:" not in row["pxname"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise RuntimeSocketError(f"{self._path} answered with no statistics") from error

    def put(self, server: ServerState, state: str) -> None:
        """Bring a server into a state; RuntimeSocketError where the proxy refuses."""
        answer = self.ask(f"set server {server.backend}/{server.server} state {state}")
        if answer:
            raise RuntimeSocketError(f"the gateway refused to {state} {server.server}: {answer[:200]}")
