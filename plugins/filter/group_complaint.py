# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE
from ..plugin_utils.groups._steps import GROUP, complaint

DOCUMENTATION = r"""
name: group_complaint
short_description: Why a server over several hosts did not become ready
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Names the member with a cause of its own first, then what the others say, and then how it ended.
positional: hostvars, ending
options:
  ending:
    description: A sentence on what has become of the server.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars.member
"""

EXAMPLES = r"""
- name: Say why
  ansible.builtin.fail:
    msg: "{{ fleet_member | private_llm.fleet.group_complaint(hostvars, 'All members were stopped.') }}"
"""

RETURN = r"""
_value:
  description: The reason, in some lines.
  type: str
"""


def group_complaint(member: t.Any, hostvars: t.Any, ending: t.Any) -> str:
    """Return why the group of a member failed."""
    return complaint(demand(member, GROUP, "member"), hostvars, demand(ending, LINE, "ending"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_complaint": group_complaint}
