# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the watch must know of a kind of thing that it watches: how it is found, asked and started, and why it falls."""

from __future__ import annotations

import typing as t

from .._engine._api import EngineError

if t.TYPE_CHECKING:
    from .._engine._client import Engine
    from .._vllm.diagnosis._diagnosis import Diagnosis
    from ._memory import Memory
    from ._seen import Seen

Found = t.Mapping[str, t.Any]


class Kind(t.Protocol):
    """One kind of thing. ``Found`` is what its keeper, the Docker Engine or systemd, tells of one."""

    lock: str  # the kind of lock that a run of the collection holds while it changes one

    def find(self, name: str) -> Found | None:
        """Return what its keeper tells of it; None where it is not there, or is not this collection's."""

    def seen(self, found: Found | None, at: float) -> Seen:
        """Return what matters of it."""

    def asked(self, name: str, found: Found, seen: Seen, memory: Memory) -> Seen:
        """Return the look with what it answered."""

    def start_limit(self, found: Found | None, seen: Seen) -> float:
        """Return how many seconds a start may take."""

    def missing(self, found: Found) -> str:
        """Return what a start has to wait for; empty where nothing."""

    def hung(self, name: str, found: Found, cause: str, text: str) -> Diagnosis:
        """Return why one that runs does not work."""

    def ended(self, name: str, found: Found, seen: Seen, began: float, worked: bool) -> Diagnosis:
        """Return why one ended that its keeper has started again."""

    def refused(self, name: str, error: str) -> Diagnosis:
        """Return why its keeper does not start it."""

    def keep(self, name: str, began: float) -> str:
        """Keep the log of a fall that its keeper may lose, and return its file; empty where that is not needed."""

    def stop(self, name: str) -> None:
        """Stop one that does not work."""

    def start(self, name: str) -> None:
        """Start it; EngineError where its keeper refuses."""


class Containers:
    """What kinds have in common that are containers of the Docker Engine."""

    # For one that does not work; one that does is never stopped.
    stop_seconds = 10

    def __init__(self, engine: Engine | None, ours: t.Callable[[Found], bool], trouble: str = "") -> None:
        self._engine, self._ours, self._trouble = engine, ours, trouble

    @property
    def engine(self) -> Engine:
        """Return the engine; EngineError where it does not answer."""
        if self._engine is None:
            raise EngineError(self._trouble)
        return self._engine

    def find(self, name: str) -> Found | None:
        container = self.engine.inspect(name)
        return container if container is not None and self._ours(container) else None

    def stop(self, name: str) -> None:
        self.engine.stop(name, self.stop_seconds)

    def start(self, name: str) -> None:
        self.engine.start(name)
