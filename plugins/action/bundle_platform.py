# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._bundle._runs import name_of


class ActionModule(ActionBase):
    """Tell the module which run it belongs to."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        # Each task has a process of its own, below that of the whole run.
        given = {"run": name_of(os.getppid()), **self._task.args}
        result.update(self._execute_module(module_args=given, task_vars=task_vars))
        return result
