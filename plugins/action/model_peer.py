# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..plugin_utils._answers import run_token


class ActionModule(ActionBase):
    """Give the module the token of the run, which no variable holds."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = {**self._task.args, "token": self._task.args.get("token") or run_token()}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result
