# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._derive import with_keys

DOCUMENTATION = r"""
name: with_gateway_keys
short_description: The servers of a gateway with their keys
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Adds to each server the first key of its key file. A server whose file could not be read keeps the key that the
    gateway has.
positional: read
options:
  _input:
    description: What P(private_llm.fleet.gateway_servers#filter) returned.
    type: list
    elements: dict
    required: true
  read:
    description: Results of M(ansible.builtin.slurp) in a loop over the servers that have a C(key_file).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the keys where the servers are
  ansible.builtin.slurp:
    src: "{{ item.key_file }}"
  delegate_to: "{{ item.host }}"
  loop: "{{ servers | selectattr('key_file') }}"
  register: keys
  no_log: true

- name: Run the gateway
  ansible.builtin.include_role:
    name: private_llm.fleet.gateway
  vars:
    gateway_servers: "{{ servers | private_llm.fleet.with_gateway_keys(keys.results) }}"
"""

RETURN = r"""
_value:
  description: The servers, each with C(keyed) and C(key).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"with_gateway_keys": with_keys}
