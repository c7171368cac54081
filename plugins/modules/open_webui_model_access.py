#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_model_access
short_description: Manage who may use a model in Open WebUI
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Makes models public, private, or shared with groups and users, and says how they are shown.
  - In Open WebUI the models of a new connection are seen by administrators only, until somebody shares each of them.
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
  model:
    description: The model's id as Open WebUI shows it, with the prefix of its connection.
    type: str
  models:
    description: Several ids that shall all have the same access, with one sign-in, in place of O(model).
    type: list
    elements: str
  public:
    description: Whether everybody who is signed in may use the model. Left out, that stays as it is.
    type: bool
  groups:
    description: The names of exactly those groups whose members may use the model. Left out, they stay as they are.
    type: list
    elements: str
  users:
    description: The e-mail addresses of exactly those users who may use the model. Left out, they stay as they are.
    type: list
    elements: str
  name:
    description: The name shown for the model. Only with O(model).
    type: str
  description:
    description: The description shown for the model.
    type: str
  allow_unknown:
    description:
      - Whether an entry may be made for an id that Open WebUI does not offer now, for a model that comes later. An id
        is taken for a mistyped one otherwise, and the module fails. Models that have an entry need not be offered.
      - In check mode it is a warning, for the connection of the model may be only about to be made.
    type: bool
    default: false
  hidden:
    description: Whether the model is left out of the menu of models. Who knows its id can still use it.
    type: bool
seealso:
  - module: private_llm.fleet.open_webui_connection
  - module: private_llm.fleet.open_webui_chat
notes:
  - In check mode a group or an account that is not there yet is a warning, for it may be only about to be made.
  - Rights to edit a model, which the page calls write access, are left alone.
"""

EXAMPLES = r"""
- name: Let everybody who is signed in use the models
  private_llm.fleet.open_webui_model_access:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    models: [qwen3-32b, qwen3-8b]
    public: true

- name: Keep an experiment to one group, under a name that says so
  private_llm.fleet.open_webui_model_access:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    model: gpu-02.qwen3-32b-lora
    public: false
    groups: [research]
    name: Qwen3 32B (experiment)
    description: May vanish at any time.
"""

RETURN = r"""
models:
  description: Each model as it is afterwards; in check mode, as it would be.
  returned: success
  type: list
  elements: dict
  contains:
    model:
      description: The model's id.
      type: str
      sample: qwen3-32b
    public:
      description: Whether everybody who is signed in may use it.
      type: bool
      sample: true
    groups:
      description: The groups whose members may use it.
      type: list
      elements: str
      sample: []
    users:
      description: The e-mail addresses of the users who may use it.
      type: list
      elements: str
      sample: []
    name:
      description: The name shown.
      type: str
      sample: qwen3-32b
    description:
      description: The description shown.
      type: str
      sample: ""
    hidden:
      description: Whether it is left out of the menu of models.
      type: bool
      sample: false
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import (
    _access,
    _chat,
    _client,
    _module,
)


class AccessManager(_module.WebUiModule):
    """Reads everything, plans everything, then writes what differs and reads it back."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {"models": [], "diff": _module.difference({}, {})}

    def run(self) -> None:
        params = self.params
        models = list(dict.fromkeys([params["model"]] if params["models"] is None else params["models"]))
        wanted = _access.Wanted(
            public=params["public"],
            groups=None if params["groups"] is None else tuple(params["groups"]),
            users=None if params["users"] is None else tuple(params["users"]),
            name=params["name"],
            description=params["description"],
            hidden=params["hidden"],
        )
        if not models:
            return
        client = self.connect()
        directory = _access.Directory(
            client.read("/api/v1/groups/", _access.named_groups),
            client.read("/api/v1/users/all", _access.addressed_users),
            foresight=self.module.check_mode,
        )
        taken_on_trust = directory.unknown(wanted.groups or (), wanted.users or ())
        if taken_on_trust and self.module.check_mode:
            self.warn(f"Open WebUI at {client.url} has no {', no '.join(taken_on_trust)} yet")
        plans = []
        for model in models:
            before = _access.read(client, model)
            after = _access.make_plan(before, wanted, directory)
            plans.append((before, after))
            self.result["models"].append(_access.describe(after, directory))
            self.result["diff"]["before"][model] = _access.describe(before, directory)
            self.result["diff"]["after"][model] = _access.describe(after, directory)
        self._refuse_unknown(client, plans)
        self.result["changed"] = any(_access.needs(before, after) for before, after in plans)
        if self.module.check_mode:
            return
        for before, after in plans:
            self._write(client, before, after)

    def _refuse_unknown(self, client: _client.Client, plans: list[tuple[_access.Access, _access.Access]]) -> None:
        new = [after.model for before, after in plans if before.row is None and _access.needs(before, after)]
        if not new or self.params["allow_unknown"]:
            return
        offered = client.read("/api/models?refresh=true", _chat.model_ids)
        unknown = [model for model in new if model not in offered]
        if not unknown:
            return
        problem = (
            f"Open WebUI at {client.url} does not offer {', '.join(unknown)}; it offers "
            f"{', '.join(offered) or 'nothing'}. Set allow_unknown for a model that comes later"
        )
        if not self.module.check_mode:
            raise _access.AccessError(problem)
        self.warn(problem)

    def _write(self, client: _client.Client, before: _access.Access, after: _access.Access) -> None:
        calls = _access.needs(before, after)
        grants = _access.grants_to_api(after)
        if "create" in calls:
            client.post("/api/v1/models/create", {**_access.row_to_api(after), "access_grants": grants})
        if "update" in calls:
            client.post("/api/v1/models/model/update", _access.row_to_api(after))
        if "grant" in calls:
            body = {"id": after.model, "name": after.name, "access_grants": grants}
            client.post("/api/v1/models/model/access/update", body)
        if calls:
            problems = _access.ignored(after, _access.read(client, after.model))
            if problems:
                raise _client.OpenWebUiError(
                    f"Open WebUI at {client.url} took the access of {after.model} but did not keep it: "
                    f"{'; '.join(problems)}"
                )


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "model": {"type": "str"},
            "models": {"type": "list", "elements": "str"},
            "public": {"type": "bool"},
            "groups": {"type": "list", "elements": "str"},
            "users": {"type": "list", "elements": "str"},
            "name": {"type": "str"},
            "description": {"type": "str"},
            "hidden": {"type": "bool"},
            "allow_unknown": {"type": "bool", "default": False},
        },
        mutually_exclusive=[
            *_client.COMMON_RULES["mutually_exclusive"],
            ("model", "models"),
            ("name", "models"),
        ],
        required_one_of=[
            *_client.COMMON_RULES["required_one_of"],
            ("model", "models"),
            ("public", "groups", "users", "name", "description", "hidden"),
        ],
        required_by=_client.COMMON_RULES["required_by"],
        supports_check_mode=True,
    )
    AccessManager(module).main()


if __name__ == "__main__":
    main()
