#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_packages
short_description: Fetch packages of a distribution, with all that they need, for hosts that reach no repository
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Runs on a machine of the distribution of those hosts, such as a fresh container of it, and fetches what that machine
    lacks. apt or dnf checks the packages as it does for an installation. Nothing is installed.
  - On Debian and Ubuntu the folder is a repository of apt then, which hosts use as C(deb [trusted=yes] file:FOLDER ./).
  - On the family of RHEL it is a repository of dnf, with the address C(file://FOLDER). All that the packages need is in
    it, what this machine has included. It takes C(dnf download), of C(dnf-plugins-core), and C(createrepo_c), which
    M(private_llm.fleet.bundle_platform) installs.
options:
  packages:
    description: The packages, each as C(apt-get install) or C(dnf install) takes it.
    type: list
    elements: str
    required: true
  dest:
    description: The folder for them, which holds nothing else.
    type: path
    required: true
  status:
    description: A copy of C(/var/lib/dpkg/status) that tells what the hosts have, where this machine has more by now.
      Without effect on the family of RHEL.
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
  description: The names of the packages' files, as apt or dnf has them.
  type: list
  elements: str
  returned: always
"""

import typing as t

from ..module_utils._bundle import _debs, _rpms
from ..module_utils._bundle._index import BundleError
from ..module_utils._fleet_module import FleetModule


def run(module: FleetModule) -> dict[str, t.Any]:
    """Fetch the packages, or say what they are."""
    packages, dest = module.params["packages"], module.params["dest"]
    if module.get_bin_path("apt-get") or not module.get_bin_path("dnf"):
        return collect(module, _debs.Apt(packages, module.params["status"] or ""), _debs.is_there, dest)
    return collect(module, _rpms.Dnf(packages), _rpms.is_there, dest)


def collect(module: FleetModule, manager: t.Any, is_there: t.Callable[..., bool], dest: str) -> dict[str, t.Any]:
    """Fetch what a package manager names into a folder, or say what it is."""
    manager.update()
    found = manager.closure()
    changed = not is_there(dest, found)
    if changed and not module.check_mode:
        manager.fetch(dest)
    return {
        "changed": changed,
        "bytes_total": sum(package.size for package in found),
        "files": [package.name for package in found],
    }


def main() -> None:
    """Run the module."""
    module = FleetModule(
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
