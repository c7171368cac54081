# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._waves import batches

DOCUMENTATION = r"""
name: gateway_batches
short_description: Sizes of the batches in which hosts are changed, one replica of a model at a time
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Goes through hosts in their order, and begins a batch where more replicas of a model would be away than may be.
  - The hosts that count are those with C(fleet_stopping), the names of the servers that run today and would change.
positional: hostvars, most
options:
  _input:
    description: Names of the hosts with servers.
    type: list
    elements: str
    required: true
  most:
    description: How many replicas of a model may be away at once.
    type: int
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show in which batches the hosts change
  ansible.builtin.debug:
    msg: "{{ groups['gpu_hosts'] | private_llm.fleet.gateway_batches(hostvars, 1) }}"
"""

RETURN = r"""
_value:
  description: Numbers of hosts, as the keyword C(serial) of a play takes them.
  type: list
  elements: int
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_batches": batches}
