# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._firewall._table import (
    FirewallError,
    Table,
    doors,
    resolve,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._firewall._unit import unit
from ansible_collections.private_llm.fleet.plugins.module_utils._ports import Listener


def table_that(code: int, output: str = "", errors: str = "") -> Table:
    return Table(lambda argv: (code, output, errors), "/usr/sbin/nft", "/usr/bin/unshare")


def test_a_table_that_is_not_there_is_told_from_one_that_cannot_be_read():
    assert table_that(0, "table inet private_llm {\n}\n").live() == "table inet private_llm {\n}\n"
    assert table_that(1, errors="Error: No such file or directory\n").live() == ""
    with pytest.raises(FirewallError, match="Operation not permitted"):
        table_that(1, errors="Operation not permitted (you must be root)").live()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda table: table.tried("/rules"), "refuses the rules, and nothing was changed: syntax error"),
        (lambda table: table.load("/rules"), "those of before stay: syntax error"),
        (lambda table: table.remove(), "cannot remove the table private_llm: syntax error"),
    ],
)
def test_what_nft_says_is_told(step, words):
    with pytest.raises(FirewallError, match=words):
        step(table_that(1, errors="syntax error"))


def test_rules_are_tried_in_a_network_of_their_own():
    asked = []
    table = Table(lambda argv: (asked.append(list(argv)), (0, "made", ""))[1], "/sbin/nft", "/bin/unshare")
    assert table.tried("/rules") == "made"
    assert asked[0][:3] == ["/bin/unshare", "--net", "sh"]
    assert asked[0][-2:] == ["/sbin/nft", "/rules"]


def test_a_name_without_an_address_is_told_with_what_to_do():
    with pytest.raises(FirewallError, match=r"no-such-host\.invalid has no address on this host .* write the address"):
        resolve("no-such-host.invalid")


def test_sshd_keeps_its_door_wherever_it_listens():
    owners = {
        1: "process sshd (pid 7)",
        2: "process systemd (pid 1)",
        3: "process python3 (pid 9)",
        4: "process sshd (pid 8)",
    }
    found = [
        Listener("0.0.0.0", 40022, 1),
        Listener("::", 40023, 2),
        Listener("10.0.0.1", 41000, 3),
        Listener("127.0.0.1", 46010, 4),
    ]
    assert doors(found, owners.__getitem__) == [40022, 40023]


def test_the_unit_follows_the_one_that_flushes_all_tables():
    lines = unit("/usr/sbin/nft", "/etc/private_llm/firewall/rules.nft").splitlines()
    assert {"After=nftables.service", "PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service"} <= set(lines)
    assert "WantedBy=sysinit.target nftables.service" in lines
