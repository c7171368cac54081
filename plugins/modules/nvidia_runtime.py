#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_runtime
short_description: Make the NVIDIA runtime known to Docker
version_added: "0.1.0"
description:
  - Declares the NVIDIA container runtime in Docker's C(daemon.json), or takes it out, as C(nvidia-ctk runtime
    configure) does, and says what the engine needs to take the change up.
  - The file is compared by meaning and edited key by key. Other keys, other runtimes, other features, arguments of
    the runtime's entry, order, indentation and numbers stay as they are, byte for byte.
  - A file that dockerd would not read is left alone, and the error names line and column.
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
  name:
    description:
      - Name of the runtime.
    type: str
    default: nvidia
  runtime_path:
    description:
      - The runtime's command. A bare name is looked up by dockerd; it counts as the same as the absolute path that it
        leads to.
    type: str
    default: nvidia-container-runtime
  set_as_default:
    description:
      - V(true) makes it the default runtime. Then every container whose image sets C(NVIDIA_VISIBLE_DEVICES) gets
        GPUs, so leave this to hosts that run nothing else.
      - V(false) sets the default runtime back to V(runc) when it is this one.
      - When omitted, the default runtime is left alone.
    type: bool
  cdi:
    description:
      - Turns the engine's CDI feature on or off. When omitted, it is left alone.
    type: bool
  state:
    description:
      - V(absent) takes the runtime out, and sets the default runtime back to V(runc) when it was this one.
    type: str
    choices:
      - present
      - absent
    default: present
  backup:
    description:
      - Keep a copy of the file from before a change.
    type: bool
    default: false
  socket:
    description:
      - The engine's socket, such as V(/var/run/docker.sock). When given, RV(needs) also counts what an engine running
        there has not taken up yet from this file, for example since a run was stopped half way.
    type: path
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.docker_daemon_config
"""

EXAMPLES = r"""
- name: Declare the NVIDIA runtime
  private_llm.fleet.nvidia_runtime:
    backup: true
  register: runtime

- name: Let the engine take it up
  ansible.builtin.systemd_service:
    name: docker
    state: "{{ (runtime.needs == 'reload') | ternary('reloaded', 'restarted') }}"
  when: runtime.needs != 'none'

- name: Use CDI and name the runtime's binary in full
  private_llm.fleet.nvidia_runtime:
    runtime_path: /usr/bin/nvidia-container-runtime
    cdi: true

- name: Take it out again
  private_llm.fleet.nvidia_runtime:
    state: absent
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
  sample: reload
pending:
  description: Keys of the resulting file that the engine at O(socket) has not taken up, as far as it tells.
  returned: always
  type: list
  elements: str
  sample: [runtimes]
backup_file:
  description: The copy of the file from before the change; null when none was made.
  returned: always
  type: str
  sample: /etc/docker/daemon.json.2186.2026-01-31@12:00:00~
engine:
  description: The engine at O(socket); RV(engine.running) is false when none was asked or none answers.
  returned: always
  type: dict
  sample: {running: true, version: 26.1.5, runtimes: [nvidia, runc], default_runtime: runc, live_restore: false}
  contains:
    running:
      description: Whether an engine answers.
      type: bool
    version:
      description: Its version.
      type: str
    runtimes:
      description: The names of the runtimes it knows.
      type: list
      elements: str
    default_runtime:
      description: The runtime of containers that name none.
      type: str
    live_restore:
      description: Whether containers stay up while the engine restarts.
      type: bool
    cgroup_driver:
      description: V(systemd) or V(cgroupfs).
      type: str
    cgroup_version:
      description: V("1") or V("2").
      type: str
    data_root:
      description: Where it keeps images and containers.
      type: str
    cdi_spec_dirs:
      description: Where it looks for CDI specifications; empty when CDI is off.
      type: list
      elements: str
    containers_running:
      description: How many containers run.
      type: int
    gpu_containers:
      description: The names of running containers that have GPUs.
      type: list
      elements: str
    command_line:
      description: The command line of dockerd.
      type: list
      elements: str
    stale_ports:
      description:
        - Ports of the host that it holds for no container, since it was killed while it started one. It lets go of them
          when it is restarted, so RV(needs) is V(restart).
      type: list
      elements: str
      sample: ["0.0.0.0:18005/tcp"]
    network_problem:
      description:
        - What is broken about its network and what to do; its bridge was deleted, or its rules were flushed by a reload
          of the firewall. Null when nothing is known to be.
      type: str
    rootless:
      description: Whether it runs without root.
      type: bool
    swarm:
      description: Whether it is part of a swarm, where live restore has no effect.
      type: bool
"""

from ..module_utils._docker import _daemon_file
from ..module_utils._docker._nvidia_runtime import plan_runtime
from ..module_utils._fleet_module import FleetModule


def main() -> None:
    module = FleetModule(
        argument_spec=dict(
            _daemon_file.ARGUMENTS,
            name={"type": "str", "default": "nvidia"},
            runtime_path={"type": "str", "default": "nvidia-container-runtime"},
            set_as_default={"type": "bool"},
            cdi={"type": "bool"},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        ),
        supports_check_mode=True,
    )
    params = module.params
    result = _daemon_file.run(
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
    module.exit_json(**result)


if __name__ == "__main__":
    main()
