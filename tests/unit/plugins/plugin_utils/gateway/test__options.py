# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _options

SERVER = {"name": "a", "url": "http://10.0.0.1:18005", "models": ["big"]}
ANN = {"name": "ann", "models": ["big"]}


def problems(**binds: t.Any) -> list[str]:
    return _options.problem_lines([SERVER], [ANN], [], False, binds)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.1", "fd00::1", "127.0.0.1"])
def test_an_address_of_a_gateway_may_be_any_ip_address(bind: str) -> None:
    assert problems(gateway_bind=bind, gateway_metrics_bind=bind) == []


@pytest.mark.parametrize(
    "bind", ["eth0", "[::]", "fe80::1%lo", "*", "gw.example.com", "10.0.0.1:443", "", 443, None, []]
)
def test_what_is_no_address_is_told_before_haproxy_refuses_it(bind: t.Any) -> None:
    (said,) = problems(gateway_bind="::", gateway_metrics_bind=bind)
    assert "gateway_metrics_bind" in said
    assert "give an IP address of the host without brackets or zone" in said
