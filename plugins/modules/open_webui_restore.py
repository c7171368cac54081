#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_restore
short_description: Restore an Open WebUI from a backup
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Puts what M(private_llm.fleet.open_webui_backup) has saved in the place of what is there, in steps, between which
    the caller stops and starts Open WebUI. What was there is kept until it is said that it is not needed, and can be
    put back after a crash at any moment.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui_data
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Steps that have been done already change nothing, but C(apply) needs a C(prepare) before it.
options:
  step:
    description:
      - V(prepare) holds the whole archive against its own sums, refuses one that does not fit, and unpacks it beside
        the data. It changes nothing of what Open WebUI sees, which may run.
      - V(apply) puts it in place. Open WebUI must be stopped.
      - V(keep), in the place of V(prepare) and V(apply), needs no archive, for Open WebUI goes on with a copy of its
        databases, and they stay as they are. For an upgrade that can be taken back. Open WebUI must be stopped.
      - V(undo) puts back what was there before V(apply) or V(keep). Open WebUI must be stopped.
      - V(finish) removes what was there before V(apply) or V(keep).
    type: str
    choices: [prepare, apply, keep, undo, finish]
    required: true
  archive:
    description: The archive, on the host. Required for O(step=prepare).
    type: path
  config_dir:
    description: The folder for the secret key and the administrator's password.
    type: path
    required: true
  secret_key:
    description:
      - The secret key that is going to be used. A backup with another one is refused, for nobody's session would
        survive.
    type: str
    default: ""
  revisions:
    description:
      - The revisions of the schema that the Open WebUI to be started knows. A backup with another one is refused; empty
        means any.
    type: list
    elements: str
    default: []
seealso:
  - module: private_llm.fleet.open_webui_backup
"""

EXAMPLES = r"""
- name: Check and unpack the backup
  private_llm.fleet.open_webui_restore:
    step: prepare
    archive: /srv/open-webui-backups/open-webui-20261125T093000Z-0.12.4.tar.gz
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui

- name: Stop Open WebUI
  community.docker.docker_container:
    name: open-webui
    state: stopped

- name: Put it in place
  private_llm.fleet.open_webui_restore:
    step: apply
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui
"""

RETURN = r"""
backup:
  description: What the backup says about itself. Returned by V(prepare), empty otherwise.
  returned: success
  type: dict
  contains:
    created:
      description: When it was made, in UTC.
      type: str
      sample: "2026-11-25T09:30:00Z"
    host:
      description: The host on which it was made.
      type: str
      sample: web-01
    webui_version:
      description: The version of Open WebUI that the data are of.
      type: str
      sample: 0.12.4
    database:
      description: What keeps the data, V(sqlite) or V(postgresql).
      type: str
      sample: sqlite
    schema:
      description: The revision of the database's schema.
      type: str
      sample: 0bd252b206fb
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _backup, _restore


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_backup.DATA_ARGUMENTS,
            "step": {"type": "str", "choices": ["prepare", "apply", "keep", "undo", "finish"], "required": True},
            "archive": {"type": "path"},
            "config_dir": {"type": "path", "required": True},
            "secret_key": {"type": "str", "default": "", "no_log": True},
            "revisions": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("step", "prepare", ("archive",))],
        supports_check_mode=True,
    )
    params = module.params
    result: dict[str, t.Any] = {"changed": False, "backup": {}}
    try:
        restore = _restore.Restore(params["data_dir"], params["config_dir"], _backup.database_of(params))
        if params["step"] == "prepare":
            expected = _restore.Expected(params["secret_key"], frozenset(params["revisions"]))
            manifest = restore.prepare(params["archive"], expected, unpack=not module.check_mode)
            result["backup"] = _restore.about(manifest)
        elif module.check_mode:
            result["changed"] = params["step"] in ("apply", "keep") or restore.pending
        else:
            result["changed"] = getattr(restore, params["step"])()
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error), backup=result["backup"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
