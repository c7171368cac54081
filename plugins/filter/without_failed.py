# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: without_failed
short_description: The hosts that did not fail earlier in this run
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Leaves out hosts with the fact C(fleet_failure), which the playbooks of this collection set where a host fails.
  - A check of the syntax and a list of the hosts know no C(hostvars). With C({}) in its place, no host has failed.
positional: hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  lacking:
    description: Leave out hosts with this variable, too; empty keeps them.
    type: str
    default: ''
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Go on with the hosts that did not fail
  hosts: "{{ groups['gpu_hosts'] | default([]) | private_llm.fleet.without_failed(hostvars | default({})) }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: The names of the other hosts, in their order, each once.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import FAILURE, LINE, of_hosts


def without_failed(hosts: t.Any, hostvars: t.Any, lacking: t.Any = "") -> list[str]:
    """Return the hosts that have not failed and whose variables are as asked."""
    unwanted = demand(lacking, LINE, "lacking")
    return [
        name
        for name, host in of_hosts(demand(hosts, [LINE], "hosts"), hostvars).items()
        if not host.has(FAILURE) and not (unwanted and host.has(unwanted))
    ]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"without_failed": without_failed}
