# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""How a long-running module tells its action plugin what it is doing: one small JSON file per piece of work.

Progress is a courtesy. Whatever goes wrong with the file, the work itself goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time

DIRECTORY = "/run/private_llm/progress"
MIN_INTERVAL = 1.0  # seconds between two writes


def progress_path(kind: str, identity: str) -> str:
    """The file in which the module ``kind`` reports on the piece of work called ``identity``."""
    digest = hashlib.sha256(identity.encode("utf-8")).hexdigest()[:16]
    return os.path.join(DIRECTORY, f"{kind}-{digest}.json")


class Progress:
    """Writes what is being done, at most once a second; also a context manager that removes the file at the end."""

    def __init__(self, kind: str, identity: str) -> None:
        self._path = progress_path(kind, identity)
        self._last_write = 0.0
        self._last_text = ""
        self._started = time.time()

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
