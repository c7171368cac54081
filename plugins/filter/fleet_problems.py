# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_problems
short_description: Why a part of the plan failed, as data
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Takes the result of a failed task, as a rescue section finds it in C(ansible_failed_result).
  - Each line of its messages is a problem, unless the role left its problems as data.
positional: host, role, known
options:
  _input:
    description: The result of a failed task.
    type: dict
    required: true
  host:
    description: Name of the host.
    type: str
    required: true
  role:
    description: Who found the problems. It becomes their C(kind).
    type: str
    required: true
  known:
    description: The problems as data, such as C(vllm_server_plan.problems), where the role left them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Look for problems
  block:
    - name: Look
      ansible.builtin.include_role:
        name: private_llm.fleet.docker_engine
        tasks_from: preflight
  rescue:
    - name: Show what is wrong
      ansible.builtin.debug:
        msg: "{{ ansible_failed_result | private_llm.fleet.fleet_problems(inventory_hostname, 'docker_engine') }}"
"""

RETURN = r"""
_value:
  description:
    - For each problem its C(host), C(where) (the variable, or empty), C(kind), C(text), and all of it as a C(sentence).
  type: list
  elements: dict
"""

import typing as t

from ..plugin_utils._host_vars import ANY, LINE, conform, silent
from ..plugin_utils._problem import Problem, problem_of
from .failure_messages import failure_messages


def fleet_problems(result: t.Any, host: t.Any, role: t.Any, known: t.Any = ()) -> list[dict[str, str]]:
    """Return why a part of the plan failed for a host, as data."""
    name, kind = conform(host, LINE, "host", silent) or "", conform(role, LINE, "role", silent) or ""
    found = [problem_of(one, name) for one in conform(known, [ANY], "known", silent)]
    if not found:
        lines = (line.strip() for message in failure_messages(result) for line in message.split("\n"))
        found = [Problem(name, "", kind, line) for line in lines if line]
    return [problem.as_result() for problem in found]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_problems": fleet_problems}
