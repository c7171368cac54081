# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for Open WebUI: from a started container to its word that it is ready, or to the reason why it will not be."""

from __future__ import annotations

import time
import typing as t
import urllib.parse

from .. import _reach
from .._engine._driver import Container, Driver
from .._engine._life import NotProven
from .._engine._logs import epoch
from . import _client, _definition

PAUSE = 1.0
LOG_LINES = 30
# A server may end once, when something that it needs comes up at the same time.
RESTARTS = 2


class Waiter:
    """Asks one Open WebUI whether it is ready; `host` is what the messages call its host."""

    def __init__(
        self,
        driver: Driver,
        name: str,
        url: str,
        host: str,
        patience: float,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver, self._name, self._url, self._host = driver, name, url, host
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self._client = _client.Client(url, timeout=10, retry_pauses=())

    def wait(self, container: Container) -> dict[str, t.Any]:
        """Return after how many seconds it was ready; NotProven as soon as it is clear that it will not be."""
        began = self._clock()
        watch = _reach.Watch(self._examine, self._clock)
        while True:
            status, message = self._ask()
            if status == "ready":
                return {"seconds": round(self._clock() - began, 1)}
            hopeless = self._hopeless()
            if hopeless:
                raise self._not_ready(container, hopeless)
            over = self._clock() - began >= self._patience
            finding = self._examine() if over else watch.check()
            if finding is not None and finding.verdict is not None:
                raise self._not_reached(finding.verdict)
            # What answers may be a stranger at the host's port, until it is known to be this container.
            if over or (status == "other" and finding is not None and finding.reached):
                raise self._not_ready(container, message)
            self._sleep(PAUSE)

    def _ask(self) -> tuple[str, str]:
        try:
            return _client.judge_readiness(self._client.url, self._client.exchange("GET", "/ready"))
        except _client.UnreachableError as error:
            return "unreachable", str(error)

    def _hopeless(self) -> str:
        """Return why waiting is of no use; empty when it may be."""
        container = self._driver.inspect(self._name)
        if container is None:
            return f"container {self._name} was removed by somebody else"
        times = int(container.get("RestartCount") or 0)
        if times >= RESTARTS:
            return f"container {self._name} has ended by itself {times} times since it was started"
        state = container.get("State") or {}
        if state.get("Status") == "exited":
            return f"container {self._name} has ended by itself, with the exit code {state.get('ExitCode')}"
        return ""

    def _examine(self) -> _reach.Finding:
        """Look into the container, and at the host's port."""
        parts = urllib.parse.urlsplit(self._url)
        place = _reach.Place(str(parts.hostname), parts.port or 80, _definition.INNER_PORT, "/ready")
        return _reach.examine(
            place,
            "Open WebUI",
            self._name,
            self._driver.inspect(self._name) or {},
            lambda command: self._driver.execute(self._name, command, _reach.INSIDE_SECONDS).stdout,
            self._driver.containers,
            _reach.ask,
        )

    def _not_reached(self, verdict: _reach.Verdict) -> NotProven:
        return NotProven(
            f"Open WebUI on {self._host} is up, and nobody reaches it: {verdict.cause}. Seen: {verdict.evidence}."
            f" What to do: {verdict.fix}",
            verdict.cause,
        )

    def _not_ready(self, container: Container, message: str) -> NotProven:
        since = started(container)
        lines = [line.text for line in self._driver.log(self._name, since)[-LOG_LINES:]]
        return NotProven(
            f"Open WebUI on {self._host} is not ready, for which it has {self._patience:.0f} seconds"
            f" (open_webui_ready_timeout):\n{message}\nThe end of the log of container {self._name}:\n"
            + "\n".join(lines),
            message,
        )


def started(container: Container) -> float:
    """Return when a container was started, in seconds since 1970; 0 for one that never was."""
    return float(int(epoch(str((container.get("State") or {}).get("StartedAt") or ""))))
