# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.open_webui_problems import open_webui_problems

RIGHT: dict[str, t.Any] = {
    "host": "web-01",
    "image": "ghcr.io/open-webui/open-webui:v0.12.4",
    "version": "0.12.4",
    "port": 3000,
    "bind": "0.0.0.0",
    "name": "open-webui",
    "data_dir": "/srv/open_webui",
    "config_dir": "/etc/private_llm/open_webui",
    "admin_email": "admin@example.com",
    "admin_password": "",
    "env": {},
    "reserved_env": ["PORT", "WEBUI_AUTH"],
    "keeps_settings": True,
    "connections": [],
    "settings": {},
    "secret_settings": {},
    "oidc": {},
    "ldap": {},
    "public_url": "",
    "database_url": "",
    "backup_dir": "/srv/backups",
    "backup_keep": 5,
    "other_keys": [],
    "key_file": "/etc/private_llm/open_webui/secret_key",
}


def problems(**given: t.Any) -> list[str]:
    return open_webui_problems({**RIGHT, **given})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"version": ""},
        {"version": "0.11.4"},
        {"port": 65535},
        {"bind": "::1"},
        {"admin_password": "x" * 72},
        {"env": {"OFFLINE_MODE": ""}},
        {"keeps_settings": False},
        {"oidc": {"provider_url": "https://id.example.com", "client_id": "a", "client_secret": "b"}},
        {"ldap": {"host": "ldap.example.com", "search_base": "dc=example"}},
        {"public_url": "https://chat.example.com/a"},
        {"database_url": "postgresql+psycopg2://u:p@db/webui"},
        {"backup_dir": "/srv/open_webui_backups"},
        {"backup_keep": 0},
    ],
)
def test_nothing_is_wrong(given: dict[str, t.Any]) -> None:
    assert problems(**given) == []


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ({"image": ""}, "open_webui_image is empty"),
        ({"version": "0.11.3"}, "open_webui_image is of version 0.11.3; the role needs 0.11.4 or newer"),
        ({"port": 0}, "open_webui_port is 0; a port is between 1 and 65535"),
        ({"port": 65536}, "open_webui_port is 65536"),
        ({"bind": "localhost"}, "open_webui_bind is localhost; give an IP address"),
        ({"bind": ""}, "open_webui_bind is ;"),
        ({"name": "-a"}, "open_webui_name is -a; Docker allows"),
        ({"data_dir": "data"}, "open_webui_data_dir and open_webui_config_dir must be absolute paths"),
        ({"config_dir": "/"}, "open_webui_data_dir and open_webui_config_dir must be absolute paths"),
        ({"admin_email": "admin"}, "open_webui_admin_email is admin; give an e-mail address"),
        ({"admin_password": "x" * 73}, "open_webui_admin_password is longer than 72 characters"),
        ({"env": {"A-B": 1, "C": 1}}, "open_webui_env has keys that cannot be variables: A-B"),
        ({"env": {"A": None, "B": ""}}, "open_webui_env gives no value to A: write ''"),
        ({"env": {"PORT": 1, "WEBUI_AUTH": False}}, "open_webui_env may not set PORT, WEBUI_AUTH: the role has"),
        (
            {"keeps_settings": False, "connections": [{"url": "http://a"}]},
            "open_webui_env sets ENABLE_PERSISTENT_CONFIG",
        ),
        ({"keeps_settings": False, "settings": {"ui.a": 1}}, "open_webui_env sets ENABLE_PERSISTENT_CONFIG"),
        ({"keeps_settings": False, "secret_settings": {"a": 1}}, "open_webui_env sets ENABLE_PERSISTENT_CONFIG"),
        ({"oidc": {"client_id": "a"}}, "open_webui_oidc lacks provider_url, client_secret"),
        ({"ldap": {"host": "a"}}, "open_webui_ldap lacks search_base"),
        ({"public_url": "chat.example.com"}, "open_webui_public_url is chat.example.com; write it as"),
        ({"settings": {"oauth.a": 1, "ui.oauth.b": 1}}, "open_webui_settings may not set oauth.a: use open_webui_oidc"),
        ({"database_url": "mysql://u:secret@db/webui"}, "open_webui_database_url must begin with postgresql://"),
        ({"backup_dir": "/srv/open_webui"}, "open_webui_backup_dir must be an absolute path outside of"),
        ({"backup_dir": "/srv/open_webui/backups"}, "open_webui_backup_dir must be an absolute path outside of"),
        ({"backup_dir": "backups"}, "open_webui_backup_dir must be an absolute path outside of"),
        ({"other_keys": ["web-02", "web-03"]}, "web-01 and web-02, web-03 have one database (open_webui_database_url)"),
        ({"backup_keep": -1}, "open_webui_backup_keep is -1; give the number"),
    ],
)
def test_what_is_wrong_is_one_sentence_without_a_secret(given: dict[str, t.Any], begins: str) -> None:
    (problem,) = problems(**given)
    assert problem.startswith(begins)
    assert "secret@" not in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(problems(image="", port=0, backup_keep=-1)) == 3


def test_a_value_of_another_shape_is_refused_by_its_name() -> None:
    with pytest.raises(AnsibleFilterError, match="env: is a list, not a mapping"):
        problems(env=["A=1"])
