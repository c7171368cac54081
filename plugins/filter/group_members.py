# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.groups._members import members

DOCUMENTATION = r"""
name: group_members
short_description: The members of servers over several hosts, by host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - A server with C(nodes) is declared on the first of them. Each node runs one member of it, which is
    returned as if that host had declared it, with the options of vLLM for its place.
positional: hostvars
options:
  _input:
    description: Names of the GPU hosts.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show what each host runs for others
  ansible.builtin.debug:
    msg: "{{ groups['gpu_hosts'] | private_llm.fleet.group_members(hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - By the name of a host, its members in the form of P(private_llm.fleet.vllm_instances#filter), each with C(member).
  type: dict
"""


def group_members(hosts: t.Any, hostvars: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    """Return the members of each host."""
    return members(hosts, hostvars)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_members": group_members}
