# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An IPv6 address in brackets is an address wherever the address of a host is read."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils import _firewall
from ansible_collections.private_llm.fleet.plugins.plugin_utils._host_vars import HostVars
from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _derive, _web
from ansible_collections.private_llm.fleet.plugins.plugin_utils.groups import _members


@pytest.mark.parametrize(
    ("variables", "address"),
    [({"ansible_host": "[fd00::1]"}, "fd00::1"), ({"ansible_host": "gpu-01.lan"}, "gpu-01.lan"), ({}, "gpu-01")],
)
def test_the_address_of_a_host(variables: dict[str, t.Any], address: str) -> None:
    host = HostVars("gpu-01", variables)
    assert host.address() == address
    assert _members.address_of(host) == address
    assert _firewall.address_of_client(host) == address
    assert _derive.endpoint_of(host).host == address


def test_a_stated_address_may_have_brackets_as_well() -> None:
    host = HostVars("gpu-01", {"vllm_server_group_address": "[fd00::2]", "gateway_address": "[fd00::3]"})
    assert _members.address_of(host) == "fd00::2"
    assert _firewall.address_of_client(host) == "fd00::3"
    assert _web.alternative_names(["[fd00::3]"]) == ["IP:fd00::3"]
