# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell for the plan which hosts lack the image of Open WebUI, and from where they get it."""

from __future__ import annotations

import typing as t

from ..module_utils import _units
from ._host_vars import FLAG, LINE, WHOLE, of_hosts

# What the role open_webui leaves, as its tasks/plan.yml writes it.
FACT = "open_webui_plan"
SHAPE = {"image!": LINE, "source!": LINE, "missing": FLAG, "bytes": WHOLE, "reason": LINE}


class WebImage(t.NamedTuple):
    """An image that a host lacks; ``size`` in bytes, 0 where it is not known, and ``reason`` why."""

    host: str
    image: str
    source: str
    size: int
    reason: str

    def as_result(self) -> dict[str, t.Any]:
        """Return it for programs."""
        return {"host": self.host, "image": self.image, "source": self.source, "bytes": self.size}

    def sentence(self) -> str:
        """Return it for people."""
        told = f", {_units.size(self.size)}" if self.size else ""
        why = f"; its size is not known: {self.reason}" if self.reason else ""
        return f"{self.host}: the image {self.image} comes from {self.source}{told}{why}"


def web_images(hosts: t.Any, hostvars: t.Any) -> list[WebImage]:
    """Return the images of Open WebUI that hosts lack, in the order of the hosts."""
    told = {name: host.read(FACT, SHAPE) for name, host in of_hosts(hosts, hostvars).items() if host.has(FACT)}
    return [
        WebImage(name, plan["image"], plan["source"], plan["bytes"] or 0, plan["reason"] or "")
        for name, plan in told.items()
        if plan and plan["missing"]
    ]
