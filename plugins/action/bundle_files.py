# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._bundle._index import BundleError
from ..plugin_utils._bundle import Bringing, item_of


class ActionModule(ActionBase):
    """Bring files of a bundle on this side to the host."""

    _supports_check_mode = True
    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Bring what the host lacks."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        given, variables = self._task.args, task_vars or {}
        lacks = [key for key in ("bundle", "kind", "name", "dest") if not given.get(key)]
        if lacks:
            return {**result, "failed": True, "msg": f"missing required arguments: {', '.join(lacks)}"}
        try:
            folder, item = item_of(self._loader.path_dwim(str(given["bundle"])), str(given["kind"]), str(given["name"]))
            result.update(Bringing(self, folder, item.files, str(given["dest"]), variables).bring())
        except (BundleError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
