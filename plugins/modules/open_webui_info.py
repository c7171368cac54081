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
  gather:
    description:
      - What to return, given credentials. The settings are several hundred, of which only those that are no secrets are
        returned.
    type: list
    elements: str
    choices: [connections, models, users, groups, settings]
    default: [connections, models]
  wait:
    description: How many seconds to wait until Open WebUI is ready. With V(0) the module looks once.
    type: int
    default: 0
  container:
    description:
      - The container that runs it on this host. Waiting ends early when Docker had to start it again and again, since
        what it runs ends by itself.
    type: str
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

- name: Look up how settings are called, and what they are
  private_llm.fleet.open_webui_info:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    gather: [settings]
  register: web

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
  description: Every connection, as M(private_llm.fleet.open_webui_connection) returns it. Empty unless gathered.
  returned: success
  type: list
  elements: dict
  sample: []
models:
  description: The ids of the models that Open WebUI offers to this account. Empty unless gathered.
  returned: success
  type: list
  elements: str
  sample: [qwen3-32b]
users:
  description: Every account, as M(private_llm.fleet.open_webui_user) returns it. Empty unless gathered.
  returned: success
  type: list
  elements: dict
  sample: [{email: ann@example.com, name: Ann, role: user}]
groups:
  description: Every group, as M(private_llm.fleet.open_webui_group) returns it. Empty unless gathered.
  returned: success
  type: list
  elements: dict
  sample: [{name: research, description: "", members: [ann@example.com]}]
settings:
  description:
    - The persisted settings by their dotted names, as M(private_llm.fleet.open_webui_config) returns them. Empty unless
      gathered.
  returned: success
  type: dict
  sample: {ui.enable_signup: false, rag.openai.api_key: set}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import (
    _access,
    _chat,
    _client,
    _connections,
    _people,
    _settings,
)

# Pause between two looks while waiting.
PAUSE = 1.0

# A server may end once, when something that it needs comes up at the same time.
RESTARTS = 2

PARTS = ["connections", "models", "users", "groups", "settings"]


def look(client: _client.Client) -> tuple[str, str]:
    """The status of what answers at the address now, and a sentence about it."""
    try:
        reply = client.exchange("GET", "/ready")
    except _client.UnreachableError as error:
        return "unreachable", str(error)
    return _client.judge_readiness(client.url, reply)


def wait_until_ready(
    client: _client.Client, patience: float, why_hopeless: t.Callable[[], str] = str
) -> tuple[str, str]:
    """The same, asked again until it is ready, something else answers, or waiting is of no use."""
    started = time.monotonic()
    while True:
        status, message = look(client)
        if status in ("ready", "other") or time.monotonic() - started >= patience:
            return status, message
        why = why_hopeless()
        if why:
            return status, why
        time.sleep(PAUSE)


def restarts(module: AnsibleModule, container: str) -> str:
    """That a container ends again and again; empty when it does not, or cannot be asked."""
    docker = module.get_bin_path("docker")
    if docker is None:
        return ""
    rc, out, _err = module.run_command([docker, "container", "inspect", "--format", "{{.RestartCount}}", container])
    if rc or int(out) < RESTARTS:
        return ""
    return f"container {container} has ended by itself {int(out)} times since it was started"


def gather(client: _client.Client, parts: t.Sequence[str]) -> dict[str, t.Any]:
    """What an administrator can see, in the words of the modules that manage it."""
    found: dict[str, t.Any] = {}
    if "connections" in parts:
        config = _connections.from_api(client.get("/openai/config"))
        found["connections"] = [_connections.describe(one) for one in config.connections]
    if "models" in parts:
        found["models"] = _chat.model_ids(client.get("/api/models"))
    if "users" in parts or "groups" in parts:
        listing = client.get("/api/v1/users/all")
        directory = _access.directory_from_api([], listing)
    if "users" in parts:
        found["users"] = [_people.describe_user(_people.find_user(listing, email)) for _id, email in directory.users]
    if "groups" in parts:
        exports = [client.get(f"/api/v1/groups/id/{one['id']}/export") for one in client.get("/api/v1/groups/")]
        found["groups"] = [_people.describe_group(_people.group_from_api(one), directory) for one in exports]
    if "settings" in parts:
        settings = client.get("/api/v1/configs/export")
        found["settings"] = _settings.shown(settings, settings)
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "gather": {"type": "list", "elements": "str", "choices": PARTS, "default": ["connections", "models"]},
            "wait": {"type": "int", "default": 0},
            "container": {"type": "str"},
        },
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
        **{part: {} if part == "settings" else [] for part in PARTS},
    }
    try:
        client = _client.Client(
            params["webui_url"], timeout=params["timeout"], validate_certs=params["validate_certs"], retry_pauses=()
        )
        result["status"], result["message"] = wait_until_ready(
            client, params["wait"], lambda: restarts(module, params["container"]) if params["container"] else ""
        )
        if result["status"] == "ready":
            result["webui_version"] = client.check_version()
            result["message"] = f"Open WebUI {client.version} at {client.url} is ready"
            result["has_accounts"] = not client.get("/api/config").get("onboarding", False)
            if result["has_accounts"] and (params["webui_token"] or params["webui_password"]):
                client = _client.connect(params)
                result.update(gather(client, params["gather"]))
                result["signed_in"] = True
    except ValueError as error:
        module.fail_json(msg=str(error), **{key: value for key, value in result.items() if key != "changed"})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
