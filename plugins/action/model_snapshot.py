# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..module_utils._hub._files import HubError
from ..plugin_utils._carrying import Carrying
from ..plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Download a model and show how far it is; bring an archive that is on this side."""

    KIND = "model_snapshot"
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {"root": "/srv/models", "repo": ""}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; before that, bring what the host lacks of an archive on the controller."""
        arguments, archive = self._task.args, self._task.args.get("archive")
        if arguments.get("archive_on", "host") != "controller" or not archive:
            return super().run(tmp, task_vars)
        carrying = Carrying(self, self._loader.path_dwim(str(archive)), task_vars or {})
        try:
            if not self._task.check_mode:
                carrying.carry()
            self._task.args = {**arguments, "archive": carrying.bring_manifest()}
            result = super().run(tmp, task_vars)
        except HubError as error:
            return {"failed": True, "msg": str(error)}
        except OSError as error:
            return {"failed": True, "msg": f"{archive} could not be carried from the controller: {error}"}
        finally:
            self._task.args = arguments
        return carrying.named_as_here(result)
