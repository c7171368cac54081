#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_files
short_description: Have the files of a part of a bundle in a folder of a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Brings files of a bundle on the controller to a folder of a host, such as packages or Python libraries. Only files
    are sent that the host lacks. Each is compared with its SHA-256 there, and what does not belong into the folder is
    removed.
options:
  dest:
    description: The folder on the host, which holds nothing else. Its parents are made, for all to read.
    type: path
    required: true
  bundle:
    description: The folder of the bundle on the controller.
    type: path
  kind:
    description: What of it to bring, as in M(private_llm.fleet.bundle_make).
    type: str
  name:
    description: The name of that.
    type: str
  files:
    description: The files to have. The controller takes them from the bundle's index.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path below O(dest).
        type: str
        required: true
      size:
        description: The size in bytes.
        type: int
        required: true
      sha256:
        description: The SHA-256 of the content.
        type: str
        required: true
  brought:
    description: A tar archive on the host with files that the controller has sent. It is removed when they are taken.
    type: path
  brought_sha256:
    description: Says that O(brought) is not an archive but the file with this SHA-256.
    type: str
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
- name: Have the Python libraries of a bundle on a host
  private_llm.fleet.bundle_files:
    bundle: /srv/bundle
    kind: wheels
    name: debian:13
    dest: /var/cache/private_llm/bundle/wheels
"""

RETURN = r"""
missing:
  description: The SHA-256 of each file that was still to come when the module began.
  type: list
  elements: str
  returned: always
removed:
  description: The paths of files that do not belong into the folder.
  type: list
  elements: str
  returned: always
"""

import os
import typing as t

from ..module_utils._bundle._copy import lacking, strangers, take
from ..module_utils._bundle._index import BundleError
from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._files import FILE_OPTIONS, HubError, check_entries, given_entries


def run(module: FleetModule) -> dict[str, t.Any]:
    """Say what is lacking, take what was brought, remove the rest."""
    given = module.params
    files = check_entries(given_entries(given["files"]), "files")
    dest = given["dest"]
    missing, removed = lacking(dest, files), strangers(dest, files)
    if module.check_mode:
        return {"changed": bool(missing or removed), "missing": missing, "removed": removed}
    os.makedirs(dest, mode=0o755, exist_ok=True)
    if given["brought"]:
        try:
            take(dest, files, given["brought"], given["brought_sha256"] or "")
        finally:
            os.unlink(given["brought"])
    for path in removed:
        os.unlink(path)
    left = lacking(dest, files) if given["brought"] else missing
    changed = left != missing or bool(removed)
    return {"changed": changed, "missing": left, "removed": removed}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "bundle": {"type": "path"},
            "kind": {"type": "str"},
            "name": {"type": "str"},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
            "brought": {"type": "path"},
            "brought_sha256": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (BundleError, HubError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
