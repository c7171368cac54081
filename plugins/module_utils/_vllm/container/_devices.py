# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the engine is asked to give a container GPUs."""

from __future__ import annotations

import typing as t


def device_request(gpus: t.Sequence[str], driver: str) -> dict[str, t.Any]:
    """Return one of a container's ``DeviceRequests``, for these GPUs by this driver (cdi or nvidia)."""
    if driver == "cdi":
        return {"Driver": "cdi", "Count": 0, "DeviceIDs": list(gpus), "Capabilities": [], "Options": {}}
    return {"Driver": "nvidia", "Count": 0, "DeviceIDs": list(gpus), "Capabilities": [["gpu"]], "Options": {}}
