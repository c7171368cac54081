# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_offer
short_description: What a host tells the others about the models that it wants
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts together, from what M(private_llm.fleet.model_snapshot) said in check mode, what
    P(private_llm.fleet.model_chain#filter) has to know of each host.
positional: address, port, rack
options:
  _input:
    description: Results of M(private_llm.fleet.model_snapshot), one for each model, with the model as C(item).
    type: list
    elements: dict
    required: true
  address:
    description: The IP address or the name by which the other hosts reach this one. Empty where it neither gives them
      anything nor takes anything from them.
    type: str
    required: true
  port:
    description: The port on which it serves.
    type: int
    required: true
  rack:
    description: The rack of the host. Hosts of one rack are neighbors in a chain.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Tell the other hosts what is here
  ansible.builtin.set_fact:
    model_download_offer: "{{ looked.results | private_llm.fleet.model_offer('192.0.2.10', 8790) }}"
"""

RETURN = r"""
_value:
  description: C(url), C(rack), C(bytes_per_second) of the last download, and C(models), each with C(repo), C(digest),
    C(bytes_missing), C(bytes_total), and C(carried) where it comes from the controller.
  type: dict
"""

import typing as t

from ..module_utils._endpoint import Endpoint, bare
from ..plugin_utils._chain import offer_of
from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import ANY, LINE, WHOLE


def model_offer(looked: t.Any, address: t.Any, port: t.Any, rack: t.Any = "") -> dict[str, t.Any]:
    """Return what a host tells the others."""
    host, number = str(demand(address, LINE, "address")), demand(port, WHOLE, "port")
    url = Endpoint("http", bare(host), number).url if host else ""
    return offer_of(demand(looked, [ANY], "looked"), url, demand(rack, LINE, "rack"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"model_offer": model_offer}
