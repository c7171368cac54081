# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._options import problem_lines

DOCUMENTATION = r"""
name: gateway_problems
short_description: What is wrong with the declarations of a gateway
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Finds users without a model or with one that no server serves, served names of two different models, and more.
positional: users, webs, open_webui, binds
options:
  _input:
    description: The servers, as C(gateway_servers) of P(private_llm.fleet.gateway#role).
    type: list
    elements: dict
    required: true
  users:
    description: The users, as C(gateway_users).
    type: list
    elements: dict
    required: true
  webs:
    description: The web interfaces behind the gateway, as C(gateway_webs).
    type: list
    elements: dict
    default: []
  open_webui:
    description: Whether there must be one, C(gateway_open_webui).
    type: bool
    default: false
  binds:
    description: Addresses on which the gateway listens, by the variables that give them, such as C(gateway_bind).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Check the declarations
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    problems: "{{ gateway_servers | private_llm.fleet.gateway_problems(gateway_users) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable to change; empty when all is well.
  type: list
  elements: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_problems": problem_lines}
