#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_verify
short_description: Compare a bundle with its index, its signature and what is wanted of it
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads every blob of a bundle, all processors at work, and fails with all that is wrong at once.
  - Blobs that were read before and look the same as then are not read again, unless O(full=true).
  - Changes nothing in the bundle, which may be on a disk that cannot be written.
options:
  path:
    description: The folder of the bundle.
    type: path
    required: true
  full:
    description: Read every blob, whatever was read before.
    type: bool
    default: false
  since:
    description: The folder of the earlier bundle that O(path) was made for. What that one holds is not missed here.
    type: path
  signers:
    description:
      - A file of those whose signature is accepted, as C(ssh-keygen) has it (C(ALLOWED SIGNERS) in its manual page),
        one C(NAME KEYTYPE KEY) a line. Without it no signature is looked for.
    type: path
  wanted:
    description: What the bundle must hold.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What it is, as in M(private_llm.fleet.bundle_make).
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
  cache:
    description:
      - A folder outside of the bundle that remembers what was read, and holds models and packages as folders of links
        to their blobs. M(private_llm.fleet.model_snapshot) takes that of a model as an archive.
    type: path
    default: ~/.cache/private_llm/bundles
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Looks only, and never reports a change.
"""

EXAMPLES = r"""
- name: Check a bundle after it was copied
  private_llm.fleet.bundle_verify:
    path: /mnt/disk/bundle
    full: true
    signers: ~/.ssh/allowed_signers
"""

RETURN = r"""
root:
  description: The SHA-256 of the index, which names the bundle.
  type: str
  returned: success
content:
  description: What the bundle holds, with C(kind), C(name) and C(bytes).
  type: list
  elements: dict
  returned: success
models:
  description: For each model, the folder that M(private_llm.fleet.model_snapshot) takes as an archive.
  type: dict
  returned: success
packages:
  description: For each platform, a folder of links with its packages.
  type: dict
  returned: success
path:
  description: The absolute path of the bundle.
  type: str
  returned: success
bytes_read:
  description: How many bytes were read and hashed.
  type: int
  returned: success
problems:
  description: All that is wrong, a sentence each.
  type: list
  elements: str
  returned: always
missing:
  description: The blobs that are not there.
  type: list
  elements: str
  returned: always
wrong:
  description: The blobs whose content is not what their name says.
  type: list
  elements: str
  returned: always
"""

import os
import typing as t

from ..module_utils import _units
from ..module_utils._bundle._folder import Folder, Known
from ..module_utils._bundle._index import BundleError, Index
from ..module_utils._bundle._making import lay_out
from ..module_utils._bundle._place import explain
from ..module_utils._bundle._signature import problem_with
from ..module_utils._fleet_module import FleetModule
from ..module_utils._progress import Progress

# As many names of blobs as a person reads; the result holds all.
SHOWN = 5


def owners_of(index: Index, blobs: t.Collection[str]) -> str:
    """Name the blobs, and the things that need them."""
    things = sorted({f"{item.kind} {item.name}" for item in index.items for file in item.files if file.sha256 in blobs})
    names = ", ".join(sha256[:12] for sha256 in sorted(blobs)[:SHOWN])
    more = f" and {len(blobs) - SHOWN} more" if len(blobs) > SHOWN else ""
    return f"{names}{more}, of {', '.join(things)}"


def look(module: FleetModule, folder: Folder) -> dict[str, t.Any]:
    """Return what the bundle is, and what is wrong with it."""
    given = module.params
    index = folder.read_index()
    cache = given["cache"]
    known = None if given["full"] else Known(os.path.join(cache, f"{index.root}.json"))
    with Progress("bundle_verify", given["path"]) as progress:
        done = [0]

        def seen(count: int) -> None:
            done[0] += count
            progress.update("reading the bundle", done[0], total)

        total = sum(index.blobs().values())
        checked = folder.check(index, known, seen)
    earlier = Folder(given["since"]).read_index().blobs() if given["since"] else {}
    missing = [sha256 for sha256 in checked.missing if sha256 not in earlier]
    problems = []
    if given["signers"]:
        problem = problem_with(folder, given["signers"])
        problems += [f"{folder.path}: {problem}"] if problem else []
    if missing:
        lacks = sum(index.blobs()[sha256] for sha256 in missing)
        problems.append(
            f"{folder.path} lacks {len(missing)} blobs ({_units.size(lacks)}): {owners_of(index, missing)}; copy it "
            "again (rsync goes on where it ended)"
        )
    if checked.wrong:
        problems.append(
            f"{folder.path} holds {len(checked.wrong)} damaged blobs: {owners_of(index, checked.wrong)}; copy them "
            "again (rsync --checksum)"
        )
    problems += [
        f"{folder.path} lacks {one['kind']} {one['name']}, which the inventory wants; make a bundle for this inventory"
        for one in given["wanted"]
        if index.item(one["kind"], one["name"]) is None
    ]
    return {
        "changed": False,
        "root": index.root,
        "content": [{"kind": item.kind, "name": item.name, "bytes": item.size} for item in index.items],
        "bytes_read": checked.read,
        "problems": problems,
        "missing": missing,
        "wrong": list(checked.wrong),
        "path": os.path.abspath(folder.path),
        "models": lay_out(folder, index, "model", cache) if not problems else {},
        "packages": lay_out(folder, index, "packages", cache) if not problems else {},
    }


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "full": {"type": "bool", "default": False},
            "since": {"type": "path"},
            "signers": {"type": "path"},
            "wanted": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kind": {"type": "str", "required": True},
                    "name": {"type": "str", "required": True},
                },
            },
            "cache": {"type": "path", "default": "~/.cache/private_llm/bundles"},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module, Folder(module.params["path"]))
    except (BundleError, OSError) as error:
        reason = explain(error) if isinstance(error, OSError) else str(error)
        module.fail_json(msg=reason, problems=[reason], missing=[], wrong=[])
    if result["problems"]:
        module.fail_json(msg="\n".join(result["problems"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
