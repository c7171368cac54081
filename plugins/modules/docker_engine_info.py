#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_engine_info
short_description: The Docker engine of a host and its configuration
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks, in one step, at the engine that runs, at the engines that are installed, at the engine's unit of systemd and
    at C(daemon.json). Changes nothing.
  - Tells whether the file holds the settings that are wanted, and whether the engine has taken them up.
  - Succeeds on a host without an engine, too. An engine that does not run is not asked, because systemd would start it.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: This module changes nothing.
  diff_mode:
    support: none
    details: This module changes nothing.
  idempotent:
    support: full
    details: This module changes nothing.
options:
  path:
    description:
      - Docker's configuration file. A link is followed. A missing file counts as an empty one.
    type: path
    default: /etc/docker/daemon.json
  settings:
    description:
      - Keys and their values that the file is to hold, as M(private_llm.fleet.docker_daemon_config) takes them.
    type: dict
    default: {}
  absent:
    description:
      - Keys that the file is not to hold, as M(private_llm.fleet.docker_daemon_config) takes them.
    type: list
    elements: str
    default: []
  socket:
    description:
      - The engine's socket.
    type: path
    default: /var/run/docker.sock
seealso:
  - module: private_llm.fleet.docker_daemon_config
"""

EXAMPLES = r"""
- name: Look at the engine
  private_llm.fleet.docker_engine_info:
    settings:
      live-restore: true
  register: look

- name: Name what is not as it should be
  ansible.builtin.debug:
    msg: "the engine {{ 'needs a ' ~ look.needs if look.engine.running else 'does not run' }}"
  when: not look.engine.running or look.needs != 'none'
"""

RETURN = r"""
path:
  description: The file as it was named.
  returned: always
  type: str
  sample: /etc/docker/daemon.json
holds:
  description: Whether the file holds all of O(settings) and nothing of O(absent).
  returned: success
  type: bool
refused:
  description:
    - Why dockerd would refuse the file with O(settings); null when it would not, or when nothing has to be changed.
  returned: success
  type: str
needs:
  description: What the engine needs to take up the file as it is wanted.
  returned: always
  type: str
  choices:
    - none
    - reload
    - restart
  sample: none
pending:
  description: Keys of the wanted file that the engine has not taken up, as far as it tells.
  returned: always
  type: list
  elements: str
  sample: [log-driver]
engine:
  description:
    - The engine at O(socket); its C(running) is false when none answers. The keys are those that
      M(private_llm.fleet.nvidia_runtime) describes.
  returned: always
  type: dict
  sample: {running: true, version: 26.1.5, runtimes: [nvidia, runc], default_runtime: runc, live_restore: false}
programs:
  description: The programs of engines that are installed.
  returned: success
  type: list
  elements: str
  sample: [/usr/bin/dockerd]
snap:
  description: Whether a snap of Docker is installed.
  returned: success
  type: bool
user_sockets:
  description: Sockets of engines that users run without root.
  returned: success
  type: list
  elements: str
  sample: [/run/user/1000/docker.sock]
unit:
  description: The engine's unit; all of it is false where systemd does not run the host or has no such unit.
  returned: success
  type: dict
  contains:
    loaded:
      description: Whether systemd has the unit.
      type: bool
    active:
      description: Whether the unit runs.
      type: bool
    enabled:
      description: Whether the unit starts with the host.
      type: bool
"""

import typing as t

from ..module_utils._docker import _daemon_file, _installed
from ..module_utils._docker._daemon_settings import plan_settings
from ..module_utils._fleet_module import FleetModule


def ask_systemd(module: FleetModule) -> dict[str, bool]:
    """Return what systemd knows of the engine's unit."""
    systemctl = module.get_bin_path("systemctl")
    if not systemctl:
        return _installed.parse_unit("")
    argv = [systemctl, "show", f"--property={','.join(_installed.UNIT_PROPERTIES)}", _installed.UNIT]
    rc, shown, _errors = module.run_command(argv)
    return _installed.parse_unit(shown if rc == 0 else "")


def main() -> None:
    module = FleetModule(
        argument_spec={
            "path": _daemon_file.ARGUMENTS["path"],
            "settings": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": "/var/run/docker.sock"},
        },
        supports_check_mode=True,
    )
    params: dict[str, t.Any] = module.params
    found = _daemon_file.look(
        module, lambda before, added: plan_settings(before, params["settings"], params["absent"], added)
    )
    module.exit_json(
        changed=False,
        programs=_installed.programs(),
        snap=_installed.from_snap(),
        user_sockets=_installed.user_sockets(),
        unit=ask_systemd(module),
        **found,
    )


if __name__ == "__main__":
    main()
