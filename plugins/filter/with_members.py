# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand, normal_form
from ..plugin_utils._host_vars import ANY
from ..plugin_utils.groups._members import with_members as put_together

DOCUMENTATION = r"""
name: with_members
short_description: The servers of a host with its members of servers over several hosts
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts each member in the place of its declaration, and members of servers that other hosts declare last.
positional: members
options:
  _input:
    description: Servers as P(private_llm.fleet.vllm_instances#filter) gives them.
    type: list
    elements: dict
    required: true
  members:
    description: The members of this host, of P(private_llm.fleet.group_members#filter).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the containers that this host is to run
  ansible.builtin.debug:
    msg: "{{ vllm_server_instances | private_llm.fleet.vllm_instances
      | private_llm.fleet.with_members(vllm_server_members) }}"
"""

RETURN = r"""
_value:
  description: All servers and members of the host in the form of P(private_llm.fleet.vllm_instances#filter).
  type: list
  elements: dict
"""


def with_members(instances: t.Any, members: t.Any) -> list[dict[str, t.Any]]:
    """Return a host's servers with its members."""
    return put_together(normal_form(instances), normal_form(demand(members, [ANY], "members")))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"with_members": with_members}
