# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._firewall._rules import (
    Rule,
    chosen_range,
    networks,
    render,
)


def nets(*sources: str) -> tuple:
    return tuple(one for source in sources for one in networks(source, lambda name: [name]))


def test_the_table_lets_in_the_sources_and_nobody_else():
    rule = Rule("servers", (18006, 18005), nets("192.0.2.30", "10.0.0.5/24", "2001:db8::1"), containers=True)
    assert (
        render([rule]).partition("table inet private_llm {\n")[2].expandtabs(4)
        == """\
    chain servers {
        iifname "docker0" accept
        ip saddr { 10.0.0.0/24, 192.0.2.30 } accept
        ip6 saddr { 2001:db8::1 } accept
        counter drop
    }
    chain ports {
        type filter hook prerouting priority -150; policy accept;
        iifname "lo" accept
        fib daddr type != local accept
        tcp flags & (fin | syn | rst | ack) != syn accept
        tcp dport { 18005, 18006 } jump servers
    }
}
"""
    )


def test_the_table_is_replaced_in_one_step():
    lines = render([]).splitlines()
    assert lines[1:4] == ["table inet private_llm", "delete table inet private_llm", "table inet private_llm {"]


def test_ports_that_the_kernel_chooses_are_one_range_with_what_stays_open_before_it():
    rule = Rule("members", (40000, 29501), nets("10.0.0.1"), chosen=(32768, 60999), open_ports=(50022, 50022))
    text = render([Rule("servers", (33000,), ()), rule])
    at = [
        text.index("tcp dport { 33000 } jump servers"),
        text.index("tcp dport { 50022 } accept"),
        text.index("tcp dport { 29501, 32768-60999 } jump members"),
    ]
    # A server in that range has its own rule, and sshd there is never locked out.
    assert at == sorted(at)
    assert "docker0" not in text


def test_a_rule_without_ports_is_left_out():
    assert "jump" not in render([Rule("servers", (), nets("10.0.0.1"))])


def test_a_rule_without_sources_lets_in_the_host_alone():
    assert "saddr" not in render([Rule("servers", (18005,), ())])


def test_networks_that_hold_one_another_are_one():
    assert "ip saddr { 10.0.0.0/8 } accept" in render([Rule("servers", (1,), nets("10.0.0.7", "10.0.0.0/8"))])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.7", ["192.0.2.7/32"]),
        ("192.0.2.7/24", ["192.0.2.0/24"]),
        ("gw-01", ["192.0.2.30/32", "2001:db8::30/128"]),
    ],
)
def test_a_source_is_an_address_a_network_or_a_name(source, expected):
    found = networks(source, lambda name: ["2001:db8::30", "192.0.2.30", "192.0.2.30"])
    assert [str(one) for one in found] == expected


def test_the_range_is_read_as_the_kernel_writes_it():
    assert chosen_range("32768\t60999\n") == (32768, 60999)
