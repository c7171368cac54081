# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.plugin_utils._fleet import connections

DOCUMENTATION = r"""
name: fleet_connections
short_description: Open WebUI connections to every vLLM server of a fleet
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Derives from each host's C(vllm_server_endpoints) the connections that an Open WebUI is to have.
  - A server on Open WebUI's own host is reached through the gateway to the host.
  - Servers with one served model name are told apart by a prefix.
positional: web_host
options:
  _input:
    description: Each host's name, mapped to its list of endpoints.
    type: dict
    required: true
  web_host:
    description: Inventory name of the host that Open WebUI runs on.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the connections that this web host is to have
  ansible.builtin.debug:
    msg: "{{ endpoints | private_llm.fleet.fleet_connections(inventory_hostname) }}"
  vars:
    endpoints:
      gpu-01: "{{ hostvars['gpu-01'].vllm_server_endpoints }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each running server, with C(host), C(server), C(url), C(key_file), C(prefix_id) and C(models).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Names to functions."""
        return {"fleet_connections": connections}
