#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_group
short_description: Manage Open WebUI's groups
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Makes, describes and removes groups, and says who is in them.
  - A group is known by its name. Open WebUI lets two groups have the same one; the module then changes neither and
    fails.
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
  name:
    description: The name, exactly as Open WebUI shows it.
    type: str
    required: true
  description:
    description: What the group is for. Left out, it stays; a new group has none.
    type: str
  members:
    description:
      - The e-mail addresses of the members, who need accounts. These are all of them, unless O(append=true).
      - Left out, the members stay; V([]) means nobody.
    type: list
    elements: str
  append:
    description: Whether O(members) are added to those that are there, instead of being all of them.
    type: bool
    default: false
  state:
    description: Whether the group is there. What was shared with it is shared with one group less when it goes.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: private_llm.fleet.open_webui_user
  - module: private_llm.fleet.open_webui_model_access
notes:
  - In check mode an account that is not there yet is a warning, for it may be only about to be made.
  - A group's permissions, default models and place under another group are left alone.
"""

EXAMPLES = r"""
- name: Have a group of exactly these people
  private_llm.fleet.open_webui_group:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    name: research
    description: They try models before everybody else.
    members: [ann@example.com, bob@example.com]

- name: Add one person, whoever else is in the group
  private_llm.fleet.open_webui_group:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    name: research
    members: [eve@example.com]
    append: true
"""

RETURN = r"""
group:
  description: The group as it is afterwards; in check mode, as it would be. Empty when there is none.
  returned: success
  type: dict
  contains:
    name:
      description: The name.
      type: str
      sample: research
    description:
      description: What the group is for.
      type: str
      sample: They try models before everybody else.
    members:
      description: The e-mail addresses of its members.
      type: list
      elements: str
      sample: [ann@example.com, bob@example.com]
action:
  description: What was done, or would be done in check mode.
  returned: success
  type: str
  choices: [created, updated, removed, unchanged]
  sample: updated
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _access, _client, _module, _people


class GroupManager(_module.ObjectModule[_people.Group]):
    """One group, known by its name."""

    NAME = "group"

    def check(self) -> None:
        params = self.params
        self._wanted = _people.WantedGroup(
            name=params["name"],
            description=params["description"],
            members=None if params["members"] is None else tuple(params["members"]),
            append=params["append"],
            state=params["state"],
        )
        if not self._wanted.name.strip():
            raise _people.PeopleError("name is empty: give the group one")

    def called(self) -> str:
        return f"the group {self._wanted.name!r}"

    def read(self, client: _client.Client) -> _people.Group | None:
        found = client.read("/api/v1/groups/", lambda groups: _people.find_group(groups, self._wanted.name))
        if found is None:
            return None
        return client.read(f"/api/v1/groups/id/{_client.in_path(found['id'])}/export", _people.group_from_api)

    def plan(self, client: _client.Client, before: _people.Group | None) -> _people.Group | None:
        users = client.read("/api/v1/users/all", _access.addressed_users)
        self._directory = _access.Directory(users=users, foresight=self.module.check_mode)
        taken_on_trust = self._directory.unknown((), self._wanted.members or ())
        if taken_on_trust and self.module.check_mode:
            self.warn(f"Open WebUI at {client.url} has no {', no '.join(taken_on_trust)} yet")
        return _people.plan_group(before, self._wanted, self._directory)

    def describe(self, found: _people.Group | None) -> dict[str, t.Any]:
        return _people.describe_group(found, self._directory)

    def send(self, client: _client.Client, before: _people.Group | None, after: _people.Group | None) -> None:
        if after is None:
            if before is not None:
                client.delete(f"/api/v1/groups/id/{_client.in_path(before.id)}/delete")
            return
        look = {"name": after.name, "description": after.description}
        if before is None:
            made = client.understand(
                "POST /api/v1/groups/create", client.post("/api/v1/groups/create", look), _people.id_of_group
            )
            before = _people.Group(after.name, after.description, frozenset(), made)
        path = f"/api/v1/groups/id/{_client.in_path(before.id)}"
        if before.description != after.description:
            client.post(f"{path}/update", look)
        for verb, ids in (("add", after.members - before.members), ("remove", before.members - after.members)):
            if ids:
                client.post(f"{path}/users/{verb}", {"user_ids": sorted(ids)})


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "name": {"type": "str", "required": True},
            "description": {"type": "str"},
            "members": {"type": "list", "elements": "str"},
            "append": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        **_client.COMMON_RULES,
        supports_check_mode=True,
    )
    GroupManager(module).main()


if __name__ == "__main__":
    main()
