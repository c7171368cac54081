#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_collections
short_description: Keep collections of Ansible as archives for a machine that reaches nothing
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Packs collections as they are on the machine that Ansible runs on, with all collections that they need, into
    archives that C(ansible-galaxy collection install --offline) takes. The same files make the same bytes.
  - Runs on the machine that Ansible runs on, so C(localhost) is its host.
options:
  collections:
    description: The names of the collections, such as V(private_llm.fleet).
    type: list
    elements: str
    required: true
  dest:
    description: The folder for the archives. Other archives in it are removed.
    type: path
    required: true
  found:
    description: Where the collections are, and what they say of themselves. The controller finds that out.
    type: list
    elements: dict
    suboptions:
      path:
        description: The folder of the collection.
        type: path
        required: true
      info:
        description: What it says of itself.
        type: dict
        required: true
      ignore:
        description: Patterns of files that do not belong to it.
        type: list
        elements: str
        required: true
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Keep this collection, and what it needs
  private_llm.fleet.bundle_collections:
    collections: [private_llm.fleet]
    dest: /srv/bundle.work/collections
"""

RETURN = r"""
files:
  description: The names of the archives.
  type: list
  elements: str
  returned: always
bytes_total:
  description: Their bytes.
  type: int
  returned: always
"""

import contextlib
import os
import typing as t

from ..module_utils._bundle._collections import archive, file_name
from ..module_utils._bundle._index import BundleError
from ..module_utils._fleet_module import FleetModule
from ..module_utils._regular import regular

ENDING = ".tar.gz"


def read(path: str) -> bytes | None:
    """Return what is in a file; None where there is none."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb", opener=regular) as stream:
        return stream.read()
    return None


def run(module: FleetModule) -> dict[str, t.Any]:
    """Have the archives."""
    dest = module.params["dest"]
    wanted = {
        file_name(one["info"]): archive(one["path"], one["info"], one["ignore"]) for one in module.params["found"] or []
    }
    there = {name for name in os.listdir(dest) if name.endswith(ENDING)} if os.path.isdir(dest) else set()
    writing = [name for name, content in wanted.items() if read(os.path.join(dest, name)) != content]
    removing = sorted(there - set(wanted))
    result = {"files": sorted(wanted), "bytes_total": sum(map(len, wanted.values()))}
    if not module.check_mode:
        os.makedirs(dest, mode=0o755, exist_ok=True)
        for name in writing:
            temporary = os.path.join(dest, f".{name}.new")
            with open(temporary, "wb") as stream:
                stream.write(wanted[name])
            os.replace(temporary, os.path.join(dest, name))
        for name in removing:
            os.unlink(os.path.join(dest, name))
    return {"changed": bool(writing or removing), **result}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "collections": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "found": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "path": {"type": "path", "required": True},
                    "info": {"type": "dict", "required": True},
                    "ignore": {"type": "list", "elements": "str", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (BundleError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
