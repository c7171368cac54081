#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_unit
short_description: Have a unit of systemd run with what its files hold
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Enables a unit and starts it, and restarts it when one of its files was written after it was started. What counts is
    the state of the host, so the next run also makes up for one that was killed after it had written a file.
  - The files are the unit's own, its drop-ins, and those of O(files). Their times are compared with that of the start.
  - Has systemd read its units again only where it has not read one of these, or one that they start, as they are now.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: A restart is told for files that were written before, not for those that other tasks would write.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  name:
    description: The unit, with the ending that says its kind.
    type: str
    required: true
  files:
    description: Other files that it reads only when it starts. One that is not there counts for nothing.
    type: list
    elements: path
    default: []
  started:
    description: Whether it is to run. With V(false) it is only enabled, for something else starts it.
    type: bool
    default: true
  reload:
    description:
      - Have it read its configuration again when it runs and is not restarted.
      - That alone is no change; the configuration is what changed.
    type: bool
    default: false
seealso:
  - module: ansible.builtin.systemd_service
"""

EXAMPLES = r"""
- name: Run Prometheus as its drop-in says, and have it read its configuration
  private_llm.fleet.systemd_unit:
    name: prometheus.service
    reload: true

- name: Run a program of one's own
  private_llm.fleet.systemd_unit:
    name: bridge.service
    files: [/opt/bridge/bridge.py, /etc/bridge.json]
"""

RETURN = r"""
actions:
  description: What was done, or would be, in its order.
  returned: always
  type: list
  elements: str
  sample: [daemon-reload, restart]
"""


from ..module_utils import _systemd
from ..module_utils._fleet_module import FleetModule

JOURNAL_LINES = 20


class Failed(Exception):
    """systemd does not do what it is asked for; the text says why."""


def systemctl(module: FleetModule, *arguments: str) -> str:
    """Return what ``systemctl`` prints; raise Failed where it fails."""
    code, output, errors = module.run_command([module.get_bin_path("systemctl", required=True), *arguments])
    if code != 0:
        raise Failed(f"systemctl {' '.join(arguments)}: {(errors or output).strip()}")
    return str(output)


def look(module: FleetModule, name: str) -> _systemd.Unit:
    """Ask systemd about a unit."""
    return _systemd.parse(systemctl(module, "show", f"--property={','.join(_systemd.PROPERTIES)}", "--", name))


def plan(module: FleetModule) -> list[str]:
    """Return the commands of ``systemctl`` that the unit needs, in their order."""
    unit = look(module, module.params["name"])
    unread = unit.unread or any(look(module, name).unread for name in unit.triggers)
    actions = (["daemon-reload"] if unread else []) + ([] if unit.enabled else ["enable"])
    if not module.params["started"]:
        return actions
    if not unit.running:
        return [*actions, "start"]
    if _systemd.runs_old_files(unit, module.params["files"]):
        return [*actions, "restart"]
    return [*actions, "reload"] if module.params["reload"] else actions


def carry_out(module: FleetModule, action: str) -> None:
    """Carry out one command; raise Failed, with the end of the journal, where the unit does not start."""
    name: str = module.params["name"]
    try:
        systemctl(module, *([action] if action == "daemon-reload" else [action, "--", name]))
    except Failed as error:
        if action in ("daemon-reload", "enable"):
            raise
        asked = ["journalctl", f"--unit={name}", f"--lines={JOURNAL_LINES}", "--no-pager", "--output=cat"]
        journal = module.run_command(asked, handle_exceptions=False)[1].strip() if module.get_bin_path(asked[0]) else ""
        raise Failed(f"{error}\nThe end of its journal:\n{journal}" if journal else str(error)) from error


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "started": {"type": "bool", "default": True},
            "reload": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    actions: list[str] = []
    try:
        actions = plan(module)
        if not module.check_mode:
            for action in actions:
                carry_out(module, action)
    except (Failed, OSError) as error:
        module.fail_json(msg=f"{module.params['name']} does not get into its state. {error}", actions=actions)
    module.exit_json(changed=bool({"enable", "start", "restart"} & set(actions)), actions=actions)


if __name__ == "__main__":
    main()
