#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_server
short_description: Open WebUI as a container
version_added: "0.1.0"
author: private_llm.fleet contributors (@private-llm)
description:
  - Brings one Open WebUI to the declared state, as a container of the host's Docker Engine, with its secrets and its
    environment in files that root alone can read.
  - Open WebUI is ready when it says so, not when its container runs. Another image is brought in with a way back. A
    backup is made first, Open WebUI works on a copy of its databases, and when it is not ready in time, the container,
    the environment and the data are as they were.
  - An image that does not know the schema of the database is refused before anything stops.
  - One run at a time changes an Open WebUI. A second one waits, then looks anew. A run that was killed is gone on with
    by the next one, wherever it was.
  - The container has few of root's rights, cannot get more, and has a limit of processes.
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.open_webui_server
attributes:
  check_mode:
    support: full
    details: Starts no container, so that a downgrade is told by the versions alone.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description: Whether the container runs, or is not there. Data, secrets and backups stay in either case.
    type: str
    choices: [started, absent]
    default: started
  sign_in:
    description:
      - In check mode, ask first what answers on the port, and sign in there as the administrator, with
        O(admin_password) or the password that is kept in O(config_dir). What was found is in RV(web), a password that
        is not accepted included.
      - Without check mode it does nothing.
    type: bool
    default: false
seealso:
  - module: private_llm.fleet.open_webui_backup
  - module: private_llm.fleet.open_webui_restore
  - module: private_llm.fleet.open_webui_info
"""

EXAMPLES = r"""
- name: Run Open WebUI
  private_llm.fleet.open_webui_server:
    image: ghcr.io/open-webui/open-webui:v0.12.4
    bind: 127.0.0.1
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui
    backup_dir: /srv/open-webui-backups
    env:
      ENABLE_SIGNUP: false

- name: Check what would change, and whether the password is known, change nothing
  private_llm.fleet.open_webui_server:
    image: ghcr.io/open-webui/open-webui:v0.12.4
    data_dir: /srv/open-webui
    config_dir: /etc/private_llm/open_webui
    backup_dir: /srv/open-webui-backups
    sign_in: true
  check_mode: true
  register: looked
"""

RETURN = r"""
container:
  description: The id of the container; empty in check mode and for O(state=absent).
  returned: success
  type: str
  sample: 3f4e8d1c
image:
  description: The id of the image; empty where the host does not have it.
  returned: success
  type: str
  sample: sha256:9f2a6d1c
changes:
  description: Each option of the container that differed, as it was and as it is.
  returned: success
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
      sample: memory
    before:
      description: What it was.
      type: raw
      sample: 0
    after:
      description: What it is.
      type: raw
      sample: 4294967296
written:
  description: Which of the files admin_password, secret_key, admin and env were written, or would be.
  returned: success
  type: list
  elements: str
  sample: [env]
saved:
  description: The backup that was made before another image; empty when none was.
  returned: success
  type: str
  sample: /srv/open-webui-backups/open-webui-20261125T093000Z-0.12.4.tar.gz
backup:
  description: Empty; M(private_llm.fleet.open_webui_restore) says here what it restored.
  returned: success
  type: dict
  sample: {}
waited_for:
  description: The run on the same host that this one waited for; empty when there was none.
  returned: success
  type: str
  sample: ""
settled:
  description: Whether it is in its state now. In check mode, whether a run would have nothing to do.
  returned: success
  type: bool
web:
  description: What answers on the port; empty without O(sign_in) and check mode.
  returned: always
  type: dict
  contains:
    status:
      description: The same as that of M(private_llm.fleet.open_webui_info).
      type: str
      choices: [ready, starting, other, unreachable]
      sample: ready
    message:
      description: The same in a sentence.
      type: str
      sample: Open WebUI at http://127.0.0.1:3000 is ready
    has_accounts:
      description: Whether anybody has an account. Null when it is not ready.
      type: bool
      sample: true
    signed_in:
      description: Whether the administrator signed in.
      type: bool
      sample: true
    trouble:
      description: Why it could not be asked, or did not let the administrator sign in; empty when it did.
      type: str
      sample: ""
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _server, _way


def main() -> None:
    module = FleetModule(
        argument_spec={
            **_server.ARGUMENTS,
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "sign_in": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    absent = module.params["state"] == "absent"
    _way.carry_out(module, lambda server: server.remove() if absent else server.run(), needs_engine=not absent)


if __name__ == "__main__":
    main()
