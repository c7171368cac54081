# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..plugin_utils._answers import run_token
from ..plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Fetch an image and show how far it is; the token of the run is in no variable."""

    KIND = "image_release"
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {"name": ""}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        arguments = self._task.args
        if arguments.get("state", "present") != "present":
            result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
            result.update(self._execute_module(task_vars=task_vars))
            return result
        self._task.args = {**arguments, "peer_token": arguments.get("peer_token") or run_token()}
        try:
            return super().run(tmp, task_vars)
        finally:
            self._task.args = arguments
