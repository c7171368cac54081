# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.gateway._web import alternative_names

DOCUMENTATION = r"""
name: gateway_alternative_names
short_description: Names, addresses and URLs as the alternative names of a certificate
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Of a URL its host is taken. What is empty, or no name of a host, is left out.
options:
  _input:
    description: Names, addresses and URLs.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the names that the certificate would have
  ansible.builtin.debug:
    msg: "{{ [inventory_hostname, 'https://llm.example.com'] | private_llm.fleet.gateway_alternative_names }}"
"""

RETURN = r"""
_value:
  description: Each name once, with C(DNS:) or C(IP:) before it, as C(community.crypto.openssl_csr) takes them.
  type: list
  elements: str
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"gateway_alternative_names": alternative_names}
