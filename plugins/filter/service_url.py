# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._endpoint import EndpointError, listening, parse
from ..plugin_utils._filter_input import demand, demand_port
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: service_url
short_description: URL by which others reach a service of a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts the URL together. An IPv6 address gets the brackets that it needs there.
positional: _input, port, scheme, bind
options:
  _input:
    description: The name or address of the host, such as V(gpu-01), V(192.0.2.7) or V(2001:db8::7).
    type: str
    required: true
  port:
    description: The port of the service.
    type: int
    required: true
  scheme:
    description: How the service is spoken to.
    type: str
    choices: [http, https]
    default: http
  bind:
    description: The IP address on which the service listens. One that listens on a single address is reached there,
      unless that is a loopback address.
    type: str
    default: 0.0.0.0
"""

EXAMPLES = r"""
- name: Show where the gateway is
  ansible.builtin.debug:
    # → https://[2001:db8::7]:8000
    msg: "{{ '2001:db8::7' | private_llm.fleet.service_url(8000, 'https') }}"
"""

RETURN = r"""
_value:
  description: The URL, without a slash at its end.
  type: str
"""


ALL = "0.0.0.0"  # noqa: S104 - nothing is bound here; it says where a service listens


def service_url(address: t.Any, port: t.Any, scheme: t.Any = "http", bind: t.Any = ALL) -> str:
    """Return the URL by which others reach what listens on ``bind`` and ``port`` of the host at ``address``."""
    number = demand_port(port)
    name = demand(scheme, LINE, "scheme")
    try:
        endpoint = listening(name, demand(bind, LINE, "bind"), number, demand(address, LINE, "address"))
        if parse(endpoint.url).path:
            raise EndpointError("names a host with a slash in it")
    except EndpointError as error:
        raise AnsibleFilterError(f"the URL of port {number}: {error}") from None
    return endpoint.url


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"service_url": service_url}
