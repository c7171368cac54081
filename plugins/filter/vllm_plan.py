# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_plan
short_description: What will change on the vLLM servers of a host, what they will hold, and what stands in the way
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts together what was declared and what was found on a host. The role P(private_llm.fleet.vllm_server#role) uses it
    with C(tasks_from=plan).
positional: looked, host
options:
  _input:
    description: The servers, as P(private_llm.fleet.vllm_instances#filter) returns them.
    type: list
    elements: dict
    required: true
  looked:
    description: The results of M(private_llm.fleet.vllm_server) in check mode over these servers.
    type: list
    elements: dict
    required: true
  host:
    description: What M(private_llm.fleet.vllm_host_info) returned.
    type: dict
    required: true
  models:
    description: The C(model_download_plan) of the role P(private_llm.fleet.model_download#role).
    type: dict
    default: {}
  archive:
    description: The archive that images come from, when they do.
    type: str
    default: ""
  refused:
    description: Why M(private_llm.fleet.vllm_servers) refused. What the plan found by itself is told once.
    type: list
    elements: str
    default: []
  tried:
    description: The C(servers) that M(private_llm.fleet.vllm_dry_fit) returned, where it was asked.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Stop when something stands in the way
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | map(attribute='sentence') | join('\n') }}"
  vars:
    plan: "{{ servers | private_llm.fleet.vllm_plan(looked.results, host) }}"
"""

RETURN = r"""
_value:
  description:
    - C(servers) has a row for each server. C(actions) and C(changes) say what will be done and which option causes it,
      C(bytes_to_fetch) what comes from the hub, C(verdict), C(kv_tokens), C(max_concurrency) and C(max_model_len) what
      it will hold, C(estimated) whether that rests on an estimate, C(measured) what it measured when nothing changes,
      C(dry_fit) what a start with made-up weights came to,
      C(nearest) what would fit where it does not, and C(outage_seconds) how long it will not answer.
    - C(problems) have C(where), the variable, C(kind), C(text) and all of it as a C(sentence). C(notes) are such as do
      not stop anything; what a host told in a form that cannot be read is one.
    - C(gpus) is the kind of the host's GPUs, and C(question) of a server that does not fit what another host has to be
      asked. P(private_llm.fleet.fleet_plan#filter) uses both.
  type: dict
"""

import typing as t

from ..plugin_utils._filter_input import demand, normal_form
from ..plugin_utils._host_vars import LINE
from ..plugin_utils._plan import host_plan


def vllm_plan(
    instances: t.Any,
    looked: t.Any,
    host: t.Any,
    models: t.Any = None,
    archive: t.Any = "",
    refused: t.Any = (),
    tried: t.Any = (),
) -> dict[str, t.Any]:
    """Return the plan of one host; only what people declare is refused, what hosts tell is noted."""
    return host_plan(normal_form(instances), looked, host, models, demand(archive, LINE, "archive"), refused, tried)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"vllm_plan": vllm_plan}
