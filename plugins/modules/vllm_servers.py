#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_servers
short_description: The vLLM servers of a host as containers
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Does for several servers of one host what M(private_llm.fleet.vllm_server) does for one, in one go.
  - Servers on different GPUs start side by side. Servers that share a GPU, and servers without one, start one after
    another, in their order; vLLM measures free memory while it starts.
  - A server that fails is no reason to leave the others; the module fails at the end and names each that did.
requirements:
  - A Docker Engine 20.10 or newer on the managed host, on its usual socket or where the environment variable
    E(DOCKER_HOST) says, as C(unix:///path) or C(tcp://host:port).
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.vllm_server.servers
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  host:
    description:
      - Options of M(private_llm.fleet.vllm_host_info), whose result is then in RV(host), also where a server fails. So
        a plan looks at a host once.
    type: dict
    suboptions:
      names:
        description: Servers of which the last measurement is wanted.
        type: list
        elements: str
        default: []
      models:
        description: Folders of models.
        type: list
        elements: path
        default: []
      images:
        description: References of images.
        type: list
        elements: str
        default: []
      folders:
        description: Folders, there yet or not, of which the free space is wanted.
        type: list
        elements: path
        default: []
      paths:
        description: Files and folders of which only is wanted whether they are there.
        type: list
        elements: path
        default: []
      gpus:
        description: Whether to ask the driver for the GPUs.
        type: bool
        default: true
seealso:
  - module: private_llm.fleet.vllm_server
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Serve two models, each on a GPU of its own
  private_llm.fleet.vllm_servers:
    servers:
      - name: qwen3-32b
        image: vllm/vllm-openai:v0.32.0
        model: /srv/models/Qwen/Qwen3-32B/current
        gpus: [0]
        port: 18005
      - name: qwen3-8b
        image: vllm/vllm-openai:v0.32.0
        model: /srv/models/Qwen/Qwen3-8B/current
        gpus: [1]
        port: 18006

- name: Look what would change, and what room the host has for models
  private_llm.fleet.vllm_servers:
    servers: "{{ my_servers }}"
    host:
      folders: [/srv/models]
  check_mode: true
  register: looked
"""

RETURN = r"""
servers:
  description:
    - How each server ended, in the order of the option. Beside these values each has all that
      M(private_llm.fleet.vllm_server) returns.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the server.
      type: str
    failed:
      description: Whether it is not as declared.
      type: bool
    msg:
      description: Why it is not; empty when it is.
      type: str
    changed:
      description: Whether anything was changed for this server, or would be.
      type: bool
    status:
      description:
        - V(ready), V(stopped) or V(absent), as M(private_llm.fleet.vllm_server_info) says it; empty for a server that
          is not settled, or was not waited for, which that module has to ask.
      type: str
    watch:
      description: What the role P(private_llm.fleet.server_watch#role) saw of it last, as that module returns it.
      type: dict
  sample:
    - name: qwen3-32b
      failed: false
      msg: ""
      changed: true
      status: ready
      watch: {}
      actions: [recreate, start]
host:
  description: What M(private_llm.fleet.vllm_host_info) returns.
  returned: with O(host)
  type: dict
  sample:
    gpu: null
    models: {}
    images: {}
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.lifecycle import _converge, _host_facts
from ..module_utils._vllm.lifecycle._ansible import (
    host_of,
    take_options,
    way_to_engine,
)
from ..module_utils._watch import _memory


def main() -> None:
    module = FleetModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _converge.ARGUMENTS,
                "required_if": _converge.REQUIRED_IF,
            },
            "host": {"type": "dict", "options": _host_facts.ARGUMENTS},
        },
        supports_check_mode=True,
    )
    wanted = module.params["host"]
    told = {"host": _host_facts.look(wanted, module.get_bin_path)} if wanted is not None else {}
    host = host_of(module)
    servers = [_converge.Server(params, host) for params in take_options(module)]
    try:
        _converge.check_all(servers)
        outcomes = _converge.run(servers, way_to_engine(module, servers))
    except ValueError as error:
        module.fail_json(msg=str(error), servers=[], **told)
    result = {**_converge.summary(outcomes), **told}
    watched = _memory.read()
    for server in result["servers"]:
        server["watch"] = _memory.told(watched.get(server["name"]))
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    if problems:
        module.fail_json(msg="\n".join(problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
