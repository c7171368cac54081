# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetch a release from other hosts of the run: from the nearest that lives, at the byte where the one before ended.

What comes is held against the sums of the list that the run agreed on, so that a host can delay a release but not
change it. A host that is dead, stands still, is slow or sent something else is left out from then on.
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from .._arriving import ArrivingFile, WrongContent
from .._files import Entry, HubError
from .._source import PART, FetchError, Resolution, Throttle, is_full_disk, size_of

# Seconds to reach a host, and for each piece of its answer. It answers at least every few seconds.
CONNECT_LIMIT = 5.0
READ_LIMIT = 15.0
PIECE = 256 * 1024
# How often a host that fails is asked again before it counts as dead, and the pause before that.
FAILURES = 3
FAILURE_PAUSE = 0.5
# A host is slow that has more than a file's MARGIN to give and gives less than FLOOR bytes a second for WINDOW seconds.
WINDOW = 10.0
FLOOR = 256 * 1024
MARGIN = 16 * 1024 * 1024
# How often a file may come with wrong contents before the other hosts are not asked for it any more.
WRONG_LIMIT = 3
# Seconds without one byte, and without work on the nearest host, after which nobody is waited for any more. That host
# says that the file will come, and its part of the run may have ended in a way that it cannot know.
LONGEST_WAIT = 3600.0


class _LeftOut(HubError):
    """No host is left that may have the file."""


class _Failed(Exception):
    """A host did not answer as it should."""


@dataclasses.dataclass
class _Peer:
    """A host that serves, as seen by one run."""

    host: str
    port: int
    failures: int = 0
    failed_at: float = 0.0
    # It had nothing to give when it was asked last, and is fetching something itself.
    busy: bool = False
    # Why it is not asked any more.
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


class Peers:
    """The hosts before this one in the chain, the nearest first."""

    name = "peer"
    verifies = True

    def __init__(
        self,
        urls: t.Sequence[str],
        token: str,
        digest: str,
        entries: t.Sequence[Entry],
        workers: int,
        patience: float,
        throttle: Throttle,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._peers = [_Peer(*address_of(url)) for url in urls]
        self._token = token
        self._digest = digest
        self._numbers = {entry.path: number for number, entry in enumerate(sorted(entries, key=lambda e: e.path))}
        self._workers = workers
        self._patience = patience
        self._throttle = throttle
        # With a limit of our own, what several files at a time are slow by is no fault of the host.
        self._floor = min(FLOOR, throttle.rate / (4 * workers)) if throttle.rate else FLOOR
        self._sleep = sleep
        self._lock = threading.Lock()
        # The bytes that came from other hosts.
        self.brought = 0

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files. Raises FetchError when some could not be had; what came of them is kept."""
        before = self.brought
        resumed = {entry: size_of(os.path.join(folder, entry.path) + PART) for entry in entries}
        seen(sum(resumed.values()))

        def count(size: int) -> None:
            with self._lock:
                self.brought += size
            seen(size)
            self._throttle(size)

        def one(entry: Entry) -> Exception | None:
            try:
                self._fetch_one(entry, folder, count)
            except (HubError, OSError) as error:
                # Who goes on with it counts what is there.
                seen(-size_of(os.path.join(folder, entry.path) + PART))
                return error
            return None

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            failed = [error for error in pool.map(one, entries) if error]
        full = next((error for error in failed if is_full_disk(error)), None)
        if full is not None:
            raise full
        if failed:
            raise FetchError(self._reasons(failed), False, max(0, self.brought - before))
        return max(0, self.brought - before)

    def _reasons(self, failed: t.Sequence[Exception]) -> str:
        left_out = [f"{peer.name} ({peer.reason})" for peer in self._peers if peer.reason]
        return f"other hosts of this run did not bring {len(failed)} of its files: " + (
            ", ".join(left_out) or str(failed[0])
        )

    def _fetch_one(self, entry: Entry, folder: str, seen: t.Callable[[int], None]) -> None:
        wrong: set[str] = set()
        for _attempt in range(WRONG_LIMIT):
            with ArrivingFile(folder, entry, seen) as file:
                asked: set[str] = set()
                try:
                    self._bring(entry, file, wrong, asked)
                    file.finish()
                    return
                except WrongContent:
                    file.discard()
                    wrong |= asked
        raise _LeftOut(f"{entry.path} came with wrong contents from {', '.join(sorted(wrong))}")

    def _bring(self, entry: Entry, file: ArrivingFile, wrong: set[str], asked: set[str]) -> None:
        """Bring the rest of a file; ``asked`` is told of the hosts that some of it came from."""
        moved = looked = time.monotonic()
        while file.tell() < entry.size:
            peers = [peer for peer in self._peers if not peer.reason and peer.name not in wrong]
            if not peers or time.monotonic() - moved > LONGEST_WAIT:
                raise _LeftOut(f"nobody is left who has {entry.path}")
            nearest, *others = peers
            if self._came(nearest, entry, file, asked):
                moved = looked = time.monotonic()
                continue
            if nearest.busy:
                moved = time.monotonic()
            if not nearest.reason and time.monotonic() - looked > self._patience:
                # It lives and brings nothing. Perhaps there is nothing, perhaps one further up has more.
                if any(self._came(peer, entry, file, asked, wait=False) for peer in others):
                    nearest.reason = f"stood still for {self._patience:.0f} s"
                    moved = time.monotonic()
                looked = time.monotonic()

    def _came(self, peer: _Peer, entry: Entry, file: ArrivingFile, asked: set[str], wait: bool = True) -> bool:
        """Ask a host; return whether it brought anything."""
        before, began = file.tell(), time.monotonic()
        try:
            self._ask(peer, entry, file, wait)
        except _Failed as error:
            self._note_failure(peer, str(error), began)
        finally:
            if file.tell() > before:
                asked.add(peer.name)
        if file.tell() > before:
            peer.failures = 0
        return file.tell() > before

    def _note_failure(self, peer: _Peer, reason: str, began: float) -> None:
        """Count a failure. What several files met at the same time, on a busy host, is one."""
        with self._lock:
            if began >= peer.failed_at:
                peer.failures, peer.failed_at = peer.failures + 1, time.monotonic()
            if peer.failures >= FAILURES:
                peer.reason = reason
        if not peer.reason:
            self._sleep(FAILURE_PAUSE)

    def _ask(self, peer: _Peer, entry: Entry, file: ArrivingFile, wait: bool) -> None:
        """Take what a host has of a file from the byte on where the file ends."""
        connection = http.client.HTTPConnection(peer.host, peer.port, timeout=CONNECT_LIMIT)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Range": f"bytes={file.tell()}-"}
            if not wait:
                headers["Prefer"] = "wait=0"
            connection.connect()
            connection.sock.settimeout(READ_LIMIT)
            connection.request("GET", f"/{self._digest}/{self._numbers[entry.path]}", headers=headers)
            response = connection.getresponse()
            status, held = response.status, _number(response.headers.get("Held"))
            peer.busy = response.headers.get("Busy") == "1"
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Failed(f"does not answer: {error}") from error
        try:
            if status in (401, 404, 410):
                peer.reason = {410: "does not have the files any more"}.get(status, f"answers {status}")
            elif status == 204:
                self._sleep(0.05)
            elif status == 206:
                self._take(peer, entry, file, response, held)
            else:
                raise _Failed(f"answers {status}")
        finally:
            connection.close()

    def _take(
        self, peer: _Peer, entry: Entry, file: ArrivingFile, response: http.client.HTTPResponse, held: int
    ) -> None:
        window, came = time.monotonic(), 0
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        while file.tell() < entry.size:
            try:
                count = response.readinto(view[: min(PIECE, entry.size - file.tell())])
            except (OSError, http.client.HTTPException) as error:
                raise _Failed(f"ended early: {error}") from error
            if not count:
                return
            file.write(view[:count])
            came += count
            now = time.monotonic()
            if now - window > WINDOW:
                if came < self._floor * (now - window):
                    if held - file.tell() > MARGIN:
                        peer.reason = f"is slow: {came // 1024} KiB in {now - window:.0f} s"
                    return  # if it is not slow, to hear anew how much it has
                window, came = now, 0


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of the URL of a host that serves."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/"):
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise HubError(f"{url!r} is not the address of another host, such as http://192.0.2.10:8790; look at peers")


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text) else 0
