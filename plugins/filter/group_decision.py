# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.groups._steps import GROUP, decide

DOCUMENTATION = r"""
name: group_decision
short_description: What is to be done with a server over several hosts
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Decides from what M(private_llm.fleet.vllm_group_member) told with C(step=look) on each node. All nodes decide
    alike, because they read the same.
positional: hostvars
extends_documentation_fragment:
  - private_llm.fleet.hostvars.member
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.set_fact:
    fleet_group: "{{ fleet_member | private_llm.fleet.group_decision(hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - C(action) is V(prove), V(change), V(undo) or V(keep) after a run that was cut off, V(take_over) where such a run
      still claims the server, or V(leave) where something stands in the way.
    - C(reasons) are sentences, and C(running) says whether all members run now.
  type: dict
"""


def group_decision(member: t.Any, hostvars: t.Any) -> dict[str, t.Any]:
    """Return what is to be done with the group of a member."""
    return decide(demand(member, GROUP, "member"), hostvars)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_decision": group_decision}
