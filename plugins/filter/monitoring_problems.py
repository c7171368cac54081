# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.monitoring._files import problem_lines

DOCUMENTATION = r"""
name: monitoring_problems
short_description: What is wrong with the declarations of a monitoring host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Finds targets that cannot be asked from the monitoring host, limits that there are not, and receivers that lack
    what their type needs. No secret is in what it says.
positional: settings
options:
  _input:
    description: The targets, as C(monitoring_targets) of P(private_llm.fleet.monitoring#role).
    type: list
    elements: dict
    required: true
  settings:
    description: C(limits) and C(receivers), as P(private_llm.fleet.monitoring_files#filter) takes them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the declarations
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    problems: "{{ monitoring_targets | private_llm.fleet.monitoring_problems({'receivers': monitoring_receivers}) }}"
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
        return {"monitoring_problems": problem_lines}
