#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_connection
short_description: Manage Open WebUI's connections to OpenAI-compatible servers
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Adds, changes and removes the connections through which Open WebUI reaches vLLM and other OpenAI-compatible servers,
    as its page Settings, Connections does.
  - Takes one connection, or a list of them in O(connections); a list costs one sign-in, one read and at most one write.
  - Connections that are not declared stay as they are, unless O(purge=true). Settings of a declared connection that
    this
    module has no option for stay as well.
  - What was written is read back, and the module fails when Open WebUI did not take it over.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui
attributes:
  check_mode:
    support: full
    details: O(verify) is left out in check mode, for the server that is declared may be only about to be started.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  url:
    description:
      - The base address of the server as Open WebUI reaches it, for example V(http://gpu-01:18005/v1).
      - Trailing slashes are removed, and C(/v1) is added where there is no path, because Open WebUI shows no models
        otherwise.
        A connection that exists in such a form is recognized and put right.
      - From inside a container V(localhost) is the container itself; the role P(private_llm.fleet.open_webui#role)
        makes the
        host known as V(host.docker.internal).
    type: str
  key:
    description:
      - The API key sent to the server. Left out, the key of an existing connection stays. Blanks and newlines around it
        are left out, and one that no HTTP header can carry is refused.
      - Open WebUI keeps it in clear text in its database, and gives it to administrators.
    type: str
  prefix_id:
    description:
      - Put in front of every model id of this connection, with a dot. Needed when two servers serve the same model id,
        for Open
        WebUI takes the first one only and does not balance load.
      - When given, the address and the prefix together say which connection is meant; V("") means the one without a
        prefix. When
        left out, the address alone does, and must be there once.
      - So a new prefix makes a new connection; remove the one with the old prefix by O(state=absent) or O(purge).
    type: str
  model_ids:
    description:
      - Offer these models only, without asking the server for its list. V([]) means all that the server serves.
      - With a list, a server that hangs no longer delays everybody's model list.
    type: list
    elements: str
  enabled:
    description: Whether the connection is switched on. A new one is, unless told otherwise.
    type: bool
  tags:
    description: Tags that Open WebUI shows with the models of this connection.
    type: list
    elements: str
  state:
    description: Whether the connection is there.
    type: str
    choices: [present, absent]
    default: present
  connections:
    description: Several connections at once, in place of O(url) and its companions.
    type: list
    elements: dict
    suboptions:
      url:
        description: See O(url).
        type: str
        required: true
      key:
        description: See O(key).
        type: str
      prefix_id:
        description: See O(prefix_id).
        type: str
      model_ids:
        description: See O(model_ids).
        type: list
        elements: str
      enabled:
        description: See O(enabled).
        type: bool
      tags:
        description: See O(tags).
        type: list
        elements: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
  purge:
    description: Remove every connection that is not declared in this task, or, with O(owner), every one of that owner.
    type: bool
    default: false
  owner:
    description:
      - A name that is written into each declared connection, where nobody sees it. With O(purge=true) only connections
        of
        this owner are removed, so that what people connected by hand stays.
      - Open WebUI's dialog forgets the name when somebody edits the connection there; the next run writes it again.
    type: str
  verify:
    description:
      - Before anything is written, let Open WebUI itself reach each declared and enabled server with its key, and fail
        when it
        cannot, or when the server does not serve one of the O(model_ids).
    type: bool
    default: false
  discover:
    description:
      - Ask Open WebUI afterwards which models its connections offer, and return them in RV(declared[].models). A
        server that does
        not answer offers none, and may delay the task by ten seconds.
      - Ask it, too, which of these models everybody may use, and return them in RV(declared[].public).
      - In check mode the answer is that of the connections as they are.
    type: bool
    default: false
seealso:
  - module: private_llm.fleet.open_webui_chat
  - module: private_llm.fleet.open_webui_model_access
notes:
  - Open WebUI replaces all connections at once and has no locking. Tasks that run on one host take turns. Of tasks that
    write from different hosts in the same moment, the one whose connections were overwritten fails and says so.
  - Open WebUI's main switch for OpenAI-compatible servers is switched on as soon as a declared connection is enabled,
    and
    otherwise left.
"""

EXAMPLES = r"""
- name: Connect Open WebUI to the vLLM server on the same host
  private_llm.fleet.open_webui_connection:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    url: http://host.docker.internal:18005/v1
    key: "{{ vault_qwen3_key }}"

- name: Have exactly these two connections, and prove that Open WebUI reaches them
  private_llm.fleet.open_webui_connection:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    purge: true
    verify: true
    connections:
      - url: http://gpu-01:18005/v1
        key: "{{ vault_keys['gpu-01'] }}"
        prefix_id: gpu-01
      - url: http://gpu-02:18005/v1
        key: "{{ vault_keys['gpu-02'] }}"
        prefix_id: gpu-02

- name: Have these connections, remove those of an earlier run of this playbook, leave what people added by hand
  private_llm.fleet.open_webui_connection:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    owner: my-playbook
    purge: true
    connections: "{{ my_servers }}"

- name: Take a server out of service
  private_llm.fleet.open_webui_connection:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    url: http://gpu-02:18005/v1
    enabled: false
"""

RETURN = r"""
connections:
  description: Every connection that Open WebUI has afterwards, in its order; in check mode, that it would have.
  returned: success
  type: list
  elements: dict
  contains:
    url:
      description: The base address.
      type: str
      sample: http://gpu-01:18005/v1
    prefix_id:
      description: The prefix of its model ids, or an empty string.
      type: str
      sample: gpu-01
    enabled:
      description: Whether it is switched on.
      type: bool
      sample: true
    model_ids:
      description: The only models offered; empty for all that the server serves.
      type: list
      elements: str
      sample: [qwen3-32b]
    tags:
      description: Its tags.
      type: list
      elements: str
      sample: []
    has_key:
      description: Whether a key is set. The key itself is never returned.
      type: bool
      sample: true
declared:
  description: What became of each declared connection, in the order of declaration.
  returned: success
  type: list
  elements: dict
  contains:
    url:
      description: The base address, in the form that Open WebUI needs.
      type: str
      sample: http://gpu-01:18005/v1
    action:
      description: What was done, or would be done in check mode.
      type: str
      choices: [created, updated, removed, unchanged]
      sample: created
    verified:
      description: Whether Open WebUI reached the server with its key in this run.
      type: bool
      sample: true
    models:
      description:
        - The ids under which Open WebUI offers the models of this connection, with the prefix.
        - Null when neither O(model_ids), O(verify) nor O(discover) told them, and for a connection that is absent or
          switched off.
      type: list
      elements: str
      sample: [gpu-01.qwen3-32b]
    public:
      description:
        - Those of the models that everybody who is signed in may use. M(private_llm.fleet.open_webui_model_access)
          changes that.
        - Null without O(discover), and where the models are null.
      type: list
      elements: str
      sample: [gpu-01.qwen3-32b]
purged:
  description: The addresses of the connections removed because of O(purge).
  returned: success
  type: list
  elements: str
  sample: []
api_enabled:
  description: Whether Open WebUI's main switch for OpenAI-compatible servers is on afterwards.
  returned: success
  type: bool
  sample: true
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import time
import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import (
    _access,
    _client,
    _connections,
    _module,
    _private_folder,
)

# Longer than another writer needs between its reading and its writing, so that it is seen when it overwrote ours.
SETTLE_SECONDS = 0.5

CONNECTION_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "url": {"type": "str"},
    "key": {"type": "str", "no_log": True},
    "prefix_id": {"type": "str"},
    "model_ids": {"type": "list", "elements": "str"},
    "enabled": {"type": "bool"},
    "tags": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
SINGLE = ("url", "key", "prefix_id", "model_ids", "enabled", "tags")


def wanted_from(params: dict[str, t.Any]) -> list[_connections.Wanted]:
    """Return the declared connections, from either form of the options."""
    if params["connections"] is None:
        return [_wanted(params, "the connection")]
    return [_wanted(entry, f"connections[{index}]") for index, entry in enumerate(params["connections"])]


def _wanted(entry: dict[str, t.Any], label: str) -> _connections.Wanted:
    return _connections.Wanted(
        url=_connections.normalize_url(entry["url"]),
        key=_connections.checked_key(entry["key"], label),
        prefix_id=entry["prefix_id"],
        model_ids=None if entry["model_ids"] is None else tuple(entry["model_ids"]),
        enabled=entry["enabled"],
        tags=None if entry["tags"] is None else tuple(entry["tags"]),
        state=entry["state"],
        label=label,
    )


CONFIG = "/openai/config"


class ConnectionManager(_module.WebUiModule):
    """Reads, plans, verifies, writes once, reads back."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {
        "connections": [],
        "declared": [],
        "purged": [],
        "api_enabled": False,
        "diff": _module.difference({}, {}),
    }

    def run(self) -> None:
        wanted = wanted_from(self.params)
        _connections.check_declared(wanted)
        client = self.connect()
        plan = self._plan(client, wanted)
        self._fill(plan)
        if self.module.check_mode:
            if self.params["discover"] and plan.before.enable:
                listing = client.read("/openai/models", _connections.offered)
                self._offer(plan, listing, [one.origin for one in plan.planned])
            self._tell_public(client)
            return
        if self.params["verify"]:
            self._verify(client, plan)
        if plan.changed:
            plan = self._write(client, wanted, plan)
        if self.params["discover"] and plan.after.enable:
            listing = client.read("/openai/models", _connections.offered)
            self._offer(plan, listing, [one.index for one in plan.planned])
        self._tell_public(client)

    def _plan(self, client: _client.Client, wanted: list[_connections.Wanted]) -> _connections.Plan:
        before = client.read(CONFIG, _connections.from_api)
        return _connections.make_plan(before, wanted, purge=self.params["purge"], owner=self.params["owner"])

    def _write(
        self, client: _client.Client, wanted: list[_connections.Wanted], plan: _connections.Plan
    ) -> _connections.Plan:
        """Write the plan, made anew from what is there right before: all connections are replaced at once, those of
        others included. A task on another host has no lock in common with this one; what it may have written between
        our reading and our writing is gone, and it sees that itself, since it looks a moment later, too."""
        with _private_folder.only_writer(_private_folder.private_folder(), client.url):
            fresh = self._plan(client, wanted)
            if not fresh.before.same_as(plan.before):
                plan = fresh
                told = self.result["declared"]
                self.result["declared"] = []
                self._fill(plan)
                for entry, earlier in zip(self.result["declared"], told):
                    entry.update(verified=earlier["verified"], models=earlier["models"])
            if not plan.changed:
                return plan
            client.post("/openai/config/update", _connections.to_api(plan.after))
            time.sleep(SETTLE_SECONDS)
            problems = _connections.ignored(plan.after, client.read(CONFIG, _connections.from_api))
        if problems:
            raise _client.OpenWebUiError(
                f"Open WebUI at {client.url} took the connections but did not keep them: {'; '.join(problems)}. "
                "Something else may be writing its connections at the same time: let one play at a time do that, and "
                "run this one again"
            )
        return plan

    def _fill(self, plan: _connections.Plan) -> None:
        self.result["changed"] = plan.changed
        self.result["diff"] = _connections.difference(plan)
        self.result["connections"] = [_connections.describe(one) for one in plan.after.connections]
        self.result["purged"] = list(plan.purged)
        self.result["api_enabled"] = bool(plan.after.enable)
        for planned in plan.planned:
            models = None
            if planned.index is not None and plan.after.connections[planned.index].setting("enable"):
                models = _connections.visible_ids(plan.after.connections[planned.index], None)
            entry = {"url": planned.wanted.url, "action": planned.action, "verified": False}
            self.result["declared"].append({**entry, "models": models, "public": None})

    def _offer(self, plan: _connections.Plan, listing: dict[int, list[str]], places: list[int | None]) -> None:
        for planned, place, entry in zip(plan.planned, places, self.result["declared"]):
            served = planned.index is not None and plan.after.connections[planned.index].setting("enable")
            if served and place is not None and entry["models"] is None:
                entry["models"] = listing.get(place, [])

    def _tell_public(self, client: _client.Client) -> None:
        """Tell which models everybody may use, so that a task that shares them need not be run to find that out."""
        for entry in self.result["declared"]:
            if self.params["discover"] and entry["models"] is not None:
                entry["public"] = [model for model in entry["models"] if _access.read(client, model).public]

    def _verify(self, client: _client.Client, plan: _connections.Plan) -> None:
        for planned, entry in zip(plan.planned, self.result["declared"]):
            if planned.index is None:
                continue
            connection = plan.after.connections[planned.index]
            if not connection.setting("enable"):
                continue
            reply = client.exchange(
                "POST",
                "/openai/verify",
                {"url": connection.url, "key": connection.key, "config": dict(connection.settings)},
            )
            data = _json_or_nothing(reply)
            served = _connections.judge_verification(
                connection, planned.wanted.label, reply.status, data, _client.error_detail(reply)
            )
            entry["verified"] = True
            entry["models"] = _connections.visible_ids(connection, served)


def _json_or_nothing(reply: _client.Reply) -> t.Any:
    """Return the decoded answer of a server behind Open WebUI, or None where it is no JSON."""
    try:
        return reply.json() if reply.is_json else None
    except ValueError:
        return None


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            **CONNECTION_ARGUMENTS,
            "connections": {
                "type": "list",
                "elements": "dict",
                "options": {**CONNECTION_ARGUMENTS, "url": {"type": "str", "required": True}},
            },
            "purge": {"type": "bool", "default": False},
            "owner": {"type": "str"},
            "verify": {"type": "bool", "default": False},
            "discover": {"type": "bool", "default": False},
        },
        mutually_exclusive=[
            *_client.COMMON_RULES["mutually_exclusive"],
            *((name, "connections") for name in SINGLE),
        ],
        required_one_of=[*_client.COMMON_RULES["required_one_of"], ("url", "connections")],
        required_by=_client.COMMON_RULES["required_by"],
        supports_check_mode=True,
    )
    ConnectionManager(module).main()


if __name__ == "__main__":
    main()
