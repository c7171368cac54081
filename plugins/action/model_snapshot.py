# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils._hub._files import HubError
from ..plugin_utils._answers import Answers, question_of, run_token
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
            return self._run_knowing(tmp, task_vars or {})
        carrying = Carrying(self, self._loader.path_dwim(str(archive)), task_vars or {})
        given = self._with_token(arguments)
        try:
            if arguments.get("peers") and not self._task.check_mode:
                # The manifest alone says what is wanted. What the other hosts do not bring is carried after all.
                self._task.args = {**given, "archive": carrying.bring_manifest()}
                result = super().run(tmp, task_vars)
                if not result.get("failed"):
                    return carrying.named_as_here(result)
            self._task.args = given
            if not self._task.check_mode:
                carrying.carry()
            self._task.args = {**given, "archive": carrying.bring_manifest()}
            result = super().run(tmp, task_vars)
        except HubError as error:
            return {"failed": True, "msg": str(error)}
        except OSError as error:
            return {"failed": True, "msg": f"{archive} could not be carried from the controller: {error}"}
        finally:
            self._task.args = arguments
        return carrying.named_as_here(result)

    @staticmethod
    def _with_token(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the arguments with the token of the run, where the module has to do with other hosts of it."""
        if not arguments.get("peers") and not boolean(arguments.get("ask_once") or False, strict=False):
            return arguments
        return {**arguments, "peer_token": arguments.get("peer_token") or run_token()}

    def _run_knowing(self, tmp: str | None, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module with the token of the run, and with what another host of it was told by the hub."""
        arguments = self._task.args
        once = boolean(arguments.get("ask_once") or False, strict=False)
        question = question_of(arguments) if once and not arguments.get("listed") else None
        try:
            self._task.args = self._with_token(arguments)
            if question is None:
                return super().run(tmp, task_vars)
            answers = Answers(question)
            with contextlib.nullcontext() if answers.read() else answers.turn():
                known = answers.read()
                if known is None:
                    looked = self._look(tmp, task_vars)
                    answers.keep(looked)
                    if self._task.check_mode:
                        return looked
            return self._run_told(known or answers.read() or {}, tmp, task_vars)
        finally:
            self._task.args = arguments

    def _look(self, tmp: str | None, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return what the module would do."""
        before = self._task.check_mode
        self._task.check_mode = True
        try:
            return super().run(tmp, task_vars)
        finally:
            self._task.check_mode = before

    def _run_told(self, known: t.Mapping[str, t.Any], tmp: str | None, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module with what is known; the list of files is no news where its result is shown."""
        config = known.get("config") if boolean(self._task.args.get("config") or False, strict=False) else None
        if known.get("listed"):
            self._task.args = {**self._task.args, "listed": known["listed"]}
        if config is not None:
            self._task.args = {**self._task.args, "config": False}
        result = super().run(tmp, task_vars)
        if config is not None and not result.get("failed"):
            result["config"] = config
        result.get("invocation", {}).get("module_args", {}).pop("listed", None)
        return result
