#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: monitoring_config
short_description: Put the files of a Prometheus and an Alertmanager in place, judged before
version_added: "0.1.0"
description:
  - Writes all files below one folder. Before that, C(promtool) judges a C(prometheus.yml) with its rules, and
    C(amtool) an C(alertmanager.yml), where the host has them; a configuration that one of them refuses changes nothing.
  - Files of the folder that are not given are removed. A folder that holds files and was not made by this module is
    refused.
  - It neither starts nor reloads a program.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Files that hold secrets are named, and their content is not shown.
  idempotent:
    support: full
options:
  path:
    description: The folder of the files, which belongs to this module alone.
    type: path
    default: /etc/prometheus/private_llm
  files:
    description: The files that everybody may read, by their paths below the folder.
    type: dict
    default: {}
  secret_files:
    description: The files that only their owner may read, by their paths below the folder.
    type: dict
    default: {}
  owner:
    description:
      - The account that the programs run as. It owns the files that hold secrets. When omitted, whoever runs the
        module.
    type: str
  state:
    description: V(absent) removes the folder.
    type: str
    choices: [present, absent]
    default: present
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - plugin: private_llm.fleet.monitoring_files
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Put the configuration in place
  private_llm.fleet.monitoring_config:
    files: "{{ written.files }}"
    secret_files: "{{ written.secret_files }}"
    owner: prometheus
  vars:
    written: "{{ monitoring_targets | private_llm.fleet.monitoring_files({'interval': 15}) }}"
  no_log: true

- name: Remove it
  private_llm.fleet.monitoring_config:
    state: absent
"""

RETURN = r"""
path:
  description: The folder of the files.
  returned: always
  type: str
  sample: /etc/prometheus/private_llm
changed_files:
  description: The files that are written, replaced or removed, by their paths below the folder.
  returned: always
  type: list
  elements: str
  sample: [rules/alerts.yml, targets/vllm.json]
judged:
  description: The programs that judged the files; one that the host lacks is not among them.
  returned: always
  type: list
  elements: str
  sample: [promtool, amtool]
"""

import contextlib
import os
import pwd
import shutil
import tempfile
import typing as t

from ..module_utils import _owned_files
from ..module_utils._engine import _lock
from ..module_utils._fleet_module import FleetModule

# The program that judges a file of each name, if the file is there.
JUDGES = {
    "prometheus.yml": ("promtool", ["check", "config"]),
    "alertmanager.yml": ("amtool", ["check-config"]),
}


class Refused(ValueError):
    """A program refuses a configuration; the text says why."""


def main() -> None:
    module = FleetModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/prometheus/private_llm"},
            "files": {"type": "dict", "default": {}},
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
            "owner": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    path: str = module.params["path"]
    result: dict[str, t.Any] = {"changed": False, "path": path, "changed_files": [], "judged": []}
    try:
        with contextlib.ExitStack() as stack:
            if not module.check_mode:
                # Each run removes the files that it does not want, and with them the drafts of another one.
                doing = "changing the files of the monitoring"
                stack.enter_context(_lock.hold("monitoring", os.path.realpath(path), doing, directory=_lock.DIRECTORY))
            if module.params["state"] == "absent":
                remove(module, path, result)
            else:
                apply(module, path, result)
    except (_owned_files.OwnedFilesError, _lock.LockError, Refused, OSError) as error:
        reason = f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        module.fail_json(msg=f"{reason}; the files in {path} were left as they are", **{**result, "changed": False})
    module.exit_json(**result)


def remove(module: FleetModule, path: str, result: dict[str, t.Any]) -> None:
    if not os.path.lexists(path):
        return
    _owned_files.check_folder(path)
    result["changed"] = True
    result["changed_files"] = sorted(_owned_files.found(path))
    if not module.check_mode:
        shutil.rmtree(path)


def apply(module: FleetModule, path: str, result: dict[str, t.Any]) -> None:
    secret = {str(name): str(text) for name, text in module.params["secret_files"].items()}
    wanted = {
        **{str(name): _owned_files.File(str(text), False) for name, text in module.params["files"].items()},
        **{name: _owned_files.File(text, True) for name, text in secret.items()},
    }
    _owned_files.check_names(wanted)
    owner = account(module)
    changes = _owned_files.changes(path, wanted, owner)
    result["changed_files"] = changes
    result["changed"] = bool(changes)
    if not changes:
        return
    result["diff"] = [
        {"before_header": name, "after_header": name, "before": before, "after": after}
        for name, before, after in _owned_files.shown(path, wanted, changes)
    ]
    result["judged"] = judge(module, wanted)
    if not module.check_mode:
        _owned_files.write(path, wanted, owner)


def account(module: FleetModule) -> int | None:
    """Return the number of the account that owns files with secrets; None for whoever runs this."""
    name = module.params["owner"]
    if not name:
        return None
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        if module.check_mode:
            return None  # a host without the package yet
        raise Refused(f"there is no account {name} on this host (owner)") from error


def judge(module: FleetModule, wanted: t.Mapping[str, _owned_files.File]) -> list[str]:
    """Have programs judge the files in a folder aside; return their names."""
    judged = []
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        _owned_files.write(folder, wanted, None)
        for name, (program, arguments) in JUDGES.items():
            found = module.get_bin_path(program) if name in wanted else None
            if not found:
                continue
            code, output, errors = module.run_command([found, *arguments, os.path.join(folder, name)])
            if code != 0:
                said = (output + errors).replace(folder + os.sep, "")
                raise Refused(f"{program} refuses the new configuration: {said.strip()[:2000]}")
            judged.append(program)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return judged


if __name__ == "__main__":
    main()
