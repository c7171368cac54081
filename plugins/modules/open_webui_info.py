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

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import (
    _access,
    _chat,
    _client,
    _connections,
    _module,
    _people,
    _presence,
    _settings,
)
from ..module_utils._printable import printable

# Pause between two looks while waiting.
PAUSE = 1.0

# A server may end once, when something that it needs comes up at the same time.
RESTARTS = 2

PARTS = ["connections", "models", "users", "groups", "settings"]


def wait_until_ready(
    client: _client.Client, patience: float, why_hopeless: t.Callable[[], str] = str
) -> tuple[str, str]:
    """Ask until Open WebUI is ready, something else answers, or waiting is of no use; return status and sentence."""
    started = time.monotonic()
    while True:
        status, message = _presence.look(client)
        if status in ("ready", "other") or time.monotonic() - started >= patience:
            return status, message
        why = why_hopeless()
        if why:
            return status, why
        time.sleep(PAUSE)


def restarts(module: t.Any, container: str) -> str:
    """Say that a container ends again and again; empty when it does not, or cannot be asked."""
    docker = module.get_bin_path("docker")
    if docker is None:
        return ""
    rc, out, _err = module.run_command([docker, "container", "inspect", "--format", "{{.RestartCount}}", container])
    count = out.strip()
    if rc or not (count.isascii() and count.isdecimal()) or int(count) < RESTARTS:
        return ""
    return f"container {container} has ended by itself {int(count)} times since it was started"


def gather(client: _client.Client, parts: t.Sequence[str]) -> dict[str, t.Any]:
    """Return what an administrator can see, in the words of the modules that manage it."""
    found: dict[str, t.Any] = {}
    if "connections" in parts:
        config = client.read("/openai/config", _connections.from_api)
        found["connections"] = [_connections.describe(one) for one in config.connections]
    if "models" in parts:
        found["models"] = client.read("/api/models", _chat.model_ids)
    if "users" in parts or "groups" in parts:
        users = client.read("/api/v1/users/all", _people.users_from_api)
        directory = _access.Directory(users=tuple((one.id, one.email) for one in users))
    if "users" in parts:
        found["users"] = [_people.describe_user(one) for one in users]
    if "groups" in parts:
        groups = [
            client.read(f"/api/v1/groups/id/{_client.in_path(one)}/export", _people.group_from_api)
            for one, _name in client.read("/api/v1/groups/", _access.named_groups)
        ]
        found["groups"] = [_people.describe_group(one, directory) for one in groups]
    if "settings" in parts:
        settings = client.read("/api/v1/configs/export", _settings.from_api)
        found["settings"] = _settings.shown(settings, settings)
    return found


class Info(_module.WebUiModule):
    """Looks, waits, and with credentials gathers."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {
        "status": "unreachable",
        "message": "",
        "has_accounts": None,
        "signed_in": False,
        **{part: {} if part == "settings" else [] for part in PARTS},
    }
    FAILS_WITH_RESULT = True
    NEEDS_PASSWORD = False

    def run(self) -> None:
        params, result = self.params, self.result
        reach = {"timeout": params["timeout"], "validate_certs": params["validate_certs"]}
        container = params["container"]
        result["status"], message = wait_until_ready(
            _client.Client(params["webui_url"], retry_pauses=(), **reach),
            params["wait"],
            lambda: restarts(self.module, container) if container else "",
        )
        result["message"] = printable(message)
        if result["status"] != "ready":
            return
        client = _client.Client(params["webui_url"], **reach)
        result["webui_version"] = client.check_version()
        result["message"] = f"Open WebUI {client.version} at {client.url} is ready"
        result["has_accounts"] = client.read("/api/config", _presence.has_accounts)
        if result["has_accounts"] and (params["webui_token"] or params["webui_password"]):
            result.update(gather(self.connect(), params["gather"]))
            result["signed_in"] = True


def main() -> None:
    module = FleetModule(
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
    Info(module).main()


if __name__ == "__main__":
    main()
