# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..module_utils._vllm.declaration._instances import endpoints
from ..plugin_utils._filter_input import demand, normal_form
from ..plugin_utils._fleet import READY, WATCH
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: vllm_endpoints
short_description: Where the vLLM servers of a host are, and how they are
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Brings together what was declared and what was found, for those who are to use the servers. Nothing in it is secret.
  - Servers that are to be absent are left out.
positional: servers, address
options:
  _input:
    description: The servers of the host in the form that P(private_llm.fleet.vllm_instances#filter) gives.
    type: list
    elements: dict
    required: true
  servers:
    description: What M(private_llm.fleet.vllm_server_info) found on the host.
    type: list
    elements: dict
    required: true
  address:
    description: Name or address by which other hosts reach this one.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ask the servers of this host how they are
  private_llm.fleet.vllm_server_info:
  register: found

- name: Show where they are
  ansible.builtin.debug:
    msg: >-
      {{ vllm_server_instances | private_llm.fleet.vllm_instances
         | private_llm.fleet.vllm_endpoints(found.servers, inventory_hostname) }}
"""

RETURN = r"""
_value:
  description:
    - One mapping for each server, with C(name), C(where) (its place in the declaration), C(address), C(bind), C(port),
      C(scheme) (C(https) where it has a certificate of its own), C(url) (as declared, or empty), C(state),
      C(served_model_names), C(key_file), C(status), C(ready) and C(watch).
  type: list
  elements: dict
"""


_SERVER = {"name!": LINE, "status": LINE, "ready": READY, "watch": WATCH}


def vllm_endpoints(instances: t.Any, servers: t.Any, address: t.Any) -> list[dict[str, t.Any]]:
    """Return what others need to know to use the servers of a host."""
    found = demand(servers, [_SERVER], "servers")
    for server in found:
        server["status"] = server["status"] or "absent"
    return endpoints(normal_form(instances), found, demand(address, LINE, "address"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"vllm_endpoints": vllm_endpoints}
