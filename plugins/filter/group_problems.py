# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE
from ..plugin_utils.groups._judge import problems

DOCUMENTATION = r"""
name: group_problems
short_description: What is wrong with the servers over several hosts of an inventory
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks at the declarations alone. Nothing is said of a server that has no node in the run.
positional: hostvars, in_run
options:
  _input:
    description: Names of the GPU hosts.
    type: list
    elements: str
    required: true
  in_run:
    description: Names of the hosts that this run deals with.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Find out what is wrong
  ansible.builtin.debug:
    msg: "{{ groups['gpu_hosts'] | private_llm.fleet.group_problems(hostvars, ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: One mapping for each problem, with C(host), C(where), C(kind), C(text) and C(sentence).
  type: list
  elements: dict
"""


def group_problems(hosts: t.Any, hostvars: t.Any, in_run: t.Any) -> list[dict[str, str]]:
    """Return the problems of the groups as data."""
    return [one.as_result() for one in problems(hosts, hostvars, demand(in_run, [LINE], "in_run"))]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_problems": group_problems}
