#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon_config
short_description: Set single keys of Docker's daemon.json
version_added: "0.1.0"
description:
  - Sets and takes out keys of Docker's C(daemon.json) and leaves all others as they are, byte for byte, so that
    several roles can share the file.
  - Says what the engine needs to take the change up, by what dockerd is known to reload and what it reads only at its
    start.
  - A file that dockerd would not read is left alone, and the error names line and column. The same goes for a key
    that is also a flag of dockerd's command line, with which it would not start.
  - Does not install, reload or restart anything.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - Docker's configuration file. A link is followed and stays a link. A missing file is written, with its folder.
    type: path
    default: /etc/docker/daemon.json
  settings:
    description:
      - Keys and their values, in dockerd's own names. Objects are merged key by key at every depth; lists and
        everything else are replaced.
    type: dict
    default: {}
  absent:
    description:
      - Keys to take out. Dots lead into objects, as in V(log-opts.max-size).
    type: list
    elements: str
    default: []
  backup:
    description:
      - Keep a copy of the file from before a change.
    type: bool
    default: false
  socket:
    description:
      - The engine's socket, such as V(/var/run/docker.sock). When given, RV(needs) also counts what an engine running
        there has not taken up yet from this file, for example since a run was stopped half way, and is V(restart) for
        an engine that holds ports for no container.
    type: path
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.nvidia_runtime
"""

EXAMPLES = r"""
- name: Rotate container logs and keep containers up while the engine restarts
  private_llm.fleet.docker_daemon_config:
    settings:
      log-driver: json-file
      log-opts:
        max-size: 100m
        max-file: "3"
      live-restore: true
  register: engine_config

- name: Stop using a registry mirror
  private_llm.fleet.docker_daemon_config:
    absent:
      - registry-mirrors
"""

RETURN = r"""
path:
  description: The file as it was named.
  returned: always
  type: str
  sample: /etc/docker/daemon.json
needs:
  description: What the engine needs to take up the file. In check mode, what it would need.
  returned: always
  type: str
  choices:
    - none
    - reload
    - restart
  sample: restart
pending:
  description: Keys of the resulting file that the engine at O(socket) has not taken up, as far as it tells.
  returned: always
  type: list
  elements: str
  sample: [log-driver]
backup_file:
  description: The copy of the file from before the change; null when none was made.
  returned: always
  type: str
  sample: /etc/docker/daemon.json.2186.2026-01-31@12:00:00~
engine:
  description:
    - The engine at O(socket); its C(running) is false when none was asked or none answers. The keys are those that
      M(private_llm.fleet.nvidia_runtime) describes.
  returned: always
  type: dict
  sample: {running: true, version: 26.1.5, runtimes: [nvidia, runc], default_runtime: runc, live_restore: false}
"""

from ..module_utils._docker import _daemon_file
from ..module_utils._docker._daemon_settings import plan_settings
from ..module_utils._fleet_module import FleetModule


def main() -> None:
    module = FleetModule(
        argument_spec=dict(
            _daemon_file.ARGUMENTS,
            settings={"type": "dict", "default": {}},
            absent={"type": "list", "elements": "str", "default": []},
        ),
        supports_check_mode=True,
    )
    params = module.params
    prefix = "runtimes."
    result = _daemon_file.run(
        module,
        lambda before, added: plan_settings(before, params["settings"], params["absent"], added),
        taken_out=[key[len(prefix) :] for key in params["absent"] if key.startswith(prefix)],
    )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
