# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: open_webui_other_keys
short_description: Hosts with the database of this one and another secret key
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Open WebUI on several hosts can have one database. A session of the one is refused by the other when their secret
    keys differ.
  - Reads C(open_webui_database_url) and C(open_webui_secret_key) of the other hosts. A host without a key makes one of
    its own.
  - A database that is named by a loopback address is another one on each host.
positional: hostvars, host, database_url, secret_key
options:
  _input:
    description: Names of the hosts that may share the database.
    type: list
    elements: str
    required: true
  host:
    description: Name of this host, which is left out.
    type: str
    required: true
  database_url:
    description: The database of this host. Empty is SQLite, which no other host has.
    type: str
    required: true
  secret_key:
    description: The key of this host. Empty is one that the host makes.
    type: str
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Check that all hosts have one secret key
  ansible.builtin.assert:
    that: others | length == 0
  vars:
    others: "{{ groups['webui_hosts'] | private_llm.fleet.open_webui_other_keys(hostvars, inventory_hostname,
      open_webui_database_url, open_webui_secret_key) }}"
"""

RETURN = r"""
_value:
  description: The names of these hosts, in their order, each once.
  type: list
  elements: str
"""

import re
import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE, of_hosts

_OF_EACH_HOST = re.compile(r"host\.docker\.internal|localhost|@127\.")


def open_webui_other_keys(
    hosts: t.Any, hostvars: t.Any, host: t.Any, database_url: t.Any, secret_key: t.Any
) -> list[str]:
    """Return the hosts with the same database and another key."""
    own, database = demand(host, LINE, "host"), demand(database_url, LINE, "database_url")
    key = demand(secret_key, LINE, "secret_key")
    if not database or _OF_EACH_HOST.search(database):
        return []
    return [
        name
        for name, other in of_hosts(demand(hosts, [LINE], "hosts"), hostvars).items()
        if name != own
        and other.read("open_webui_database_url", LINE) == database
        and (not key or other.read("open_webui_secret_key", LINE) != key)
    ]


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"open_webui_other_keys": open_webui_other_keys}
