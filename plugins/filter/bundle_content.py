# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._bundle_wants import content

DOCUMENTATION = r"""
name: bundle_content
short_description: All that goes into a bundle
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Puts together what the hosts of a fleet need, each thing once, as M(private_llm.fleet.bundle_make) takes it.
positional: _input, work
options:
  _input:
    description: What the playbook keeps of each host as C(fleet_needs).
    type: list
    elements: dict
    required: true
  work:
    description: The folder that keeps what was fetched. Without it nothing was fetched, and only the images are named.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make a bundle
  private_llm.fleet.bundle_make:
    path: /srv/bundle
    content: "{{ hosts_of_the_fleet | private_llm.fleet.bundle_content('/srv/bundle.work') }}"
"""

RETURN = r"""
_value:
  description: Entries of O(private_llm.fleet.bundle_make#module:content).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"bundle_content": content}
