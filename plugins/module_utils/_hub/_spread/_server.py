# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Serve releases to other hosts while a play runs, also what has only come in part.

GET /<digest>/<number of the file>  with ``Authorization: Bearer <token>`` and ``Range: bytes=<start>-``,
and ``Prefer: wait=0`` of whoever only wants to know

206  what is there from that byte on; the answer goes on while the file grows, and ends when it has not for a while
204  nothing from that byte on now, but the file is to come: ask again; with ``Busy`` while this host fetches anything
410  the file is not to come: whoever fetched it has ended, or another file than was begun lies there now
404  this run does not serve such a file; 401 the token is another one; 503 too many connections

A request names a file by its number in the list that the run agreed on. No path comes from the network.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import os
import re
import socket
import threading
import time
import typing as t

from .._files import Entry
from .._source import PART
from .._store import ModelStore, open_below
from ._run import ENDED, PENDING, RunFolder

# Connections at a time; a successor opens one for each file that it fetches.
CONNECTIONS = 64
# Seconds for the head of a request, and for each piece of an answer.
HEAD_LIMIT = 10.0
SEND_LIMIT = 30.0
HEAD_BYTES = 4096
# Seconds without growth after which an answer ends, so that whoever waits hears from us.
LINGER = 3.0
# Seconds between two looks whether a file has grown.
POLL = 0.02
PIECE = 256 * 1024
# Seconds without a request and without work on this host after which the run counts as over.
IDLE_LIMIT = 300.0
# Seconds between two signs of life to the other hosts of a run, while this host works.
PING_INTERVAL = 30.0
PING_LIMIT = 3.0

_GET = re.compile(rb"GET /(?:(alive)|([0-9a-f]{64})/([0-9]{1,7})) HTTP/1\.[01]")
_RANGE = re.compile(rb"bytes=([0-9]{1,18})-")


class Gone(Exception):
    """The file is not to come."""


class Shelf(t.NamedTuple):
    """A release that is served: where it is or will be, and its files in the order of their paths."""

    store: ModelStore
    digest: str
    entries: tuple[Entry, ...]

    def is_published(self) -> bool:
        """Return whether the release is complete, as far as its host knows."""
        return os.path.isdir(self.store.release_path(self.digest))

    def has(self, entry: Entry) -> bool:
        """Return whether a file is there as a whole."""
        stream = self.open(entry)
        if stream is None:
            return False
        with stream:
            return os.fstat(stream.fileno()).st_size == entry.size

    def open(self, entry: Entry) -> t.BinaryIO | None:
        """Open what there is of a file: of the release, or of what is being put together."""
        store = self.store
        for path in (
            os.path.join(store.release_path(self.digest), entry.path),
            os.path.join(store.staging_path(self.digest), entry.path),
            os.path.join(store.staging_path(self.digest), entry.path + PART),
        ):
            with contextlib.suppress(OSError):
                return open(open_below(store.root, os.path.relpath(path, store.root)), "rb", buffering=0)
        return None


class PeerServer:
    """Serves the shelves of a run until the run is over."""

    def __init__(
        self,
        listener: socket.socket,
        token: str,
        shelves: t.Iterable[Shelf],
        folder: RunFolder,
        members: t.Sequence[tuple[str, int]] = (),
        pace: t.Callable[[int], None] | None = None,
    ) -> None:
        self._listener = listener
        self._token = b"Bearer " + token.encode("utf-8")
        self._shelves = {shelf.digest: shelf for shelf in shelves}
        self._folder = folder
        self._members = members
        self._pace = pace
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._over = threading.Event()
        self._seen = time.monotonic()
        # When a file was asked for; a sign of life of another host is none to hand on, or the run would never end.
        self._asked = 0.0

    def run(self, lock: int) -> None:
        """Serve until the file of the server is gone, or nobody has shown a sign of life for long."""
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            self._wait(lock)
        finally:
            # Closing a socket wakes nobody who waits in it, who would then take the connections of whatever gets its
            # number next.
            self._over.set()
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            accepting.join()

    def _wait(self, lock: int) -> None:
        pinged = 0.0
        while self._folder.is_wanted(lock):
            now = time.monotonic()
            if now - pinged >= PING_INTERVAL:
                pinged = now
                if self._folder.is_busy() or now - self._asked < PING_INTERVAL:
                    self._seen = now
                    threading.Thread(target=self._ping, daemon=True).start()
            if now - self._seen > IDLE_LIMIT:
                self._folder.remove()
                return
            time.sleep(0.1)

    def _ping(self) -> None:
        """Tell the other hosts that the run goes on."""
        for host, port in self._members:
            connection = http.client.HTTPConnection(host, port, timeout=PING_LIMIT)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/alive", headers={"Authorization": self._token.decode("utf-8")})
            connection.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _address = self._listener.accept()
            except OSError:
                self._over.wait(POLL)  # such as too many open files; the run itself goes on
                continue
            free = self._slots.acquire(blocking=False)
            threading.Thread(target=self._serve, args=(connection, free), daemon=True).start()
            if not free:
                time.sleep(POLL)

    def _serve(self, connection: socket.socket, free: bool) -> None:
        try:
            # Whoever does not take what he asked for ends with the connection.
            with contextlib.suppress(OSError), connection:
                connection.settimeout(SEND_LIMIT)
                if not free:
                    _say(connection, 503)
                    return
                self._answer(connection, read_head(connection))
        finally:
            if free:
                self._slots.release()

    def _answer(self, connection: socket.socket, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _colon, value in (x.partition(b":") for x in lines)}
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            _say(connection, 401)
            return
        self._seen = time.monotonic()
        asked = _GET.fullmatch(first)
        if asked is None:
            _say(connection, 404)
            return
        if asked.group(1):
            _say(connection, 204)
            return
        shelf, number = self._shelves.get(asked.group(2).decode("ascii")), int(asked.group(3))
        if shelf is None or number >= len(shelf.entries):
            _say(connection, 404)
            return
        self._asked = time.monotonic()
        start = _RANGE.fullmatch(headers.get(b"range", b"bytes=0-"))
        position = int(start.group(1)) if start else 0
        linger = 0.0 if headers.get(b"prefer") == b"wait=0" else LINGER
        self._send(connection, shelf, shelf.entries[number], position, linger)

    def _send(self, connection: socket.socket, shelf: Shelf, entry: Entry, position: int, linger: float) -> None:
        """Send a file from a position on, as long as it grows."""
        stream: t.BinaryIO | None = None
        begun, grew = False, time.monotonic()
        try:
            while position < entry.size:
                stream = stream or shelf.open(entry)
                held = _held(stream, entry)
                if stream is not None and held > position:
                    if not begun:
                        _say(connection, 206, held)
                    begun, count = True, min(PIECE, held - position)
                    if self._pace is not None:
                        self._pace(count)
                    if connection.sendfile(stream, position, count) != count:
                        raise Gone
                    position += count
                    grew = self._seen = time.monotonic()
                    continue
                state = self._folder.state(shelf.digest)
                # A release that was published is not fetched again, but perhaps repaired.
                ended = state == ENDED or (state == PENDING and shelf.is_published())
                if time.monotonic() - grew > (LINGER if begun else linger) or (begun and ended):
                    break
                if ended and not shelf.has(entry):
                    raise Gone
                time.sleep(POLL)
            if not begun:
                _say(connection, 204, busy=self._folder.is_busy())
        except Gone:
            if not begun:
                _say(connection, 410)
        finally:
            if stream is not None:
                stream.close()


def read_head(connection: socket.socket) -> bytes:
    """Return the head of a request; OSError when it is too long, or too long in coming."""
    deadline = time.monotonic() + HEAD_LIMIT
    head = b""
    while b"\r\n\r\n" not in head:
        left = deadline - time.monotonic()
        if left <= 0 or len(head) > HEAD_BYTES:
            raise OSError("the request has no end")
        connection.settimeout(left)
        piece = connection.recv(HEAD_BYTES)
        if not piece:
            raise OSError("the request ended early")
        head += piece
    connection.settimeout(SEND_LIMIT)
    return head.partition(b"\r\n\r\n")[0]


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that takes connections on an address of this host."""
    family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family[0], socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(family[4])
        listener.listen(CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def _held(stream: t.BinaryIO | None, entry: Entry) -> int:
    """Return how many bytes of a file are there; Gone when it was thrown away."""
    if stream is None:
        return 0
    found = os.fstat(stream.fileno())
    if found.st_nlink == 0:
        raise Gone
    return min(found.st_size, entry.size)


def _say(connection: socket.socket, status: int, held: int | None = None, busy: bool = False) -> None:
    reason = http.client.responses[status]
    extra = f"Held: {held}\r\n" if held is not None else "Busy: 1\r\n" if busy else ""
    length = "" if status in (204, 206) else "Content-Length: 0\r\n"
    connection.sendall(f"HTTP/1.1 {status} {reason}\r\n{length}{extra}Connection: close\r\n\r\n".encode("ascii"))
