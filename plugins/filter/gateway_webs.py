# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._web import webs

DOCUMENTATION = r"""
name: gateway_webs
short_description: The Open WebUIs that a gateway serves at names of their own
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Derives from the variables of the web hosts what P(private_llm.fleet.gateway#role) has in C(gateway_webs). A host
    without C(open_webui_public_url) is left out.
positional: hostvars, gateway_host
options:
  _input:
    description: Names of the hosts with Open WebUI.
    type: list
    elements: str
    required: true
  gateway_host:
    description: Inventory name of the host that the gateway runs on.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show which names the gateway serves besides the models
  ansible.builtin.debug:
    msg: "{{ groups['webui_hosts'] | private_llm.fleet.gateway_webs(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: One entry for each host, with C(name), C(url) and C(unreachable), why the gateway could not reach it.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_webs": webs}
