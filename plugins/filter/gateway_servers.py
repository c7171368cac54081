# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._derive import servers

DOCUMENTATION = r"""
name: gateway_servers
short_description: The servers that a gateway stands in front of
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Derives from the declarations of all hosts the servers of a fleet, as P(private_llm.fleet.gateway#role) has them in
    C(gateway_servers). What is declared decides, not what runs or answers today.
  - What a server measured of itself is added, where its host told it in C(vllm_server_endpoints).
positional: hostvars, gateway_host
options:
  _input:
    description: Names of the hosts with servers.
    type: list
    elements: str
    required: true
  gateway_host:
    description: Inventory name of the host that the gateway runs on.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show the servers behind the gateway of this host
  ansible.builtin.debug:
    msg: "{{ groups['gpu_hosts'] | private_llm.fleet.gateway_servers(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each server that is to run, with C(name), C(host), C(server), C(url), C(models), C(model),
      C(key_file), C(max_concurrency), C(start_seconds) and C(share).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_servers": servers}
