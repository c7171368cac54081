# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import connection_problems

DOCUMENTATION = r"""
name: fleet_connection_problems
short_description: Servers of a fleet that Open WebUI could not reach
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Lists vLLM servers that are bound to a loopback address, although the fleet has an Open WebUI that is to use them.
positional: hostvars, web_hosts
options:
  _input:
    description: Names of the hosts with servers.
    type: list
    elements: str
    required: true
  web_hosts:
    description: Names of the hosts with Open WebUI.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Stop when Open WebUI could not reach a server
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    problems: "{{ groups['gpu_hosts'] | private_llm.fleet.fleet_connection_problems(hostvars, groups['webui_hosts']) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each server, naming the host and the key to change; empty when all is well.
  type: list
  elements: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_connection_problems": connection_problems}
