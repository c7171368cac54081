# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_server_options
short_description: What a module is to be told to run declared vLLM servers
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Turns instances in their normal form into the option O(private_llm.fleet.vllm_servers#module:servers) of
    M(private_llm.fleet.vllm_servers).
options:
  _input:
    description: Instances as P(private_llm.fleet.vllm_instances#filter) gives them.
    type: list
    elements: dict
    required: true
  settings:
    description:
      - Options that are the same for all servers, such as C(drain_timeout).
      - C(allow_unauthenticated) is a list of the names of servers for which it is set.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Run the servers
  private_llm.fleet.vllm_servers:
    servers: "{{ vllm_server_instances | private_llm.fleet.vllm_instances
      | private_llm.fleet.vllm_server_options({'drain_timeout': 300}) }}"
"""

RETURN = r"""
_value:
  description: One mapping of options for each server. A server that is to be absent has only its name and its state.
  type: list
  elements: dict
"""

import typing as t

from ..module_utils._vllm.declaration._instances import server_options
from ..plugin_utils._filter_input import demand, normal_form
from ..plugin_utils._host_vars import ANY, MAPPING


def vllm_server_options(instances: t.Any, settings: t.Any = None) -> list[dict[str, t.Any]]:
    """Return the servers as the options of the module that runs them."""
    shared = demand({} if settings is None else settings, MAPPING, "settings")
    if "allow_unauthenticated" in shared:
        shared["allow_unauthenticated"] = demand(shared["allow_unauthenticated"], [ANY], "allow_unauthenticated")
    return server_options(normal_form(instances), shared)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"vllm_server_options": vllm_server_options}
