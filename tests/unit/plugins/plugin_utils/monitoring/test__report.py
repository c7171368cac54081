# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils._fleet import report


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ({"url": "http://127.0.0.1:9090", "loopback": True}, "Monitoring: http://127.0.0.1:9090  on mon itself alone"),
        ({"url": "http://192.0.2.9:9090", "loopback": False}, "Monitoring: http://192.0.2.9:9090"),
    ],
)
def test_the_end_of_a_run_names_prometheus(endpoint: dict[str, object], line: str) -> None:
    said = report({"monitoring_hosts": ["mon"]}, {"mon": {"monitoring_endpoint": endpoint}})
    assert said["failed"] == []
    assert line in said["lines"]


def test_a_monitoring_that_did_not_come_to_its_end_is_named() -> None:
    assert report({"monitoring_hosts": ["mon"]}, {"mon": {}})["failed"][0].startswith("mon: did not come to the end")
