# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_groups
short_description: The groups of an inventory whose hosts are the fleet
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Names the groups for a play on every host of the fleet. An optional group that the inventory lacks is left out, so
    that Ansible does not warn of it.
options:
  _input:
    description: Ansible's C(groups), the hosts of each group by its name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at every host of the fleet
  hosts: "{{ groups | private_llm.fleet.fleet_groups }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: V(gpu_hosts) and V(webui_hosts), then V(gateway_hosts) and V(monitoring_hosts) where they are there.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand

ALWAYS = ("gpu_hosts", "webui_hosts")
OPTIONAL = ("gateway_hosts", "monitoring_hosts")


def fleet_groups(groups: t.Any) -> list[str]:
    """Return the names of the fleet's groups, in the order of the flow."""
    demand(groups, {}, "groups")
    return [*ALWAYS, *(name for name in OPTIONAL if name in groups)]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_groups": fleet_groups}
