# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils._bundle._architecture import USUAL, architecture_of, named
from ..module_utils._bundle._index import BundleError
from ..plugin_utils._bundle import Bringing, image_of, item_of

WORK = "/var/cache/private_llm/bundle/images"


class ActionModule(ActionBase):
    """Bring an image of a bundle on this side to the engine of the host."""

    _supports_check_mode = True
    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Look whether the engine has the image; bring its blobs and load them when it does not."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        given, variables = self._task.args, task_vars or {}
        lacks = [key for key in ("bundle", "name") if not given.get(key)]
        if lacks:
            return {**result, "failed": True, "msg": f"missing required arguments: {', '.join(lacks)}"}
        try:
            name = named(str(given["name"]), architecture_of(str(given.get("architecture") or USUAL)))
            folder, item = item_of(self._loader.path_dwim(str(given["bundle"])), "image", name)
            arguments = {**given, **image_of(folder, item)}
            looked = self._load(arguments, variables, check=True)
            if looked.get("failed") or not looked.get("changed") or self._task.check_mode:
                return {**result, **looked}
            # By their SHA-256: a layer that comes twice is sent once.
            blobs = {f.sha256: dataclasses.replace(f, path=f.sha256) for f in item.files if f.path != "manifest.json"}
            dest = os.path.join(str(given.get("work_dir") or WORK), arguments["config"])
            brought = Bringing(self, folder, list(blobs.values()), dest, variables).bring()
            result.update(brought if brought.get("failed") else self._load(arguments, variables))
        except (BundleError, OSError, ValueError, KeyError) as error:
            return {**result, "failed": True, "msg": str(error)}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _load(self, arguments: dict[str, t.Any], variables: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        before = self._task.check_mode
        self._task.check_mode = check or before
        try:
            found: dict[str, t.Any] = self._execute_module(module_args=arguments, task_vars=variables)
        finally:
            self._task.check_mode = before
        found.pop("invocation", None)
        return found
