# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_engine_state
short_description: Whether a host's Docker engine is as it is declared, and what stands in the way
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Compares what M(private_llm.fleet.docker_engine_info) found with what the role
    P(private_llm.fleet.docker_engine#role) is to bring about.
  - Tells what cannot be done on the host, and what to do about that.
positional: wanted
options:
  _input:
    description: What M(private_llm.fleet.docker_engine_info) returns.
    type: dict
    required: true
  wanted:
    description:
      - What the role's variables say, with the keys C(path), C(source), C(packages), C(live_restore), C(proxies)
        (whether there are any) and C(enabled); and what the host is, with the keys C(host), C(distribution),
        C(release) (its major version), C(family) and C(service_mgr).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the engine
  private_llm.fleet.docker_engine_info:
    settings: {live-restore: true}
  register: look

- name: Stop where the engine cannot be brought to its state
  ansible.builtin.assert:
    that: state.problems | length == 0
    fail_msg: "{{ state.problems | join('\n') }}"
  vars:
    state: "{{ look | private_llm.fleet.docker_engine_state(wanted) }}"
    wanted:
      host: "{{ inventory_hostname }}"
      path: /etc/docker/daemon.json
      source: distribution
      packages: [docker.io]
      live_restore: true
      proxies: false
      enabled: true
      distribution: "{{ ansible_facts['distribution'] }}"
      release: "{{ ansible_facts['distribution_major_version'] }}"
      family: "{{ ansible_facts['os_family'] }}"
      service_mgr: "{{ ansible_facts['service_mgr'] }}"
"""

RETURN = r"""
_value:
  description: C(there), whether there is an engine; C(settled), whether nothing is to be done; and C(problems), a
    sentence for each thing that cannot be done.
  type: dict
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.hosts._docker_engine import LOOK, WANTED, state_of


def docker_engine_state(look: t.Any, wanted: t.Any) -> dict[str, t.Any]:
    """Return what the role makes of a look."""
    return state_of(demand(look, LOOK, "look"), demand(wanted, WANTED, "wanted"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"docker_engine_state": docker_engine_state}
