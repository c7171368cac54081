# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import with_keys

DOCUMENTATION = r"""
name: with_keys
short_description: Open WebUI connections with the keys that were read for them
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Turns the entries of P(private_llm.fleet.fleet_connections#filter) into the options of
    M(private_llm.fleet.open_webui_connection).
positional: keys, static
options:
  _input:
    description: The servers, as P(private_llm.fleet.fleet_connections#filter) gives them.
    type: list
    elements: dict
    required: true
  keys:
    description: Results of M(ansible.builtin.slurp) in a loop over the servers that have a C(key_file).
    type: list
    elements: dict
    required: true
  static:
    description:
      - Whether Open WebUI is told which models each server has, in place of asking the server.
      - It asks all servers each time somebody opens the page, and one that hangs delays the page for everybody.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read the keys where the servers are
  ansible.builtin.slurp:
    src: "{{ item.key_file }}"
  delegate_to: "{{ item.host }}"
  loop: "{{ servers | selectattr('key_file') }}"
  register: keys
  no_log: true

- name: Connect Open WebUI
  private_llm.fleet.open_webui_connection:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    connections: "{{ servers | private_llm.fleet.with_keys(keys.results) }}"
"""

RETURN = r"""
_value:
  description: Entries with C(url), C(prefix_id), C(model_ids) and C(key).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"with_keys": with_keys}
