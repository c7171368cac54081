# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.fleet_groups import fleet_groups


def test_optional_groups_are_named_where_the_inventory_has_them() -> None:
    assert fleet_groups({}) == ["gpu_hosts", "webui_hosts"]
    everything = {"all": ["a"], "monitoring_hosts": ["a"], "gateway_hosts": []}
    assert fleet_groups(everything) == ["gpu_hosts", "webui_hosts", "gateway_hosts", "monitoring_hosts"]


@pytest.mark.parametrize("groups", [None, ["gpu_hosts"], "gpu_hosts"])
def test_what_is_no_mapping_is_refused(groups: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="groups"):
        fleet_groups(groups)
