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
  - Puts what M(private_llm.fleet.open_webui_backup) has saved in the place of what is there, and starts Open WebUI on
    it. The whole archive is held against its own sums before anything stops, and one that does not fit is refused.
  - What is there is backed up before. When the restored one is not ready in time, container, environment and data are
    as they were.
  - One run at a time changes an Open WebUI. A second one waits, then looks anew.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui_server
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Every run restores the archive, for people go on writing after it.
options:
  archive:
    description: The archive, on the host.
    type: path
    required: true
seealso:
  - module: private_llm.fleet.open_webui_backup
  - module: private_llm.fleet.open_webui_server
"""

EXAMPLES = r"""
- name: Restore Open WebUI
  private_llm.fleet.open_webui_restore:
    archive: /srv/open-webui-backups/open-webui-20261125T093000Z-0.12.4.tar.gz
    image: ghcr.io/open-webui/open-webui:v0.12.4
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui
    backup_dir: /srv/open-webui-backups
"""

RETURN = r"""
backup:
  description: What the backup says about itself.
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
saved:
  description: The backup of what was there before; empty where nothing was.
  returned: success
  type: str
  sample: /srv/open-webui-backups/open-webui-20261125T093000Z-0.12.4.tar.gz
container:
  description: The id of the container; empty in check mode.
  returned: success
  type: str
  sample: 3f4e8d1c
image:
  description: The id of the image; empty where the host does not have it.
  returned: success
  type: str
  sample: sha256:9f2a6d1c
changes:
  description: Each option of the container that differed, as M(private_llm.fleet.open_webui_server) returns it.
  returned: success
  type: list
  elements: dict
  sample: []
written:
  description: Which of the files admin_password, secret_key, admin and env differed before the restore.
  returned: success
  type: list
  elements: str
  sample: []
waited_for:
  description: The run on the same host that this one waited for; empty when there was none.
  returned: success
  type: str
  sample: ""
settled:
  description: Whether it is in its state now. In check mode, whether a run would have nothing to do.
  returned: success
  type: bool
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _server, _way


def main() -> None:
    module = FleetModule(
        argument_spec={**_server.ARGUMENTS, "archive": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    _way.carry_out(module, lambda server: server.run(), module.params["archive"])


if __name__ == "__main__":
    main()
