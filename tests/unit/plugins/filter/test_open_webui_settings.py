# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.open_webui_settings import open_webui_settings
from ansible_collections.private_llm.fleet.plugins.plugin_utils.hosts._open_webui import LDAP_SETTINGS
from ansible_collections.private_llm.fleet.tests.support import playbooks

SPECS = playbooks.ROOT / "roles" / "open_webui" / "meta" / "argument_specs.yml"


def test_variables_stand_for_settings() -> None:
    ldap = {"host": "ldap.example.com", "port": 636, "use_tls": False, "bind_dn": "cn=a", "bind_password": "secret"}
    assert open_webui_settings(ldap, "https://chat.example.com", ["a", "b"]) == {
        "ldap.enable": True,
        "ldap.server.app_dn": "cn=a",
        "ldap.server.host": "ldap.example.com",
        "ldap.server.port": 636,
        "ldap.server.use_tls": False,
        "ui.default_models": "a,b",
        "webui.url": "https://chat.example.com",
    }
    assert open_webui_settings({}) == {}


def test_each_option_of_ldap_has_a_setting() -> None:
    specs = yaml.safe_load(SPECS.read_text("utf-8"))["argument_specs"]["main"]["options"]
    assert set(specs["open_webui_ldap"]["options"]) == {*LDAP_SETTINGS, "bind_password"}


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="ldap"):
        open_webui_settings("ldap.example.com")
