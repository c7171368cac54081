# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._bundle_wants import wanted

DOCUMENTATION = r"""
name: bundle_wanted
short_description: What a bundle must hold for a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Lists images, models, packages and libraries by kind and name, as the option
    O(private_llm.fleet.bundle_verify#module:wanted) takes them.
options:
  _input:
    description: What the playbooks keep of a host as C(fleet_wants).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look whether the bundle has what this host needs
  private_llm.fleet.bundle_verify:
    path: /srv/bundle
    wanted: "{{ fleet_wants | private_llm.fleet.bundle_wanted }}"
"""

RETURN = r"""
_value:
  description: Entries with C(kind) and C(name).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"bundle_wanted": wanted}
