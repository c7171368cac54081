# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.groups._steps import GROUP, progress

DOCUMENTATION = r"""
name: group_progress
short_description: How far the start of a server over several hosts has come
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Decides from what M(private_llm.fleet.vllm_group_member) told with C(step=wait) on each node. The
    head alone can say that the server is ready, and any member that ended ends all of them.
positional: hostvars
extends_documentation_fragment:
  - private_llm.fleet.hostvars.member
"""

EXAMPLES = r"""
- name: See how far the group is
  ansible.builtin.set_fact:
    fleet_group_start: "{{ fleet_member | private_llm.fleet.group_progress(hostvars) }}"
"""

RETURN = r"""
_value:
  description:
    - C(verdict) is V(ready), V(waiting) or V(failed); C(wait) is for how many seconds the head is waited for next.
  type: dict
"""


def group_progress(member: t.Any, hostvars: t.Any) -> dict[str, t.Any]:
    """Return how far the start of the group of a member has come."""
    return progress(demand(member, GROUP, "member"), hostvars)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_progress": group_progress}
