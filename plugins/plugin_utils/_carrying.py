# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring an archive that is on the controller to a host: its manifest, and the files that the host lacks.

Files go where the module looks for what an interrupted run has left. It hashes them there and links them into the
release, so none takes its space twice, and a file that has arrived is not brought again after an interruption.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import typing as t

from ansible import constants
from ansible.utils.display import Display

from ..module_utils import _units
from ..module_utils._hub._archive import Archive
from ..module_utils._hub._files import (
    MANIFEST_NAME,
    Entry,
    HubError,
    check_entries,
    total_size,
)
from ..module_utils._hub._store import STAGING

if t.TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

display = Display()

# What a look ahead says better than the run after it, which finds the files brought.
BROUGHT = ("missing", "bytes_missing", "bytes_needed", "actions")


def place_of(digest: str) -> str:
    """Return the folder that takes the files of a release: not the staging folder, which has a lock."""
    return hashlib.sha256(digest.encode()).hexdigest()


class Carrying:
    """An archive on the controller, and the host of an action."""

    def __init__(self, action: ActionBase, path: str, task_vars: dict[str, t.Any]) -> None:
        self._action = action
        self._path = path
        self._task_vars = task_vars
        self._archive = Archive(path)
        self._place = ""
        # What a look at the host said before anything was brought.
        self._look: dict[str, t.Any] = {}

    def bring_manifest(self) -> str:
        """Put the manifest into a folder on the host, which is then an archive without files."""
        action, shell = self._action, self._action._connection._shell
        text = self._archive.manifest_text()
        if shell.tmpdir is None:
            action._make_tmp_path()
        self._place = shell.tmpdir
        manifest = shell.join_path(self._place, MANIFEST_NAME)
        action._transfer_data(manifest, text)
        action._fixup_perms2((self._place, manifest))
        return self._place

    def carry(self) -> None:
        """Bring the files that are nowhere on the host."""
        look = self._ask_module()
        if look.get("failed"):
            return  # the module will say why
        entries, folder = self._wanted(look)
        self._look = look
        host, repo = self._task_vars.get("inventory_hostname", ""), self._action._task.args.get("repo")
        scratch = tempfile.mkdtemp(dir=constants.DEFAULT_LOCAL_TMP)
        try:
            done, total = 0, total_size(entries)
            for number, (entry, path) in enumerate(self._archive.files(entries, scratch), 1):
                display.display(
                    f"  {host}: carrying {repo}, file {number} of {len(entries)},"
                    f" {_units.size(done)} of {_units.size(total)}"
                )
                self._copy(path, os.path.join(folder, entry.path))
                done += entry.size
        finally:
            shutil.rmtree(scratch)

    def _wanted(self, look: t.Mapping[str, t.Any]) -> tuple[list[Entry], str]:
        """Return the files that the host asks for, and the folder on it that takes them.

        The host may be in other hands, so what it says is looked at: a path of it must lead nowhere here.
        """
        try:
            missing = set(look["missing"])
            entries = [
                Entry(str(item["path"]), int(item["size"]), str(item["sha256"]))
                for item in look["files"]
                if item["path"] in missing
            ]
            folder = os.path.join(os.path.dirname(str(look["path"])), STAGING, place_of(str(look["digest"])))
            brought: dict[str, t.Any] = {key: look[key] for key in BROUGHT}
        except (KeyError, TypeError, ValueError, OverflowError):
            brought = {}
        if not isinstance(brought.get("bytes_missing"), int):
            raise HubError(f"the host did not say in a way that is understood which files of {self._path} it lacks")
        return (check_entries(entries, "the host") if entries else []), folder

    def named_as_here(self, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the result with what was brought, and the archive's own path for that of its manifest."""
        if self._look and not result.get("failed"):
            brought = {key: self._look[key] for key in BROUGHT}
            result = {**result, **brought, "bytes_downloaded": self._look["bytes_missing"]}
        return {
            key: value.replace(self._place, self._path)
            if key in ("msg", "endpoint") and isinstance(value, str) and self._place
            else value
            for key, value in result.items()
        }

    def _ask_module(self) -> dict[str, t.Any]:
        """Return what the module would do."""
        action, before = self._action, self._action._task.check_mode
        action._task.check_mode = True
        try:
            arguments = {**action._task.args, "archive": self.bring_manifest()}
            found: dict[str, t.Any] = action._execute_module(module_args=arguments, task_vars=self._task_vars)
        finally:
            action._task.check_mode = before
        return found

    def _copy(self, source: str, target: str) -> None:
        action = self._action
        self._expect(
            action._execute_module(
                module_name="ansible.legacy.file",
                module_args={"path": os.path.dirname(target), "state": "directory", "mode": "0755"},
                task_vars=self._task_vars,
            )
        )
        task = action._task.copy()
        task.args = {"src": source, "dest": target, "mode": "0644"}
        task.diff = False
        copy = action._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=action._connection,
            play_context=action._play_context,
            loader=action._loader,
            templar=action._templar,
            shared_loader_obj=action._shared_loader_obj,
        )
        self._expect(copy.run(task_vars=self._task_vars))

    def _expect(self, result: dict[str, t.Any]) -> None:
        if result.get("failed"):
            raise HubError(f"{self._path} could not be carried to the host: {result.get('msg')}")
