# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.groups._steps import GROUP, obstacles

DOCUMENTATION = r"""
name: group_obstacles
short_description: What stands between the nodes of a server over several hosts
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Collects what M(private_llm.fleet.vllm_group_member) told with C(step=reach) on each node.
positional: hostvars
extends_documentation_fragment:
  - private_llm.fleet.hostvars.member
"""

EXAMPLES = r"""
- name: Collect what stands between the nodes
  ansible.builtin.set_fact:
    fleet_group_obstacles: "{{ fleet_member | private_llm.fleet.group_obstacles(hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - One mapping for each node that does not reach another one, with C(host), C(where), C(kind), C(text) and
      C(sentence).
  type: list
  elements: dict
"""


def group_obstacles(member: t.Any, hostvars: t.Any) -> list[dict[str, str]]:
    """Return what stands between the nodes of a member's group."""
    return [one.as_result() for one in obstacles(demand(member, GROUP, "member"), hostvars)]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_obstacles": group_obstacles}
