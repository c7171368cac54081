# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""NVIDIA's DCGM exporter as a container with all GPUs of its host. Its life is `_engine._life`'s."""

from __future__ import annotations

import time
import typing as t

from .. import _endpoint, _reach
from .._engine import _lock
from .._engine._driver import Container, Driver
from .._engine._life import Change, ForeignContainerError, Hooks, Life, NotProven, Plan, look, plan

NAME = "dcgm-exporter"
LOCK_KIND = "dcgm_exporter"
LABEL_MANAGED_BY, LABEL_KIND = "private_llm.fleet.managed-by", "private_llm.fleet.kind"
MANAGED_BY = "private_llm.fleet"
INNER_PORT = 9400  # where it listens unless told, https://github.com/NVIDIA/dcgm-exporter
PORT = f"{INNER_PORT}/tcp"
METRICS = "/metrics"
PAUSE = 1.0
LOG_LINES = 20
NVIDIA, CDI = "nvidia", "cdi"
REQUESTS: dict[str, dict[str, t.Any]] = {
    NVIDIA: {"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]},
    CDI: {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]},
}


class ExporterError(ValueError):
    """The exporter cannot be run; the text says why."""


class Wanted(t.NamedTuple):
    """The exporter's image, address, port and driver of GPUs, as the inventory declares them."""

    image: str
    bind: str
    port: int
    gpu_driver: str = NVIDIA
    timeout: float = 60.0


def is_ours(container: Container) -> bool:
    """Return whether this collection made the container, as an exporter."""
    labels = (container.get("Config") or {}).get("Labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_KIND) == LOCK_KIND


class Exporter(Hooks):
    """The exporter of one host."""

    def __init__(
        self,
        wanted: Wanted,
        driver: Driver,
        ask: t.Callable[..., _reach.Look] = _reach.ask,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._driver, self._ask, self._sleep, self._clock = wanted, driver, ask, sleep, clock
        self._image_id = ""

    def run(self, state: str, check: bool) -> dict[str, t.Any]:
        """Bring it to its state, started or absent; return whether that changes anything, and which options differ."""
        if check:
            return self._converge(state, True)
        with _lock.hold(LOCK_KIND, NAME, "changing it"):
            return self._converge(state, False)

    def _converge(self, state: str, check: bool) -> dict[str, t.Any]:
        if state != "absent":
            self._image_id = str((self._driver.inspect_image(self._wanted.image) or {}).get("Id") or "")
        try:
            found = look(self._driver, NAME, is_ours)
        except ForeignContainerError:
            if state == "absent":
                return {"changed": False, "changes": []}
            raise
        the_plan: Plan = plan(state, found, self.changes)
        if the_plan.makes and not self._image_id and not check:
            raise ExporterError(
                f"the image {self._wanted.image} is not on this host; get it first (role container_image)"
            )
        if not check:
            life = Life(self._driver, NAME, self)
            if state == "absent":
                life.remove(the_plan, found)
            else:
                life.carry_out(the_plan, found)
        return {"changed": the_plan.changed, "changes": [change._asdict() for change in the_plan.changes]}

    def body(self) -> dict[str, t.Any]:
        """Return what "create a container" takes."""
        wanted = self._wanted
        return {
            "Image": wanted.image,
            "ExposedPorts": {PORT: {}},
            "Labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_KIND: LOCK_KIND},
            "HostConfig": {
                "DeviceRequests": [REQUESTS[wanted.gpu_driver]],
                "PortBindings": {PORT: [{"HostIp": wanted.bind, "HostPort": str(wanted.port)}]},
                "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
                "SecurityOpt": ["no-new-privileges"],
            },
        }

    def changes(self, container: Container) -> list[Change]:
        """Return how a container differs from what is declared."""
        config, host = container.get("Config") or {}, container.get("HostConfig") or {}
        wanted = self._wanted
        request: t.Mapping[str, t.Any] = next(iter(host.get("DeviceRequests") or []), {})
        place: t.Mapping[str, t.Any] = next(iter((host.get("PortBindings") or {}).get(PORT) or []), {})
        pairs = {
            "image": (config.get("Image"), wanted.image),
            "bind": (place.get("HostIp"), wanted.bind),
            "port": (place.get("HostPort"), str(wanted.port)),
            "gpu_driver": (request.get("Driver"), wanted.gpu_driver),
        }
        found = [Change(option, before, after) for option, (before, after) in pairs.items() if before != after]
        # The same reference may be another image by now.
        if not found and self._image_id and container.get("Image") != self._image_id:
            found.append(Change("image", container.get("Image"), self._image_id))
        return found

    def prove(self, container: Container, put_back: bool) -> dict[str, t.Any]:
        """Wait until it gives metrics."""
        end = self._clock() + self._wanted.timeout
        where = _endpoint.here("http", self._wanted.bind, self._wanted.port)
        while True:
            said = self._ask(where.host, where.port, METRICS)
            if said.status == 200:
                return {}
            now = self._driver.inspect(NAME) or {}
            ended = not (now.get("State") or {}).get("Running")
            if ended or self._clock() >= end:
                why = "has ended" if ended else f"gave no metrics within {self._wanted.timeout:g} seconds"
                lines = [line.text for line in self._driver.log(NAME)[-LOG_LINES:]]
                raise NotProven(
                    f"the container {NAME} {why} ({where.url}{METRICS}: {said.says}). The end of its log:\n"
                    + "\n".join(lines)
                )
            self._sleep(PAUSE)
