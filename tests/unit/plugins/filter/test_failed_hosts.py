# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.filter.failed_hosts import failed_hosts

HOSTVARS: dict[str, dict[str, t.Any]] = {
    "gpu-01": {"fleet_failure": {"stage": "servers", "task": "t", "message": "m"}},
    "gpu-02": {"fleet_failure": {"stage": "reach"}},
    "gpu-03": {},
    "gpu-04": {"fleet_failure": {}},
    "gpu-05": {"fleet_failure": "odd"},
}


def test_a_host_counts_where_it_failed_in_that_stage() -> None:
    assert failed_hosts(list(HOSTVARS), HOSTVARS, "servers") == ["gpu-01"]
    assert failed_hosts(list(HOSTVARS), HOSTVARS, "models") == []
    assert failed_hosts([], {}, "servers") == []
