# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._bundle_wants import lines

DOCUMENTATION = r"""
name: bundle_lines
short_description: What a bundle is, or would be, for people
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - A line for each thing with its size. In check mode, sizes come from the lists of hubs, registries and repositories.
positional: _input, hosts, packages
options:
  _input:
    description: The result of M(private_llm.fleet.bundle_make).
    type: dict
    required: true
  hosts:
    description: What the playbook keeps of each host as C(fleet_needs).
    type: list
    elements: dict
    required: true
  packages:
    description: In check mode, the result of M(private_llm.fleet.bundle_packages) for each platform.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what the bundle is
  ansible.builtin.debug:
    msg: "{{ made | private_llm.fleet.bundle_lines([], {}) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"bundle_lines": lines}
