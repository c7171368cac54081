# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._bundle._index import BundleError
from ..plugin_utils._collections import closure


class ActionModule(ActionBase):
    """Tell the module where Ansible finds the collections, and what they need."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        names = self._task.args.get("collections") or []
        try:
            found = closure([names] if isinstance(names, str) else [str(name) for name in names])
        except BundleError as error:
            return {**result, "failed": True, "msg": str(error)}
        result.update(self._execute_module(module_args={**self._task.args, "found": found}, task_vars=task_vars))
        result.pop("invocation", None)
        return result
