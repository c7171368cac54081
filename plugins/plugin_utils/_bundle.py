# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring files of a bundle on the controller to a host, those alone that the host lacks."""

from __future__ import annotations

import dataclasses
import json
import os
import tarfile
import tempfile
import typing as t

from ansible import constants
from ansible.utils.display import Display

from ..module_utils import _units
from ..module_utils._bundle._folder import Folder
from ..module_utils._bundle._index import BundleError, Item
from ..module_utils._hub._files import Entry, total_size
from ..module_utils._regular import regular

if t.TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

display = Display()

# Files go in archives of about this size, so that a broken connection costs no more than one of them.
BATCH = 256 * 1024 * 1024

# An image's configuration; larger ones are not an engine's.
CONFIG_LIMIT = 8 * 1024 * 1024


def item_of(bundle: str, kind: str, name: str) -> tuple[Folder, Item]:
    """Return a thing of a bundle; BundleError when the bundle lacks it."""
    folder = Folder(bundle)
    item = folder.read_index().item(kind, name)
    if item is None:
        raise BundleError(f"{bundle} lacks {kind} {name}; make a bundle for this inventory (playbooks/bundle.yml)")
    return folder, item


def files_of(item: Item) -> list[dict[str, t.Any]]:
    """Return the files of a thing as modules take them."""
    return [dataclasses.asdict(file) for file in item.files]


def image_of(folder: Folder, item: Item) -> dict[str, t.Any]:
    """Return what the module bundle_image has to know of an image."""
    config = item.described["config"]
    with open(folder.blob(config), "rb", opener=regular) as stream:
        layers = json.loads(stream.read(CONFIG_LIMIT))["rootfs"]["diff_ids"]
    return {"config": config, "layers": [str(layer) for layer in layers], "files": files_of(item)}


def batches(files: t.Iterable[Entry], limit: int = BATCH) -> t.Iterator[list[Entry]]:
    """Yield the files in groups of about the size of the limit; a larger file goes alone."""
    group: list[Entry] = []
    for file in files:
        if group and total_size(group) + file.size > limit:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


class Bringing:
    """The files that a host is to have in a folder, and the action that brings them."""

    def __init__(
        self, action: ActionBase, folder: Folder, files: t.Sequence[Entry], dest: str, task_vars: dict[str, t.Any]
    ) -> None:
        self._action = action
        self._folder = folder
        self._files = files
        self._dest = dest
        self._task_vars = task_vars

    def bring(self) -> dict[str, t.Any]:
        """Bring what is lacking, and return what the module says of the folder then."""
        look = self._run_module(check=True)
        if look.get("failed") or self._action._task.check_mode:
            return look
        wanted = {file.sha256: file for file in self._files if file.sha256 in set(look.get("missing") or ())}
        host = self._task_vars.get("inventory_hostname", "")
        done, total = 0, total_size(wanted.values())
        for group in batches(wanted.values()):
            display.display(f"  {host}: carrying {_units.size(done)} of {_units.size(total)} to {self._dest}")
            result = self._run_module(brought=self._send(group))
            if result.get("failed"):
                return result
            done += total_size(group)
        after = self._run_module()
        if not after.get("failed") and after.get("missing"):
            return {**after, "failed": True, "msg": f"{self._dest} lacks {len(after['missing'])} files; run again"}
        return {**after, "changed": look["changed"], "missing": look["missing"], "removed": look["removed"]}

    def _send(self, group: t.Sequence[Entry]) -> dict[str, str]:
        """Send a file, or several as one archive, and return how the module is told of that."""
        action, shell = self._action, self._action._connection._shell
        if shell.tmpdir is None:
            action._make_tmp_path()
        remote: str = shell.join_path(shell.tmpdir, "brought")
        if len(group) == 1:
            action._transfer_file(os.path.realpath(self._folder.blob(group[0].sha256)), remote)
            action._fixup_perms2((shell.tmpdir, remote))
            return {"brought": remote, "brought_sha256": group[0].sha256}
        with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar") as local:
            with tarfile.open(fileobj=local, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for file in group:
                    tar.add(os.path.realpath(self._folder.blob(file.sha256)), file.sha256, recursive=False)
            local.flush()
            action._transfer_file(local.name, remote)
        action._fixup_perms2((shell.tmpdir, remote))
        return {"brought": remote}

    def _run_module(self, check: bool = False, brought: t.Mapping[str, str] | None = None) -> dict[str, t.Any]:
        action, before = self._action, self._action._task.check_mode
        action._task.check_mode = check or before
        try:
            found: dict[str, t.Any] = action._execute_module(
                module_name="private_llm.fleet.bundle_files",
                module_args={
                    "dest": self._dest,
                    "files": [dataclasses.asdict(file) for file in self._files],
                    **(brought or {}),
                },
                task_vars=self._task_vars,
            )
        finally:
            action._task.check_mode = before
        # Hundreds of files are of no use to whoever reads the output.
        found.pop("invocation", None)
        return found
