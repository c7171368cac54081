# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a long-running module tells its action plugin what it is doing: one small JSON file per piece of work.

Progress is a courtesy. Whatever goes wrong with the file, the work itself goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time

from . import _paths

DIRECTORY = _paths.PROGRESS
MIN_INTERVAL = 1.0  # seconds between two writes
LEFT_BEHIND = 24 * 3600.0  # seconds after which a file that nobody writes any more is removed

# Two runs on one host may be at work on the same thing, one of them waiting for the other. Each reports for itself.
RUN_VARIABLE = "PRIVATE_LLM_RUN"


def progress_path(kind: str, identity: str, run: str | None = None) -> str:
    """Return the file in which the module ``kind`` reports on the piece of work called ``identity`` in this run."""
    run = os.environ.get(RUN_VARIABLE, "") if run is None else run
    digest = hashlib.sha256(
        f"{identity}\0{run}".encode("utf-8", "replace") if run else identity.encode("utf-8", "replace")
    )
    return os.path.join(DIRECTORY, f"{kind}-{digest.hexdigest()[:16]}.json")


def sweep(directory: str | None = None) -> None:
    """Remove what runs that were killed left behind."""
    directory = directory or DIRECTORY
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                if time.time() - os.lstat(path).st_mtime > LEFT_BEHIND:
                    os.unlink(path)


class Progress:
    """Writes what is being done, at most once a second; also a context manager that removes the file at the end."""

    def __init__(self, kind: str, identity: str) -> None:
        self._path = progress_path(kind, identity)
        self._last_write = 0.0
        self._last_text = ""
        self._started = time.time()
        sweep()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def update(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Say what is going on; ``done`` of ``total`` are bytes and let the reader compute a rate and the time left."""
        now = time.monotonic()
        if text == self._last_text and now - self._last_write < MIN_INTERVAL:
            return
        self._last_write, self._last_text = now, text
        state = {"text": text, "done": done, "total": total, "at": time.time(), "started": self._started}
        temporary = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump(state, stream)
            os.replace(temporary, self._path)
        except OSError:
            pass

    def close(self) -> None:
        """Remove the file: the work has ended, well or not."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
