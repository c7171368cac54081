# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._page import page

DOCUMENTATION = r"""
name: fleet_page
short_description: The fleet as an HTML page
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Puts what the info modules found on the hosts of a fleet into one page that needs nothing from anywhere, with charts
    of GPU memory, capacity and load. It follows the reader's choice of light or dark.
  - The playbook C(private_llm.fleet.report) gathers and writes it.
positional: hostvars, when
options:
  _input:
    description: The names of the hosts in C(gpu_hosts) and in C(webui_hosts).
    type: dict
    required: true
  when:
    description: When the hosts were asked.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: "{{ groups | private_llm.fleet.fleet_page(hostvars, '2026-01-31 08:00 UTC') }}"
    dest: /srv/www/fleet.html
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_page": page}
