# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_driver_problems
short_description: Name the vLLM servers whose image wants a newer NVIDIA driver
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Tells, from the names of the images alone, which servers cannot start with the driver of their host, so that it is
    known before an image is pulled.
  - Says nothing of images whose name does not tell what they hold, and of servers on the CPU.
positional: driver
options:
  _input:
    description: What P(private_llm.fleet.vllm_instances#filter) returns.
    type: list
    elements: dict
    required: true
  driver:
    description:
      - The version of the driver, as M(private_llm.fleet.gpu_info) returns it. Null is no driver, of which nothing is
        said.
    type: str
    required: true
  host:
    description: The name of the host, for the sentences.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Look at the GPUs
  private_llm.fleet.gpu_info:
  register: gpu

- name: Stop before anything is pulled when the driver is too old
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: >-
      {{ vllm_server_instances | private_llm.fleet.vllm_instances
      | private_llm.fleet.vllm_driver_problems(gpu.driver_version, host=inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: One sentence for each server, with what to do; empty when all is well.
  type: list
  elements: str
"""

import typing as t

from ..module_utils._vllm.container._driver import driver_problems
from ..plugin_utils._filter_input import demand, normal_form, optional
from ..plugin_utils._host_vars import LINE


def vllm_driver_problems(instances: t.Any, driver: t.Any, host: t.Any) -> list[str]:
    return driver_problems(normal_form(instances), optional(driver, LINE, "driver"), demand(host, LINE, "host"))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vllm_driver_problems": vllm_driver_problems}
