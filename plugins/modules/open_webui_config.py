#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_config
short_description: Manage Open WebUI's persisted settings
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Sets single settings in Open WebUI's database, each by its dotted name, and leaves all others as they are.
  - Many environment variables of Open WebUI are read at its first start only and are such settings from then on. This
    module changes them later, without a restart.
  - Open WebUI itself stores any value under any name and calls it a success. The module therefore refuses names that
    the server does not report, values of another kind than the one it reports, and values that Open WebUI cannot work
    with. It refuses all of them at once, before anything is written.
  - What was written is read back, and the module fails when Open WebUI did not take it over.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  settings:
    description:
      - The settings, with the dots in their names, such as V(ui.enable_signup). M(private_llm.fleet.open_webui_info)
        lists all names in RV(private_llm.fleet.open_webui_info#module:settings).
      - A list or a dictionary replaces the one that is there. V(null) empties a text.
    type: dict
    default: {}
  secret_settings:
    description:
      - The same for API keys, passwords and the like, which O(settings) does not take, since Ansible shows it.
    type: dict
    default: {}
seealso:
  - module: private_llm.fleet.open_webui_connection
notes:
  - The settings C(openai.api_base_urls), C(openai.api_keys) and C(openai.api_configs) belong together and to
    M(private_llm.fleet.open_webui_connection).
  - Open WebUI takes the settings C(oauth.*) from its environment at each start, unless that has
    C(ENABLE_OAUTH_PERSISTENT_CONFIG=true). Without, the module refuses them, for they would be lost.
  - With C(ENABLE_PERSISTENT_CONFIG=false) in its environment, Open WebUI forgets at its next start what this module
    set. It does not tell, so that the module cannot either.
  - Settings C(auth.mfa.*) need O(webui_email) and O(webui_password), not an API key. Changing them ends every session.
  - What Open WebUI loads when it starts, such as the embedding model (C(rag.embedding_*)), changes with its next start.
"""

EXAMPLES = r"""
- name: Let nobody sign up, and have a banner
  private_llm.fleet.open_webui_config:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    settings:
      ui.enable_signup: false
      ui.default_models: qwen3-32b
      ui.banners:
        - id: maintenance
          type: warning
          content: Maintenance on Sunday, 8 to 10.
          dismissible: true
          timestamp: 1767225600

- name: Use an embedding server
  private_llm.fleet.open_webui_config:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    settings:
      rag.embedding_engine: openai
      rag.openai.api_base_url: http://gpu-01:18010/v1
    secret_settings:
      rag.openai.api_key: "{{ vault_embedding_key }}"
"""

RETURN = r"""
settings:
  description:
    - The declared settings as they are afterwards; in check mode, as they would be. Of a secret only whether it is set.
  returned: success
  type: dict
  sample: {ui.enable_signup: false}
changed_settings:
  description: The names of the settings that were changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [ui.enable_signup]
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _client, _module, _settings

EXPORT = "/api/v1/configs/export"


class ConfigManager(_module.WebUiModule):
    """Reads, checks everything, writes what differs, reads back."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {"settings": {}, "changed_settings": [], "diff": _module.difference({}, {})}

    def run(self) -> None:
        settings, secrets = self.params["settings"], self.params["secret_settings"]
        misplaced = _settings.misplaced(settings, secrets)
        if misplaced:
            raise _settings.SettingsError("; ".join(misplaced))
        wanted = {**settings, **secrets}
        if not wanted:
            return
        client = self.connect()
        before = client.read(EXPORT, _settings.from_api)
        problems = _settings.problems(wanted, before)
        if not problems and any(key.startswith("oauth.") for key in wanted):
            kept = client.read("/api/v1/auths/admin/config/oauth", _settings.outlive_a_restart)
            problems = [] if kept else _settings.forgotten(wanted)
        if problems:
            raise _settings.SettingsError(f"Open WebUI at {client.url} was left as it is: {'; '.join(problems)}")
        changes = _settings.differing(wanted, before)
        self.result["changed"] = bool(changes)
        self.result["changed_settings"] = sorted(changes)
        self.result["settings"] = _settings.shown(wanted, wanted)
        self.result["diff"] = _module.difference(
            _settings.shown(before, changes), _settings.shown(wanted, changes, before)
        )
        if changes and not self.module.check_mode:
            self._write(client, changes)

    def _write(self, client: _client.Client, changes: dict[str, t.Any]) -> None:
        client.post("/api/v1/configs/import", {"config": changes})
        if any(key.startswith("auth.mfa.") for key in changes):
            return  # every session ended with that, ours as well
        lost = sorted(_settings.differing(changes, client.read(EXPORT, _settings.from_api)))
        if lost:
            raise _client.OpenWebUiError(
                f"Open WebUI at {client.url} took the settings but did not keep {', '.join(lost)}. "
                "Something else may be writing its settings at the same time"
            )


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "settings": {"type": "dict", "default": {}},
            "secret_settings": {"type": "dict", "default": {}, "no_log": True},
        },
        **_client.COMMON_RULES,
        supports_check_mode=True,
    )
    ConfigManager(module).main()


if __name__ == "__main__":
    main()
