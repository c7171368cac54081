# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import key_problems

DOCUMENTATION = r"""
name: fleet_key_problems
short_description: Servers of a fleet whose key could not be read
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Says of which servers no key could be read for Open WebUI, and why. It never quotes what the file holds.
options:
  _input:
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
  ignore_errors: true
  no_log: true

- name: Show which could not be read
  ansible.builtin.debug:
    msg: "{{ keys.results | private_llm.fleet.fleet_key_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each server, beginning with its host.
  type: list
  elements: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_key_problems": key_problems}
