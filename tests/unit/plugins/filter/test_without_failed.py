# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts that did not fail, from what hostvars hold, and in a play's ``hosts``."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.without_failed import without_failed

HOSTVARS: dict[str, dict[str, t.Any]] = {
    "gpu-01": {"vllm_server_endpoints": []},
    "gpu-02": {"fleet_failure": {"stage": "reach"}},
    "gpu-03": {},
}
HOSTS = list(HOSTVARS)


def test_hosts_that_failed_are_left_out() -> None:
    assert without_failed(HOSTS, HOSTVARS) == ["gpu-01", "gpu-03"]


def test_without_hostvars_no_host_has_failed() -> None:
    assert without_failed(HOSTS, {}) == HOSTS
    assert without_failed(HOSTS, {}, lacking="vllm_server_endpoints") == HOSTS


def test_a_variable_counts_whatever_its_value() -> None:
    assert without_failed(HOSTS, HOSTVARS, lacking="vllm_server_endpoints") == ["gpu-03"]


def test_hosts_that_are_given_in_another_shape_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="hosts: is a string, not a list"):
        without_failed("gpu_hosts", HOSTVARS)
