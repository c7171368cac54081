# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the watch is told by the role that installs it: which servers, and its limits."""

from __future__ import annotations

import json
import os
import typing as t

from .. import _paths
from .._replace import ReplaceError, read_file

ROOT = _paths.WATCH_CONFIG
FILE = "config.json"
LARGEST = 1024 * 1024
METRICS = _paths.METRICS

STARTED = "started"
GATEWAY = "private-llm-gateway"  # the unit of systemd


class Limits(t.NamedTuple):
    """How long the watch waits, and how often it tries."""

    idle: float = 20.0  # seconds in which a server without a request must generate a token
    busy: float = 45.0  # seconds in which something must move in a server at work
    start: float = 0.0  # seconds for a start; 0 derives them from the size of the weights
    restarts: int = 3  # at most so many within the window
    window: float = 3600.0
    backoff: float = 60.0  # seconds before the second restart of a window; twice as many before each further one


MOST_STRAIN = 5.0


def strained(limits: Limits, load: float, processors: int) -> Limits:
    """Return the limits for a host with this load: where processes wait for processors, everything takes longer."""
    factor = min(MOST_STRAIN, max(1.0, load / max(1, processors)))
    return limits._replace(idle=limits.idle * factor, busy=limits.busy * factor)


class Door(t.NamedTuple):
    """Where something is asked on this host."""

    bind: str
    port: int


class Config(t.NamedTuple):
    """The declared servers of this host, in their order, each with its state; and what else runs here."""

    servers: t.Mapping[str, str]
    limits: Limits = Limits()
    metrics: str = METRICS
    docker_host: str = ""
    webs: t.Mapping[str, Door] = {}  # Open WebUIs, by the names of their containers
    gateway: t.Optional[Door] = None  # noqa: UP045 - evaluated by Python 3.8; where HAProxy gives its metrics

    @property
    def watched(self) -> dict[str, str]:
        """Return the declared state of all that is watched, by name."""
        gateways = [GATEWAY] if self.gateway else []
        return {**self.servers, **dict.fromkeys([*self.webs, *gateways], STARTED)}


class ConfigError(ValueError):
    """The configuration cannot be used."""


def render(config: Config) -> str:
    """Return the text of the file."""
    webs = {name: door._asdict() for name, door in config.webs.items()}
    gateway = config.gateway._asdict() if config.gateway else None
    whole = {**config._asdict(), "limits": config.limits._asdict(), "webs": webs, "gateway": gateway}
    return json.dumps(whole, indent=2) + "\n"


def parse(text: str) -> Config:
    """Return the configuration in a file's text; ConfigError when it holds something else."""
    try:
        found = json.loads(text)
        servers = {str(name): str(state) for name, state in found["servers"].items()}
        limits = Limits(**{key: type(getattr(Limits(), key))(value) for key, value in found["limits"].items()})
        webs = {str(name): _door(values) for name, values in found.get("webs", {}).items()}
        gateway = _door(found["gateway"]) if found.get("gateway") else None
        return Config(servers, limits, str(found["metrics"]), str(found["docker_host"]), webs, gateway)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"the configuration cannot be read: {error}; apply the role server_watch again") from error


def _door(values: t.Mapping[str, t.Any]) -> Door:
    return Door(str(values["bind"]), int(values["port"]))


def read(root: str = ROOT) -> Config:
    """Return the configuration of this host; ConfigError when there is none."""
    path = os.path.join(root, FILE)
    try:
        content = read_file(path, LARGEST)
    except (OSError, ReplaceError) as error:
        raise ConfigError(f"{error}; apply the role server_watch again") from error
    if content is None:
        raise ConfigError(f"{path} cannot be read: No such file or directory; apply the role server_watch again")
    return parse(content.decode("utf-8", "replace"))
