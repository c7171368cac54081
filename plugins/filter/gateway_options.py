# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._options import options

DOCUMENTATION = r"""
name: gateway_options
short_description: What M(private_llm.fleet.gateway_config) is given
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Writes a gateway's configuration from its servers, its users and its settings. The same input gives the same files.
positional: users, settings
options:
  _input:
    description: The servers, as C(gateway_servers) of P(private_llm.fleet.gateway#role).
    type: list
    elements: dict
    required: true
  users:
    description: The users, as C(gateway_users).
    type: list
    elements: dict
    required: true
  settings:
    description:
      - Any of C(bind), C(port), C(tls), C(max_body_bytes), C(buffer_bytes), C(queue_seconds), C(max_connections),
        C(webs), C(metrics_bind) and C(metrics_port).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the configuration in place
  private_llm.fleet.gateway_config:
    files: "{{ options.files }}"
    user_keys: "{{ options.user_keys }}"
    server_keys: "{{ options.server_keys }}"
  vars:
    options: "{{ gateway_servers | private_llm.fleet.gateway_options(gateway_users, {'port': 8000}) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: The options C(files), C(user_keys) and C(server_keys); the last two hold secrets.
  type: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_options": options}
