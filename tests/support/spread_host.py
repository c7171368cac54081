# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host of a fleet as one process: it serves a release to others and fetches it from them, as the modules do.

What it is to do comes as one JSON object on standard input. It answers with lines of JSON and lives until its input
ends. A folder stands for the hub; what was taken from there is counted.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import apply_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._arriving import ArrivingFile
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._candidates import Candidate, Fetcher
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import (
    EVERYTHING,
    Entry,
    HubError,
    Selection,
    digest_of,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Origin
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import Target, make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Resolution, Throttle
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread import _source as peers_module
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._run import RunFolder
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._server import PeerServer, Shelf, listen
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._source import Peers
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

PIECE = 256 * 1024


class Uplink:
    """What a host may send a second. After a pause it may catch up on a tenth of a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def __call__(self, count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.1) + count / self._rate
            pause = self._free_at - now
        if pause > 0:
            time.sleep(pause)


class Line:
    """The hub: a folder behind a line of some bytes a second."""

    name = "line"
    verifies = True

    def __init__(self, folder: str, rate: int) -> None:
        self.folder = folder
        self.throttle = Throttle(rate)
        self.brought = 0

    def pin(self, revision: str | None) -> Resolution | None:
        return Resolution("main", "c" * 40)

    def resolve(self, revision: str | None) -> Resolution:
        return Resolution("main", "c" * 40)

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        raise HubError("the list comes from the controller")

    def prepare(self) -> None:
        """Needs nothing."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        before = self.brought
        for entry in entries:
            with ArrivingFile(folder, entry, seen) as file, open(os.path.join(self.folder, entry.path), "rb") as hub:
                hub.seek(file.tell())
                while True:
                    piece = hub.read(PIECE)
                    if not piece:
                        break
                    self.throttle(len(piece))
                    file.write(piece)
                    self.brought += len(piece)
                file.finish()
        return self.brought - before


def say(**what: t.Any) -> None:
    """Answer."""
    print(json.dumps(what), flush=True)


def main() -> None:
    """Serve, fetch, and wait for the end."""
    given = json.loads(sys.stdin.readline())
    for name, value in given.get("limits", {}).items():
        setattr(peers_module, name, value)
    if given.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_size"], given["file_size"]))
    models = [
        (repo, tuple(Entry(item["path"], item["size"], item["sha256"]) for item in files), folder)
        for repo, files, folder in given["models"]
    ]
    folder = RunFolder(given["token"], os.path.join(given["root"], "run", "private_llm", "spread"))
    folder.make()
    store_root = os.path.join(given["root"], "models")
    shelves = [Shelf(ModelStore(store_root, repo), digest_of(entries), entries) for repo, entries, _hub in models]
    listener = listen("127.0.0.1", given["port"])
    pace = Uplink(given["rate"]) if given.get("rate") else None
    server = PeerServer(listener, given["token"], shelves, folder, (), pace)
    lock = folder.take_server("test")
    if given.get("serve", True):
        threading.Thread(target=server.run, args=(lock,), daemon=True).start()
    say(event="ready")
    sys.stdin.readline()  # the others are ready, too

    def have(repo: str, entries: tuple[Entry, ...], hub: str) -> None:
        store = ModelStore(store_root, repo)
        digest = digest_of(entries)
        line = Line(hub, given.get("line", 0))
        origin = Origin("line", "", repo, "main", "c" * 40, (), ())
        target = Target(Resolution("main", "c" * 40), origin, digest, entries)
        peers = None
        if given["peers"]:
            peers = Peers(given["peers"], given["token"], digest, entries, 4, given.get("patience", 5), Throttle(0))
        fetcher = Fetcher(Candidate(line, "", repo, None), [], EVERYTHING, peers)
        began, failure = time.monotonic(), ""
        try:
            with folder.fetching(digest), store.locked(10, lambda: None):
                plan = make_plan(store, target, False, 0, set, lambda count: None)
                apply_plan(store, fetcher, target, plan, lambda *state: None)
        except (HubError, OSError) as error:
            failure = str(error)
        say(
            event="done",
            repo=repo,
            failure=failure,
            seconds=round(time.monotonic() - began, 2),
            line=line.brought,
            peers=peers.brought if peers else 0,
            left_out=[f"{peer.port} {peer.reason}" for peer in peers._peers if peer.reason] if peers else [],
            cpu=time.process_time(),
        )

    if given.get("fetch", True):
        threads = [threading.Thread(target=have, args=model) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.stdin.read()


if __name__ == "__main__":
    main()
