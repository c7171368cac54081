# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Bring the vLLM servers of a host to their states and show what each is doing until it is ready."""

    KIND = "vllm_server"
    LOOKS = True

    def settles(self, found: t.Mapping[str, t.Any]) -> bool:
        """Return whether every server is settled."""
        return not found.get("failed") and all(server.get("settled") for server in found.get("servers", [{}]))

    def works(self) -> dict[str, str]:
        """Return each server by its name."""
        servers = self._task.args.get("servers")
        if not isinstance(servers, list):
            return {}
        names = (str(server.get("name", "")) for server in servers if isinstance(server, dict))
        return {name: f"{name}: " for name in names}
