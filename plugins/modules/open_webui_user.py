#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_user
short_description: Manage Open WebUI's accounts
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Makes, changes and removes accounts, each known by its e-mail address in upper or lower case.
  - What was written is read back, and the module fails when Open WebUI did not take it over.
  - The session that Open WebUI opens for each new account, and sends along with it, is never returned.
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
  email:
    description: The e-mail address, with which the person signs in.
    type: str
    required: true
  name:
    description: The name shown. A new account without one is called by its e-mail address.
    type: str
  role:
    description:
      - What the account may do. Somebody who is V(pending) can sign in and do nothing else.
      - A new account is a V(user), unless told otherwise.
    type: str
    choices: [pending, user, admin]
  password:
    description:
      - The password to sign in with. Needed for a new account, at most 72 bytes long.
      - Open WebUI may demand more of a password, by C(ENABLE_PASSWORD_VALIDATION).
    type: str
  update_password:
    description:
      - With V(on_create) the password is given to a new account only, and what people change it into stays.
      - With V(always) the module signs in with O(password) to learn whether it is the one in use, and sets it where it
        is not. Each such attempt counts for the limit of 15 sign-ins in about three minutes for one address.
      - Where Open WebUI signs people in by other means than a password, V(always) is an error.
    type: str
    choices: [on_create, always]
    default: on_create
  state:
    description: Whether the account is there. Its chats go with it.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: private_llm.fleet.open_webui_group
notes:
  - The account that was made first is an administrator's for good. Open WebUI lets nobody remove it or change its role,
    and nobody else change anything about it.
  - Another password signs its owner out everywhere.
"""

EXAMPLES = r"""
- name: Have an account for Ann, who changes her password herself
  private_llm.fleet.open_webui_user:
    webui_url: http://127.0.0.1:3000
    webui_email: admin@example.com
    webui_password: "{{ vault_open_webui_password }}"
    email: ann@example.com
    name: Ann
    password: "{{ vault_first_password_of_ann }}"

- name: Keep the password of a program's account as it is in the vault
  private_llm.fleet.open_webui_user:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    email: probe@example.com
    password: "{{ vault_probe_password }}"
    update_password: always

- name: Take the account of somebody who left away
  private_llm.fleet.open_webui_user:
    webui_url: http://127.0.0.1:3000
    webui_token: "{{ vault_open_webui_token }}"
    email: bob@example.com
    state: absent
"""

RETURN = r"""
user:
  description: The account as it is afterwards; in check mode, as it would be. Empty when there is none.
  returned: success
  type: dict
  contains:
    email:
      description: The e-mail address.
      type: str
      sample: ann@example.com
    name:
      description: The name shown.
      type: str
      sample: Ann
    role:
      description: What the account may do.
      type: str
      choices: [pending, user, admin]
      sample: user
action:
  description: What was done, or would be done in check mode.
  returned: success
  type: str
  choices: [created, updated, removed, unchanged]
  sample: created
webui_version:
  description: The version of Open WebUI.
  returned: success
  type: str
  sample: 0.12.4
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _client, _module, _people

USERS = "/api/v1/users/all"


class UserManager(_module.ObjectModule[_people.User]):
    """One account, known by its e-mail address."""

    NAME = "user"

    def check(self) -> None:
        params = self.params
        self._wanted = _people.WantedUser(
            email=params["email"].strip(),
            name=params["name"],
            role=params["role"],
            password=params["password"],
            state=params["state"],
        )
        self._new_password = False
        _people.check_user(self._wanted)

    def called(self) -> str:
        return f"the account {self._wanted.email}"

    def read(self, client: _client.Client) -> _people.User | None:
        return client.read(USERS, lambda users: _people.find_user(users, self._wanted.email))

    def plan(self, client: _client.Client, before: _people.User | None) -> _people.User | None:
        after = _people.plan_user(before, self._wanted)
        demoted = before is not None and before.role == "admin" and (after is None or after.role != "admin")
        if before is not None and demoted and self._is_first(client, before):
            _people.refuse_primary(before, after)
        return after

    def _is_first(self, client: _client.Client, user: _people.User) -> bool:
        oldest_first = "/api/v1/users/?order_by=created_at&direction=asc&page=1"
        return client.read(oldest_first, _people.first_account) == user.id

    def hides_change(self, client: _client.Client, before: _people.User | None, after: _people.User | None) -> bool:
        """Return whether the password has to be sent. Only a sign-in tells whether it is the one in use."""
        password = self._wanted.password
        if after is None or password is None:
            return False
        keep = self.params["update_password"] != "always"  # noqa: S105 - a choice, no password
        self._new_password = before is None or (not keep and not client.accepts(before.email, password))
        return self._new_password

    def describe(self, found: _people.User | None) -> dict[str, t.Any]:
        return _people.describe_user(found)

    def differ(self, before: _people.User | None, after: _people.User | None) -> dict[str, t.Any]:
        return _people.user_difference(before, after, self._new_password)

    def send(self, client: _client.Client, before: _people.User | None, after: _people.User | None) -> None:
        password = {"password": self._wanted.password} if self._new_password else {}
        if before is not None and after is None:
            client.delete(f"/api/v1/users/{_client.in_path(before.id)}")
        elif before is None and after is not None:
            body = {"email": after.email, "name": after.name, "role": after.role, **password}
            client.post("/api/v1/auths/add", body)
        elif before is not None and after is not None:
            fields = _people.changed_fields(before, after)
            client.post(f"/api/v1/users/{_client.in_path(before.id)}/update", {**fields, **password})
            if password and before.email.lower() == str(self.params["webui_email"]).strip().lower():
                # Our own sessions ended with the old password.
                client.sign_in(before.email, str(self._wanted.password))


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_client.COMMON_ARGUMENTS,
            "email": {"type": "str", "required": True},
            "name": {"type": "str"},
            "role": {"type": "str", "choices": list(_people.ROLES)},
            "password": {"type": "str", "no_log": True},
            "update_password": {
                "type": "str",
                "choices": ["on_create", "always"],
                "default": "on_create",
                "no_log": False,
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        **_client.COMMON_RULES,
        required_if=[("update_password", "always", ("password",))],
        supports_check_mode=True,
    )
    UserManager(module).main()


if __name__ == "__main__":
    main()
