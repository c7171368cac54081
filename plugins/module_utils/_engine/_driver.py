# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verbs that this collection asks of a container engine, so that another engine, or a test, can stand in."""

from __future__ import annotations

import typing as t

from ._logs import LogLine

Container = t.Mapping[str, t.Any]


class Ran(t.NamedTuple):
    """How a command in a container ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


class Driver(t.Protocol):
    """A container engine. Every verb raises EngineError with one sentence when the engine refuses.

    Names may be names or ids. What is there already, or gone already, is not an error for start, stop and remove.
    """

    def ping(self) -> dict[str, t.Any]:
        """Return what /version says; EngineAbsent when nobody answers."""

    def info(self) -> dict[str, t.Any]:
        """Return what the engine says of itself and its host."""

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """Return a container; None when there is none of this name."""

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        """Return an image; None when it is not on this host."""

    def inspect_network(self, name: str) -> dict[str, t.Any] | None:
        """Return a network; None when there is none of this name."""

    def containers(self, stopped: bool = False, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        """Return the running containers, or all; with ``labels`` (name or name=value) only those that carry them."""

    def image_ids(self) -> list[str]:
        """Return the ids of all images on this host."""

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        """Create a container and return its id; ImageMissing when its image is not on this host."""

    def start(self, name: str) -> None:
        """Start a container."""

    def stop(self, name: str, seconds: int) -> None:
        """Stop a container; it is killed when it has not ended after ``seconds``."""

    def pause(self, name: str) -> None:
        """Freeze a container's processes."""

    def unpause(self, name: str) -> None:
        """Let a frozen container go on."""

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name."""

    def remove(self, name: str) -> None:
        """Remove a container with its anonymous volumes, running or not. Waits for a removal that goes on already."""

    def wait(self, name: str, seconds: float) -> int:
        """Wait until a container has ended and return its exit code; EngineTimeout when it has not by then."""

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        """Change when the engine starts a container again."""

    def log(
        self, name: str, since: float = 0.0, until: t.Callable[[str], bool] | None = None, limit: int = 50000
    ) -> list[LogLine]:
        """Return both streams since ``since``, oldest first: the newest ``limit`` lines, or up to the first line that
        ``until`` accepts. Empty when there is no such container, or its log cannot be read."""

    def run_once(
        self,
        image: str,
        command: t.Sequence[str],
        seconds: float,
        env: t.Mapping[str, str] | None = None,
        host: t.Mapping[str, t.Any] | None = None,
        user: str = "",
    ) -> Ran:
        """Run a command in a container of its own without a network, and remove that container, whatever happens.

        ``host`` is laid over the HostConfig (Binds, NetworkMode and so on). EngineTimeout after ``seconds``.
        """

    def sweep(self) -> None:
        """Remove what `run_once` of killed runs left behind; not being able to is no reason to stop."""

    def execute(self, name: str, command: t.Sequence[str], seconds: float, user: str = "") -> Ran:
        """Run a command in a container that runs. EngineTimeout after ``seconds``; the command may go on then."""
