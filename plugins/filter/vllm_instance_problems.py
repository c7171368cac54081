# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_instance_problems
short_description: Everything that is wrong with the vLLM servers declared for a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks at one host's C(vllm_server_instances) alone, without the host, and lists all problems at once.
  - Finds mistyped keys, missing and malformed values, two servers with one name or port, servers that together take
    more than all of a GPU, and a server that anyone on the network could use.
options:
  _input:
    description: The value of C(vllm_server_instances) of one host.
    type: raw
    required: true
  host:
    description: The name of the host, put in front of every problem when given.
    type: str
    default: ""
  allow_unauthenticated:
    description: Names of instances that may be reachable without an API key.
    type: list
    elements: str
    default: []
  defaults:
    description: The same as for P(private_llm.fleet.vllm_instances#filter).
    type: dict
"""

EXAMPLES = r"""
- name: Stop before anything is touched when the servers are declared wrongly
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: >-
      {{ vllm_server_instances | private_llm.fleet.vllm_instance_problems(host=inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: One sentence for each problem, naming the key to change; empty when all is well.
  type: list
  elements: str
"""

import typing as t

from ..module_utils._vllm.declaration._instances import instance_problems
from ..plugin_utils._filter_input import optional
from ..plugin_utils._host_vars import LINE, one_line, unevaluated


def vllm_instance_problems(
    instances: object,
    host: t.Any = "",
    allow_unauthenticated: t.Any = (),
    defaults: t.Any = None,
) -> list[str]:
    name = optional(host, LINE, "host") or ""
    found = unevaluated(instances, "vllm_server_instances")
    found += [(place.replace(".", "_", 1), text) for place, text in unevaluated(defaults, "vllm_server")]
    if found:
        prefix = f"{name}: " if name else ""
        return [one_line(f"{prefix}{where}: {text}") for where, text in found]
    return instance_problems(instances, name, allow_unauthenticated, defaults)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vllm_instance_problems": vllm_instance_problems}
