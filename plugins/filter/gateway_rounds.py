# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._waves import rounds

DOCUMENTATION = r"""
name: gateway_rounds
short_description: The servers of a host in rounds, one replica of a model at a time
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts the servers that do not change first, and the others into rounds, so that never more replicas of a model stop
    in one than may be away at once.
positional: changing, stopping, most
options:
  _input:
    description: The servers of the host, as C(vllm_server_instances).
    type: list
    elements: dict
    required: true
  changing:
    description: Names of the servers that will change.
    type: list
    elements: str
    required: true
  stopping:
    description: Names of those among them that run today.
    type: list
    elements: str
    required: true
  most:
    description: How many replicas of a model may be away at once.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show in which order the servers of this host change
  ansible.builtin.debug:
    msg: "{{ vllm_server_instances | private_llm.fleet.gateway_rounds(vllm_server_changing, vllm_server_stopping, 1) }}"
"""

RETURN = r"""
_value:
  description: Names of servers, one list for each round.
  type: list
  elements: list
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_rounds": rounds}
