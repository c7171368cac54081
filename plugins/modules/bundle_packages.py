#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_packages
short_description: Fetch packages of Debian or Ubuntu, with all that they need, for hosts that reach no repository
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Runs on a machine of the distribution of those hosts, such as a fresh container of it, and fetches what that machine
    lacks. apt checks the packages as it does for an installation. Nothing is installed.
  - The folder is a repository of apt then, which hosts use as C(deb [trusted=yes] file:FOLDER ./).
options:
  packages:
    description: The packages, each as C(apt-get install) takes it.
    type: list
    elements: str
    required: true
  dest:
    description: The folder for them, which holds nothing else.
    type: path
    required: true
  status:
    description: A copy of C(/var/lib/dpkg/status) that tells what the hosts have, where this machine has more by now.
    type: path
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Fetches the lists of the repositories, because they tell the sizes.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: As long as the repositories hold the same versions.
"""

EXAMPLES = r"""
- name: Fetch the engine and what it needs
  private_llm.fleet.bundle_packages:
    packages: [docker.io, docker-cli]
    dest: /bundle/packages
"""

RETURN = r"""
bytes_total:
  description: The bytes of all packages.
  type: int
  returned: always
files:
  description: The names of the packages' files, as apt has them.
  type: list
  elements: str
  returned: always
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._bundle._debs import Apt, is_there
from ..module_utils._bundle._index import BundleError


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Fetch the packages, or say what they are."""
    apt, dest = Apt(module.params["packages"], module.params["status"] or ""), module.params["dest"]
    apt.update()
    debs = apt.closure()
    changed = not is_there(dest, debs)
    if changed and not module.check_mode:
        apt.fetch(dest)
    return {
        "changed": changed,
        "bytes_total": sum(deb.size for deb in debs),
        "files": [deb.name for deb in debs],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "status": {"type": "path"},
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
