# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand, normal_form
from ..plugin_utils._firewall import GROUPS, More, rules
from ..plugin_utils._host_vars import LINE, WHOLE

DOCUMENTATION = r"""
name: firewall_rules
short_description: Who may reach the servers of a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Derives from the inventory who asks the servers of a host, and the members of servers over several hosts that it
    runs, as M(private_llm.fleet.host_firewall) takes it.
  - Servers are asked by the hosts in C(gateway_hosts), by those in C(webui_hosts) where there is no gateway, and by
    those in C(monitoring_hosts). Members are asked by the other nodes.
positional: groups, hostvars, host
options:
  _input:
    description: The servers of the host, as P(private_llm.fleet.with_members#filter) returns them.
    type: list
    elements: dict
    required: true
  groups:
    description: The groups of the inventory, C(groups).
    type: dict
    required: true
  host:
    description: Inventory name of the host.
    type: str
    required: true
  sources:
    description: More addresses, networks and names that may ask the servers.
    type: list
    elements: str
    default: []
  open_ports:
    description: Ports of other programs of the host, in the range of those that members listen at, which stay open.
    type: list
    elements: int
    default: []
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show who may reach the servers of this host
  ansible.builtin.debug:
    msg: "{{ servers | private_llm.fleet.firewall_rules(groups, hostvars, inventory_hostname) }}"
  vars:
    servers: "{{ vllm_server_instances | private_llm.fleet.vllm_instances
      | private_llm.fleet.with_members(vllm_server_members) }}"
"""

RETURN = r"""
_value:
  description: The rules, as O(private_llm.fleet.host_firewall#module:rules).
  type: list
  elements: dict
"""


def firewall_rules(
    servers: t.Any, groups: t.Any, hostvars: t.Any, host: t.Any, sources: t.Any = (), open_ports: t.Any = ()
) -> list[dict[str, t.Any]]:
    """Return the rules of a host."""
    named = demand(groups, {name: [LINE] for name in GROUPS}, "groups")
    more = More(demand(sources, [LINE], "sources"), demand(open_ports, [WHOLE], "open_ports"))
    return rules(normal_form(servers), named, hostvars, demand(host, LINE, "host"), more)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"firewall_rules": firewall_rules}
