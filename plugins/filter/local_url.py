# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._endpoint import EndpointError, here
from ..plugin_utils._filter_input import demand, demand_port
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: local_url
short_description: URL by which a host reaches its own service
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Takes the address on which a service listens, and gives the URL by which the host itself reaches that service.
  - A service that listens on all addresses is reached at the loopback address of the same family.
positional: _input, port
options:
  _input:
    description: The IP address on which the service listens, such as V(0.0.0.0), V(192.0.2.7) or V(::).
    type: str
    required: true
  port:
    description: The port on which it listens.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show where Open WebUI is
  ansible.builtin.debug:
    # → http://127.0.0.1:3000
    msg: "{{ '0.0.0.0' | private_llm.fleet.local_url(3000) }}"
"""

RETURN = r"""
_value:
  description: The URL, without a slash at its end.
  type: str
"""


def local_url(bind: t.Any, port: t.Any) -> str:
    """Return the URL by which a host reaches what listens on ``bind`` and ``port``."""
    number = demand_port(port)
    try:
        return here("http", str(demand(bind, LINE, "bind")), number).url
    except EndpointError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"local_url": local_url}
