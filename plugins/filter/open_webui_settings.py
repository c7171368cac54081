# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: open_webui_settings
short_description: The settings of Open WebUI that variables of the role open_webui stand for
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Gives what the role P(private_llm.fleet.open_webui#role) writes with
    M(private_llm.fleet.open_webui_config) for the variables that have words of their own.
positional: public_url, default_models
options:
  _input:
    description: How people sign in by LDAP, C(open_webui_ldap). The password of C(bind_dn) is left out.
    type: dict
    required: true
  public_url:
    description: Where people reach Open WebUI, C(open_webui_public_url).
    type: str
    default: ""
  default_models:
    description: The models that a new chat starts with, C(open_webui_default_models).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the settings
  ansible.builtin.debug:
    # → {"ldap.enable": true, "ldap.server.host": "ldap.example.com", "webui.url": "https://chat.example.com"}
    msg: "{{ {'host': 'ldap.example.com'} | private_llm.fleet.open_webui_settings('https://chat.example.com') }}"
"""

RETURN = r"""
_value:
  description: Open WebUI's settings by their names. Empty where the variables say nothing.
  type: dict
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE, MAPPING
from ..plugin_utils.hosts._open_webui import LDAP, settings_of


def open_webui_settings(ldap: t.Any, public_url: t.Any = "", default_models: t.Any = ()) -> dict[str, t.Any]:
    """Return the settings that the variables stand for."""
    models = demand(default_models, [LINE], "default_models")
    said, read = demand(ldap, MAPPING, "ldap"), demand(ldap, LDAP, "ldap")
    given = {key: read[key] for key in LDAP if key in said}
    return settings_of(given, demand(public_url, LINE, "public_url"), models)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"open_webui_settings": open_webui_settings}
