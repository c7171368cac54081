# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.monitoring._targets import targets

DOCUMENTATION = r"""
name: monitoring_targets
short_description: What a Prometheus asks for metrics
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Derives from the declarations of all hosts the servers, gateways and hosts that give metrics, as
    P(private_llm.fleet.monitoring#role) has them in C(monitoring_targets). What is declared decides, not what runs
    today.
positional: hostvars, monitoring_host
options:
  _input:
    description:
      - The names of hosts in C(gpu_hosts), C(webui_hosts), C(gateway_hosts) and C(monitoring_hosts); the inventory's
        C(groups) will do.
    type: dict
    required: true
  monitoring_host:
    description: Inventory name of the host that Prometheus runs on. Empty where that is none of the fleet.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show what the Prometheus of this host asks
  ansible.builtin.debug:
    msg: "{{ groups | private_llm.fleet.monitoring_targets(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each server that is to run, each gateway and each host, with C(kind) (C(server), C(gateway) or
      C(host)), C(name), C(url), C(host), C(server), C(model), C(gpus), C(gpu_count), and in C(unreachable) why it
      cannot be asked.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"monitoring_targets": targets}
