#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_backup
short_description: Back up an Open WebUI while it runs
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Writes one archive with the database, the uploads, the vector data and the secrets of an Open WebUI, with the
    SHA-256 sum of everything in it, and reads it once more to prove it.
  - The server may run. A SQLite database is copied through SQLite's own backup interface, so that nothing is missing
    that was saved; a PostgreSQL database is dumped by C(pg_dump). Files follow the database, so that every file that it
    knows is there.
  - The archive holds secrets and is readable by root only. It appears under its name when it is complete.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui_data
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Every run makes a backup.
options:
  name:
    description:
      - The name of Open WebUI's container, where there is an engine to ask. Its image tells O(webui_version) when that
        is empty, and C(host.docker.internal) in O(database_url) becomes the address that this is for containers.
    type: str
    default: ""
  config_dir:
    description: The folder whose files are the secret key and the administrator's password.
    type: path
    required: true
  backup_dir:
    description: The folder for the archive, C(open-webui-TIME-VERSION.tar.gz); made, for root only, when it is missing.
    type: path
    required: true
  keep:
    description: How many archives are kept, the new one included; V(0) keeps all.
    type: int
    default: 0
  webui_version:
    description: The version of Open WebUI that the data are of, to be told later.
    type: str
    default: ""
seealso:
  - module: private_llm.fleet.open_webui_restore
"""

EXAMPLES = r"""
- name: Back up Open WebUI, and keep a week of it
  private_llm.fleet.open_webui_backup:
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui
    backup_dir: /srv/open-webui-backups
    keep: 7
  register: backup
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
  sample: /srv/open-webui-backups/open-webui-20261125T093000Z-0.12.4.tar.gz
size:
  description: The size of the archive in bytes; 0 in check mode.
  returned: success
  type: int
  sample: 1048576
members:
  description: How many files, folders and links are in it.
  returned: success
  type: int
  sample: 42
database:
  description: What keeps the data.
  returned: success
  type: str
  choices: [sqlite, postgresql]
  sample: sqlite
schema:
  description: The revision of the database's schema.
  returned: success
  type: str
  sample: 0bd252b206fb
left_out:
  description:
    - Links that lead out of the data folder, by their paths in it. They are not in the archive, for nothing that Open
      WebUI makes is such a link, and a restore refuses them.
  returned: success
  type: list
  elements: str
  sample: []
pruned:
  description: The names of older archives that were, or would be, removed.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _backup, _server, _way


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_backup.DATA_ARGUMENTS,
            "name": {"type": "str", "default": ""},
            "config_dir": {"type": "path", "required": True},
            "backup_dir": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 0},
            "webui_version": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["keep"] < 0:
        module.fail_json(msg=f"keep is {params['keep']}; give the number of archives to keep, or 0 for all")
    job = _backup.Job(
        data_dir=params["data_dir"],
        config_dir=params["config_dir"],
        backup_dir=params["backup_dir"],
        database=None,
        keep=params["keep"],
        webui_version=params["webui_version"],
    )
    try:
        if params["name"]:
            engine = _way.engine()
            # In a copy: Ansible prints a module's options, and hides the URL only as it was given.
            params = {**params, "database_url": _server.as_host_reaches(params["database_url"], engine)}
            job.webui_version = job.webui_version or _server.version_of(params["name"], engine)
        job.database = _backup.database_of(params)
        if module.check_mode:
            result = job.predict()
        else:
            with _server.hold_data(params["data_dir"], "backs up Open WebUI", lambda _holder: None):
                result = job.make()
    except (ValueError, OSError) as error:
        module.fail_json(msg=f"no backup was made: {error}")
    if result["left_out"]:
        module.warn(
            f"{len(result['left_out'])} link(s) that lead out of {params['data_dir']} are not in the backup, such as"
            f" {result['left_out'][0]!r}"
        )
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
