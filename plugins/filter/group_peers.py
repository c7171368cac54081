# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE
from ..plugin_utils.groups._steps import GROUP, peers

DOCUMENTATION = r"""
name: group_peers
short_description: Where the other nodes of a server over several hosts listen
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Collects what M(private_llm.fleet.vllm_group_member) told with C(step=listen) on each node, for C(step=reach).
positional: hostvars, node
options:
  node:
    description: Name of this host, which is left out.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars.member
"""

EXAMPLES = r"""
- name: Collect where the other nodes listen
  ansible.builtin.set_fact:
    fleet_group_peers: "{{ fleet_member | private_llm.fleet.group_peers(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The C(peers) of the module.
  type: list
  elements: dict
"""


def group_peers(member: t.Any, hostvars: t.Any, node: t.Any) -> list[dict[str, t.Any]]:
    """Return where the other nodes of a member's group listen."""
    return peers(demand(member, GROUP, "member"), hostvars, demand(node, LINE, "node"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_peers": group_peers}
