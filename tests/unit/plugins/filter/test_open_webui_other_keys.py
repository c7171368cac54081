# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.filter.open_webui_other_keys import open_webui_other_keys

DATABASE = "postgresql://u:p@db.example.com/webui"


def host(url: str | None, key: str | None) -> dict[str, t.Any]:
    given = {"open_webui_database_url": url, "open_webui_secret_key": key}
    return {name: value for name, value in given.items() if value is not None}


HOSTVARS = {
    "web-01": host(DATABASE, "k"),
    "web-02": host(DATABASE, "k"),
    "web-03": host(DATABASE, "other"),
    "web-04": host(DATABASE, None),
    "web-05": host(DATABASE + "2", "other"),
    "web-06": host(None, "other"),
}


@pytest.mark.parametrize(
    ("url", "key", "others"),
    [
        (DATABASE, "k", ["web-03", "web-04"]),
        # Each host makes a key of its own.
        (DATABASE, "", ["web-02", "web-03", "web-04"]),
        ("", "k", []),
        (DATABASE.replace("db.example.com", "127.0.0.1"), "k", []),
    ],
)
def test_hosts_with_the_same_database_and_another_key(url: str, key: str, others: list[str]) -> None:
    assert open_webui_other_keys([*HOSTVARS, "web-03"], HOSTVARS, "web-01", url, key) == others


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "host.docker.internal"])
def test_a_loopback_address_is_another_database_on_each_host(name: str) -> None:
    url = DATABASE.replace("db.example.com", name)
    hostvars = {one: host(url, one) for one in ("web-01", "web-02")}
    assert open_webui_other_keys(list(hostvars), hostvars, "web-01", url, "web-01") == []
