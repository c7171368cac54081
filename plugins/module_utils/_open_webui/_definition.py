# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The definition of Open WebUI's container: what the engine gets, and how what it has differs from that."""

from __future__ import annotations

import re
import typing as t

from .._engine._driver import Container
from .._engine._life import Change
from ._files import MOUNT
from ._tree import DataError

LABEL_MANAGED_BY, LABEL_NAME, LABEL_KIND = (f"private_llm.fleet.{part}" for part in ("managed-by", "name", "kind"))
MANAGED_BY, KIND = "private_llm.fleet", "open_webui"

DATA_MOUNT = "/app/backend/data"
INNER_PORT = 8080
PORT = f"{INNER_PORT}/tcp"
IN_PLACE = ("restart_policy",)

# Open WebUI runs as root in its container. Of root's rights it needs those over files that others own, such as data
# that were brought along; nothing that it starts gets more than it has itself.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
# It runs a thread for each core in several libraries, and a process for each tool; a fork bomb ends here.
PIDS_LIMIT = 4096

_ALL = "0.0.0.0"  # noqa: S104  # what the engine means by no address
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_START = f"set -ea; . {MOUNT}/env; . {MOUNT}/admin; set +ea; exec bash start.sh"


def memory_bytes(text: str) -> int:
    """Return a size such as 1500m in bytes; 0 for none."""
    if not text:
        return 0
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([bkmgt]?)i?b?", text.strip().lower())
    if match is None:
        raise DataError(f"memory is {text!r}; give a size such as 4g (open_webui_memory)")
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def is_ours(container: Container) -> bool:
    """Return whether this collection made a container for Open WebUI; its earlier releases wrote no kind."""
    labels = (container.get("Config") or {}).get("Labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_KIND, KIND) == KIND


class Definition:
    """What is declared about the container."""

    def __init__(self, params: t.Mapping[str, t.Any], environment: str, image_id: str) -> None:
        self._params, self._environment, self.image_id = params, environment, image_id
        self.memory = memory_bytes(params["memory"] or "")

    @property
    def policy(self) -> dict[str, t.Any]:
        """Return the restart policy as the engine takes it."""
        return {"Name": self._params["restart_policy"], "MaximumRetryCount": 0}

    def _binds(self) -> list[str]:
        return [f"{self._params['data_dir']}:{DATA_MOUNT}", f"{self._environment}:{MOUNT}:ro"]

    def _hosts(self) -> list[str]:
        return ["host.docker.internal:host-gateway"] if self._params["host_gateway"] else []

    def _ports(self) -> dict[str, list[dict[str, str]]]:
        return {PORT: [{"HostIp": self._params["bind"], "HostPort": str(self._params["port"])}]}

    def body(self) -> dict[str, t.Any]:
        """Return what "create a container" takes."""
        return {
            "Image": self._params["image"],
            "Cmd": ["bash", "-c", _START],
            "ExposedPorts": {PORT: {}},
            "Labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_NAME: self._params["name"], LABEL_KIND: KIND},
            "HostConfig": {
                "Binds": self._binds(),
                "PortBindings": self._ports(),
                "ExtraHosts": self._hosts(),
                "RestartPolicy": self.policy,
                "Memory": self.memory,
                "CapDrop": ["ALL"],
                "CapAdd": list(CAPABILITIES),
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": PIDS_LIMIT,
            },
        }

    def changes(self, container: Container) -> list[Change]:
        """Return how a container differs, in the words of the options."""
        config, host = container.get("Config") or {}, container.get("HostConfig") or {}
        wanted, mine = self.body(), self.body()["HostConfig"]
        pairs: dict[str, tuple[t.Any, t.Any]] = {
            "image": (config.get("Image"), wanted["Image"]),
            "command": (list(config.get("Cmd") or []), wanted["Cmd"]),
            "volumes": (_mounts(host.get("Binds")), _mounts(mine["Binds"])),
            "ports": (_bindings(host.get("PortBindings")), _bindings(mine["PortBindings"])),
            "host_gateway": (sorted(host.get("ExtraHosts") or []), sorted(mine["ExtraHosts"])),
            "memory": (host.get("Memory") or 0, mine["Memory"]),
            "capabilities": (
                [_names(host.get("CapDrop")), _names(host.get("CapAdd"))],
                [_names(mine["CapDrop"]), _names(mine["CapAdd"])],
            ),
            "security": (_security(host), "no-new-privileges"),
            "pids_limit": (host.get("PidsLimit") or 0, mine["PidsLimit"]),
            "restart_policy": ((host.get("RestartPolicy") or {}).get("Name") or "no", self._params["restart_policy"]),
        }
        found = [Change(option, before, after) for option, (before, after) in pairs.items() if before != after]
        # The same reference may be another image by now, and another reference the same image.
        found = [change for change in found if change.option != "image" or not self.image_id]
        if self.image_id and container.get("Image") != self.image_id:
            before = config.get("Image")
            after = wanted["Image"] if before != wanted["Image"] else f"{before} ({self.image_id[:19]})"
            found.insert(0, Change("image", before, after))
        return found


def _mounts(binds: t.Any) -> list[str]:
    return sorted(str(bind)[: -len(":rw")] if str(bind).endswith(":rw") else str(bind) for bind in binds or [])


def _bindings(ports: t.Any) -> list[str]:
    return sorted(
        f"{(place or {}).get('HostIp') or _ALL}:{(place or {}).get('HostPort')}:{port}"
        for port, places in (ports or {}).items()
        for place in places or []
    )


def _names(capabilities: t.Any) -> list[str]:
    found = (str(one).upper() for one in capabilities or [])
    return sorted(one[len("CAP_") :] if one.startswith("CAP_") else one for one in found)


def _security(host: t.Mapping[str, t.Any]) -> str:
    if host.get("Privileged"):
        return "privileged"
    options = [str(one).replace(":true", "").replace("=true", "") for one in host.get("SecurityOpt") or []]
    return ", ".join(sorted(options))
