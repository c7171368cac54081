#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_info
short_description: Look at an Open WebUI
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Says whether an Open WebUI answers at an address and is ready, waits for that if told to, and with credentials
    returns what
    it is set up with.
  - An address where nothing answers is a result, not a failure; look at RV(status). Credentials that are not accepted
    are a failure.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  webui_password:
    description:
      - The password of O(webui_email). Without it and O(webui_token) only what everybody may see is returned.
      - Open WebUI limits sign-ins to 15 in about three minutes for one address; a limit is waited out.
    type: str
  wait:
    description: How many seconds to wait until Open WebUI is ready. With V(0) the module looks once.
    type: int
    default: 0
seealso:
  - module: private_llm.fleet.open_webui_connection
"""

EXAMPLES = r"""
- name: Wait until Open WebUI has started
  private_llm.fleet.open_webui_info:
    webui_url: http://127.0.0.1:3000
    wait: 300
  register: web
  failed_when: web.status != 'ready'

- name: List what is connected
  private_llm.fleet.open_webui_info:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
  register: web
"""

RETURN = r"""
status:
  description:
    - V(ready) for an Open WebUI that takes requests, V(starting) for one that does not yet, V(unreachable) when
      nothing answers, and
      V(other) when what answers is not an Open WebUI.
  returned: success
  type: str
  choices: [ready, starting, unreachable, other]
  sample: ready
message:
  description: The status in a sentence.
  returned: success
  type: str
  sample: Open WebUI 0.12.4 at http://127.0.0.1:3000 is ready
webui_version:
  description: The version of Open WebUI; empty when it does not answer.
  returned: success
  type: str
  sample: 0.12.4
has_accounts:
  description:
    - Whether there is an account. As long as there is none, whoever comes first becomes the administrator. Null when
      unknown.
  returned: success
  type: bool
  sample: true
signed_in:
  description:
    - Whether the credentials were accepted, and are an administrator's. False when none were given, or nothing could
      be asked.
  returned: success
  type: bool
  sample: true
connections:
  description: Every connection, as M(private_llm.fleet.open_webui_connection) returns it. Empty unless RV(signed_in).
  returned: success
  type: list
  elements: dict
  sample: []
models:
  description: The ids of the models that Open WebUI offers to this account. Empty unless RV(signed_in).
  returned: success
  type: list
  elements: str
  sample: [qwen3-32b]
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _chat, _client, _connections

# Pause between two looks while waiting.
PAUSE = 1.0


def look(client: _client.Client) -> tuple[str, str]:
    """The status of what answers at the address now, and a sentence about it."""
    try:
        reply = client.exchange("GET", "/ready")
    except _client.UnreachableError as error:
        return "unreachable", str(error)
    return _client.judge_readiness(client.url, reply)


def wait_until_ready(client: _client.Client, patience: float) -> tuple[str, str]:
    """The same, asked again until it is ready, something else answers, or patience is at its end."""
    started = time.monotonic()
    while True:
        status, message = look(client)
        if status in ("ready", "other") or time.monotonic() - started >= patience:
            return status, message
        time.sleep(PAUSE)


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_client.COMMON_ARGUMENTS, "wait": {"type": "int", "default": 0}},
        mutually_exclusive=_client.COMMON_RULES["mutually_exclusive"],
        required_by=_client.COMMON_RULES["required_by"],
        supports_check_mode=True,
    )
    params = module.params
    result: dict[str, t.Any] = {
        "changed": False,
        "status": "unreachable",
        "message": "",
        "webui_version": "",
        "has_accounts": None,
        "signed_in": False,
        "connections": [],
        "models": [],
    }
    try:
        client = _client.Client(
            params["webui_url"], timeout=params["timeout"], validate_certs=params["validate_certs"], retry_pauses=()
        )
        result["status"], result["message"] = wait_until_ready(client, params["wait"])
        if result["status"] == "ready":
            result["webui_version"] = client.check_version()
            result["message"] = f"Open WebUI {client.version} at {client.url} is ready"
            result["has_accounts"] = not client.get("/api/config").get("onboarding", False)
            if result["has_accounts"] and (params["webui_token"] or params["webui_password"]):
                client = _client.connect(params)
                result["connections"] = [
                    _connections.describe(one)
                    for one in _connections.from_api(client.get("/openai/config")).connections
                ]
                result["models"] = _chat.model_ids(client.get("/api/models"))
                result["signed_in"] = True
    except ValueError as error:
        module.fail_json(msg=str(error), **{key: value for key, value in result.items() if key != "changed"})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
