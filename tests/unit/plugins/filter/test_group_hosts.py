# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.filter.group_hosts import group_hosts

HOSTVARS: dict[str, dict[str, t.Any]] = {
    "gpu-01": {"vllm_server_members": [{"name": "big"}]},
    "gpu-02": {"vllm_server_members": []},
    "gpu-03": {},
    "gpu-04": {"vllm_server_members": [{"name": "big"}], "fleet_failure": {"stage": "reach"}},
    "gpu-05": {"vllm_server_members": "odd"},
}


def test_hosts_with_a_member_are_nodes() -> None:
    assert group_hosts(list(HOSTVARS), HOSTVARS) == ["gpu-01", "gpu-04"]


def test_without_hostvars_no_host_is_a_node() -> None:
    assert group_hosts(list(HOSTVARS), {}) == []
    assert group_hosts([], {}) == []
