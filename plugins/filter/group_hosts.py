# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: group_hosts
short_description: The hosts that are a node of a server over several hosts
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads the variable C(vllm_server_members) of each host, which P(private_llm.fleet.group_members#filter) makes.
  - A check of the syntax and a list of the hosts know no C(hostvars). With C({}) in its place, no host is a node.
positional: hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Run the servers over several hosts
  hosts: "{{ groups['gpu_hosts'] | private_llm.fleet.group_hosts(hostvars | default({})) }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: The names of these hosts, in their order, each once.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE, MAPPING, of_hosts


def group_hosts(hosts: t.Any, hostvars: t.Any) -> list[str]:
    """Return the hosts with a member of a server."""
    read = of_hosts(demand(hosts, [LINE], "hosts"), hostvars)
    return [name for name, host in read.items() if host.read("vllm_server_members", [MAPPING])]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_hosts": group_hosts}
