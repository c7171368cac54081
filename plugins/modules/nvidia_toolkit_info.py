#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_toolkit_info
short_description: NVIDIA's container toolkit on a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks, in one step, at the packages of NVIDIA's container toolkit, at the repository that they come from, at its
    runtime in Docker's C(daemon.json), at the engine and at the GPUs. Changes nothing.
  - Succeeds on a bare host, too.
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
    description: Docker's configuration file, as for M(private_llm.fleet.nvidia_runtime).
    type: path
    default: /etc/docker/daemon.json
  name:
    description: Name of the runtime.
    type: str
    default: nvidia
  runtime_path:
    description: The runtime's command.
    type: str
    default: nvidia-container-runtime
  set_as_default:
    description: Whether it is to be the default runtime. When omitted, any default is right.
    type: bool
  cdi:
    description: Whether the engine's CDI feature is to be on. When omitted, both are right.
    type: bool
  state:
    description: Whether the runtime is to be in the file.
    type: str
    choices:
      - present
      - absent
    default: present
  socket:
    description: The engine's socket.
    type: path
    default: /var/run/docker.sock
  family:
    description: The family of the host's system, which says who manages its packages.
    type: str
    choices:
      - debian
      - redhat
      - suse
    default: debian
  packages:
    description: Names of packages to look at.
    type: list
    elements: str
    default: [libnvidia-container1, libnvidia-container-tools, nvidia-container-toolkit-base, nvidia-container-toolkit]
  repository:
    description: The repository of the packages as it is to be on the host.
    type: dict
    suboptions:
      file:
        description: The file with its entry.
        type: path
        required: true
      lines:
        description: What the entry is to say; order, blanks and comments do not count.
        type: list
        elements: str
        required: true
      key:
        description: The file with its signing key.
        type: path
        required: true
      fingerprints:
        description: The fingerprints of the keys that may be in it.
        type: list
        elements: str
        required: true
      key_content:
        description: What the file with the key is to hold. When omitted, every key with the right fingerprint will do.
        type: str
      others:
        description: Patterns of files in which others may have made an entry of the repository.
        type: list
        elements: str
        default: []
      pattern:
        description: The regular expression by which such an entry is known.
        type: str
        default: ''
  paths:
    description: Paths of which to tell whether they are there.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds to wait for an answer of the driver.
    type: float
    default: 20
seealso:
  - module: private_llm.fleet.nvidia_runtime
  - module: private_llm.fleet.gpu_info
  - module: private_llm.fleet.docker_engine_info
"""

EXAMPLES = r"""
- name: Look at the toolkit
  private_llm.fleet.nvidia_toolkit_info:
  register: look

- name: Show its version
  ansible.builtin.debug:
    msg: "{{ look.packages | items2dict(key_name='name', value_name='version') }}"
"""

RETURN = r"""
path:
  description: Docker's configuration file as it was named.
  returned: always
  type: str
socket:
  description: The engine's socket as it was named.
  returned: success
  type: str
holds:
  description: Whether the file declares the runtime as it is wanted.
  returned: success
  type: bool
refused:
  description: Why dockerd would refuse the file with the runtime; null when it would not, or nothing has to be changed.
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
pending:
  description: Keys of the wanted file that the engine has not taken up, as far as it tells.
  returned: always
  type: list
  elements: str
engine:
  description: The engine, as M(private_llm.fleet.nvidia_runtime) describes it.
  returned: always
  type: dict
gpu:
  description: The GPUs, as M(private_llm.fleet.gpu_info) returns them, without the names of containers.
  returned: success
  type: dict
packages:
  description: The packages that are installed, with C(name) and C(version).
  returned: success
  type: list
  elements: dict
  sample:
    - {name: nvidia-container-toolkit, version: 1.20.1-1}
locks:
  description: >-
    What keeps the packages from a change; the names of packages that are held, and for O(family=redhat) the lines of
    dnf's version locks.
  returned: success
  type: list
  elements: str
repository:
  description: The repository on the host; null without O(repository).
  returned: success
  type: dict
  contains:
    listed:
      description: Whether its entry says what it is to say.
      type: bool
    trusted:
      description: Whether the key file holds the pinned keys and no other.
      type: bool
    others:
      description: Files with an entry of the repository that others made.
      type: list
      elements: str
paths:
  description: Whether each of O(paths) is there.
  returned: success
  type: dict
"""

import os
import typing as t

from ..module_utils._docker import _daemon_file
from ..module_utils._docker._nvidia_runtime import plan_runtime
from ..module_utils._fleet_module import FleetModule
from ..module_utils._gpu import _look
from ..module_utils._packages import _installed
from ..module_utils._replace import ReplaceError, read_file

PACKAGES = [
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
]


def read(path: str) -> bytes | None:
    """Return what is in a file; nothing where there is none that can be read."""
    try:
        return read_file(path, _installed.LARGEST)
    except (OSError, ReplaceError):
        return None


def texts(paths: t.Iterable[str]) -> list[str]:
    """Return the files that are there as text."""
    contents = (read(path) for path in paths)
    return [content.decode("utf-8", "replace") for content in contents if content is not None]


def look_at_packages(module: FleetModule) -> dict[str, t.Any]:
    """Return the packages and what keeps them from a change."""
    family, names = module.params["family"], module.params["packages"]
    query = _installed.DPKG_QUERY if family == "debian" else _installed.RPM_QUERY
    program = module.get_bin_path(query[0])
    # Both end with a status of their own for packages that they do not know, and print the others.
    output = module.run_command([program, *query[1:], *names])[1] if program and names else ""
    found = _installed.parse_query(output)
    if family == "debian":
        locks = [package.name for package in found if package.held]
    elif family == "redhat":
        locks = _installed.version_locks(texts(_installed.VERSION_LOCKS), names)
    else:
        locks = _installed.zypper_locks(texts(_installed.ZYPPER_LOCKS), names)
    packages = [{"name": package.name, "version": package.version} for package in found if package.installed]
    return {"packages": packages, "locks": locks}


def look_at_repository(wanted: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
    """Return how the repository differs from what is wanted."""
    if wanted is None:
        return None
    return {
        "listed": _installed.lists(read(wanted["file"]), wanted["lines"]),
        "trusted": _installed.trusts(read(wanted["key"]), wanted["fingerprints"], wanted["key_content"]),
        "others": _installed.others(wanted["others"], wanted["pattern"], wanted["file"], read),
    }


def main() -> None:
    module = FleetModule(
        argument_spec={
            "path": _daemon_file.ARGUMENTS["path"],
            "name": {"type": "str", "default": "nvidia"},
            "runtime_path": {"type": "str", "default": "nvidia-container-runtime"},
            "set_as_default": {"type": "bool"},
            "cdi": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "socket": {"type": "path", "default": "/var/run/docker.sock"},
            "family": {"type": "str", "choices": ["debian", "redhat", "suse"], "default": "debian"},
            "packages": {"type": "list", "elements": "str", "default": PACKAGES},
            "repository": {
                "type": "dict",
                "options": {
                    "file": {"type": "path", "required": True},
                    "lines": {"type": "list", "elements": "str", "required": True},
                    "key": {"type": "path", "required": True, "no_log": False},
                    "fingerprints": {"type": "list", "elements": "str", "required": True},
                    "key_content": {"type": "str", "no_log": False},
                    "others": {"type": "list", "elements": "str", "default": []},
                    "pattern": {"type": "str", "default": ""},
                },
            },
            "paths": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    params: dict[str, t.Any] = module.params
    timeout = params["timeout"]
    if not _look.can_wait(timeout):
        module.fail_json(msg=_look.cannot_wait(timeout))
    runtime = _daemon_file.look(
        module,
        lambda before, added: plan_runtime(
            before,
            name=params["name"],
            runtime_path=params["runtime_path"],
            set_as_default=params["set_as_default"],
            cdi=params["cdi"],
            present=params["state"] == "present",
            resolve=module.get_bin_path,
            also_known=added,
        ),
        taken_out=[params["name"]] if params["state"] == "absent" else [],
    )
    try:
        repository = look_at_repository(params["repository"])
    except ValueError as error:
        module.fail_json(msg=f"repository.{error}")
    module.exit_json(
        changed=False,
        socket=params["socket"],
        gpu=_look.look_here(module.get_bin_path, timeout),
        repository=repository,
        paths={path: os.path.exists(path) for path in params["paths"]},
        **look_at_packages(module),
        **runtime,
    )


if __name__ == "__main__":
    main()
