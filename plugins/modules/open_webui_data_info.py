#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_data_info
short_description: Look at the data of an Open WebUI
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Says whether there are data, and which schema their database has, without asking Open WebUI, which need not run.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui_data
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: private_llm.fleet.open_webui_backup
  - module: private_llm.fleet.open_webui_restore
"""

EXAMPLES = r"""
- name: Look at the data
  private_llm.fleet.open_webui_data_info:
    data_dir: /srv/open-webui
  register: data
"""

RETURN = r"""
exists:
  description: Whether there is a database with something in it.
  returned: success
  type: bool
  sample: true
database:
  description: What keeps the data.
  returned: success
  type: str
  choices: [sqlite, postgresql]
  sample: sqlite
schema:
  description:
    - The revision of the database's schema (Alembic's). An Open WebUI that does not know it cannot start on these data.
    - Empty when there is none, or when RV(message) says why it cannot be told.
  returned: success
  type: str
  sample: 0bd252b206fb
message:
  description: Why the schema of a PostgreSQL database cannot be told yet; empty otherwise.
  returned: success
  type: str
  sample: ""
network_file_system:
  description:
    - The kind of the network file system that the folder is on, such as C(nfs4); empty for one of the host's own.
      SQLite does not work reliably on it.
  returned: success
  type: str
  sample: ""
unfinished:
  description:
    - How far a step of M(private_llm.fleet.open_webui_restore) came that was neither finished nor taken back. V(begun)
      when it was cut off in the middle and must be taken back.
  returned: success
  type: str
  choices: [none, begun, applied]
  sample: none
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import (
    _backup,
    _data,
    _postgres,
    _restore,
    _tree,
)


def main() -> None:
    module = FleetModule(argument_spec=_backup.DATA_ARGUMENTS, supports_check_mode=True)
    result: dict[str, t.Any] = {
        "changed": False,
        "exists": False,
        "database": "sqlite",
        "schema": "",
        "message": "",
        "network_file_system": "",
        "unfinished": "none",
    }
    data_dir = module.params["data_dir"]
    try:
        database = _backup.database_of(module.params)
        result["unfinished"] = _restore.unfinished(data_dir)
        mounts = _tree.mounts()
        result["network_file_system"] = _tree.network_file_system(data_dir, mounts)
        if database:
            result["database"] = "postgresql"
            result["schema"] = database.revision()
            result["exists"] = bool(result["schema"])
        elif _data.has_database(data_dir):
            result["exists"] = True
            result["schema"] = _data.schema_of_sqlite(data_dir)
    except _postgres.ToolMissingError as error:
        result["message"] = str(error)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error), **{key: value for key, value in result.items() if key != "changed"})
    warning = _tree.network_warning(data_dir, mounts)
    if warning and result["database"] == "sqlite":
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
