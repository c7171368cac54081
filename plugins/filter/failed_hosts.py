# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: failed_hosts
short_description: The hosts that failed in one stage of this run
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads the fact C(fleet_failure), which the playbooks of this collection set where a host fails.
positional: hostvars, stage
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  stage:
    description: The stage, such as V(servers).
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Stop where the servers of another host failed
  ansible.builtin.assert:
    that: groups['gpu_hosts'] | private_llm.fleet.failed_hosts(hostvars, 'servers') | length == 0
"""

RETURN = r"""
_value:
  description: The names of these hosts, in their order, each once.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import FAILURE, LINE, of_hosts


def failed_hosts(hosts: t.Any, hostvars: t.Any, stage: t.Any) -> list[str]:
    """Return the hosts that failed in a stage."""
    wanted = demand(stage, LINE, "stage")
    read = of_hosts(demand(hosts, [LINE], "hosts"), hostvars)
    return [name for name, host in read.items() if host.read(FAILURE, {"stage": LINE}).get("stage") == wanted]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"failed_hosts": failed_hosts}
