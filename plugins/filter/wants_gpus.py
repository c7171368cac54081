# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import wants_gpus

DOCUMENTATION = r"""
name: wants_gpus
short_description: Whether a host's vLLM servers want GPUs
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - True when at least one server that is not to be absent names GPUs or a count of them.
options:
  _input:
    description: The value of C(vllm_server_instances) of one host.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Install the container toolkit where a server wants GPUs
  ansible.builtin.include_role:
    name: private_llm.fleet.nvidia_toolkit
  when: vllm_server_instances | private_llm.fleet.wants_gpus
"""

RETURN = r"""
_value:
  description: Whether GPUs are wanted.
  type: bool
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"wants_gpus": wants_gpus}
