# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts the role open_webui says to have one database and two secret keys."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.tests.support import playbooks

DATABASE = "postgresql://webui:secret@db.example.com/webui"
# What is called so on each host is another database on each.
OWN, LOOPBACK = (DATABASE.replace("db.example.com", name) for name in ("host.docker.internal", "127.0.0.1"))
TASK = "Tell who has another key"


def others(tmp_path: Path, hosts: dict[str, dict[str, t.Any]]) -> dict[str, list[str]]:
    """Return what the role finds on each host."""
    play = {
        "hosts": "webui_hosts",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Read the role's variables",
                "ansible.builtin.include_role": {
                    "name": "private_llm.fleet.open_webui",
                    "tasks_from": "endpoint",
                    "public": True,
                },
            },
            {"name": TASK, "ansible.builtin.debug": {"msg": "{{ __open_webui_other_keys }}"}},
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    inventory = {"webui_hosts": {"hosts": hosts, "vars": {"ansible_connection": "local", "kept_elsewhere": "one key"}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    outcome = playbooks.run(str(tmp_path / "play.yml"), [str(tmp_path / "hosts.yml")])
    assert outcome.returncode == 0, outcome.text
    return {host: outcome.result(host, TASK)["msg"] for host in hosts}


def host(key: str | None = None, url: str | None = DATABASE) -> dict[str, t.Any]:
    given = {"open_webui_database_url": url, "open_webui_secret_key": key}
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (host("one key"), host("one key")),
        (host("one key"), host("{{ kept_elsewhere }}")),
        (host("one key"), {**host("{{ kept_elsewhere }}"), "kept_elsewhere": "{{ 'one ' ~ 'key' }}"}),
        (host("one key", url=None), host("another", url=None)),
        (host("one key", url=""), host("another", url="")),
        (host("one key"), host("another", url=DATABASE + "2")),
        (host("a", url=OWN), host("b", url=OWN)),
        (host("a", url=LOOPBACK), host("b", url=LOOPBACK)),
    ],
    ids=["same", "by variable", "by template", "SQLite", "SQLite said", "two databases", "each its own", "loopback"],
)
def test_one_key_however_it_is_said_is_one(tmp_path: Path, a: dict[str, t.Any], b: dict[str, t.Any]) -> None:
    assert others(tmp_path, {"a": a, "b": b}) == {"a": [], "b": []}


def test_two_keys_or_none_for_one_database_are_told_on_each_host(tmp_path: Path) -> None:
    found = others(tmp_path, {"a": host("one key"), "b": host("another"), "c": host(), "d": host("one key")})
    assert {name: sorted(names) for name, names in found.items()} == {
        "a": ["b", "c"],
        "b": ["a", "c", "d"],
        "c": ["a", "b", "d"],
        "d": ["b", "c"],
    }


def test_hosts_that_keep_the_keys_that_they_made_have_two(tmp_path: Path) -> None:
    assert others(tmp_path, {"a": host(), "b": host()}) == {"a": ["b"], "b": ["a"]}
