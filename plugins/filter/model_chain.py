# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_chain
short_description: The place of a host among those that want the same models
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Orders the hosts that want one release. Those that have it come first, then those that lack it in the order of the
    input, hosts of one rack together. Each gets it from the one before it, and the first of all from the hub.
  - Reads a fact of each host, which P(private_llm.fleet.model_offer#filter) makes.
positional: hostvars, host, looked, fact
options:
  _input:
    description: The hosts of the play, in their order.
    type: list
    elements: str
    required: true
  host:
    description: The host whose place is wanted.
    type: str
    required: true
  looked:
    description: Results of M(private_llm.fleet.model_snapshot) on that host, one for each model, with the model as
      C(item).
    type: list
    elements: dict
    required: true
  fact:
    description: The name of the fact in which each host says what it wants and lacks.
    type: str
    default: model_download_offer
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Find the place of this host
  ansible.builtin.set_fact:
    place: "{{ ansible_play_batch | private_llm.fleet.model_chain(hostvars, inventory_hostname, looked.results) }}"
"""

RETURN = r"""
_value:
  description: C(peers), for each repository the addresses to get it from, the nearest first; C(serve), the releases
    that other hosts may want from this one; C(members), the addresses of all hosts that it shares a release with.
  type: dict
"""

import typing as t

from ..plugin_utils._chain import FACT, chain_of
from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import ANY, LINE


def model_chain(hosts: t.Any, hostvars: t.Any, host: t.Any, looked: t.Any, fact: t.Any = FACT) -> dict[str, t.Any]:
    """Return the place of a host."""
    return chain_of(
        demand(hosts, [LINE], "hosts"),
        hostvars,
        demand(host, LINE, "host"),
        demand(looked, [ANY], "looked"),
        demand(fact, LINE, "fact"),
    )


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"model_chain": model_chain}
