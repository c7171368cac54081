# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._derive import fleet_connections

DOCUMENTATION = r"""
name: fleet_connections
short_description: Open WebUI connections to every vLLM server of a fleet
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Derives from each host's C(vllm_server_endpoints) the connections that an Open WebUI is to have.
  - A server on Open WebUI's own host is reached through the gateway to the host.
  - Servers that serve the same model name are told apart by a prefix, the host's name. What is declared for all hosts
    decides that, so that a run with C(--limit), or one without a host that is down, gives no model another name.
positional: hostvars, web_host, gateway_hosts
options:
  _input:
    description: Names of the hosts with servers. One that has no C(vllm_server_endpoints) gets no connection.
    type: list
    elements: str
    required: true
  web_host:
    description: Inventory name of the host that Open WebUI runs on.
    type: str
    required: true
  gateway_hosts:
    description: Names of the hosts with a gateway. Where there are any, the one connection is to the first of them.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show the servers that this web host is to be connected to
  ansible.builtin.debug:
    msg: "{{ groups['gpu_hosts'] | private_llm.fleet.fleet_connections(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each running server, with C(host), C(server), C(url), C(key_file), C(prefix_id), C(served) and
      C(models), which are the served names with the prefix.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_connections": fleet_connections}
