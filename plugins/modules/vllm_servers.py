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
  - The Python library C(docker) on the managed host; the role P(private_llm.fleet.host_python#role) installs it.
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
"""

RETURN = r"""
servers:
  description: How each server ended, in the order of the option.
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
    actions:
      description: What was done, or would be done, in this order.
      type: list
      elements: str
      sample: [recreate, start]
    changes:
      description: Each option that differed, in vLLM's terms. Secrets are hidden.
      type: list
      elements: dict
      contains:
        option:
          description: Name of the option.
          type: str
        before:
          description: The value it had; null for none.
          type: raw
        after:
          description: The value it has now; null for none.
          type: raw
      sample:
        - option: max_model_len
          before: 4096
          after: 8192
    container:
      description: The container afterwards; empty when there is none.
      type: dict
      contains:
        id:
          description: Identity of the container.
          type: str
        image:
          description: Image reference it was made from.
          type: str
        image_id:
          description: Identity of that image.
          type: str
        status:
          description: What the Docker Engine says it does, such as V(running).
          type: str
        model:
          description: Folder of the model release that is served.
          type: str
        served_model_names:
          description: Names by which clients ask for the model.
          type: list
          elements: str
        engine:
          description: Options of vLLM.
          type: dict
        gpus:
          description: Devices given to the container.
          type: list
          elements: str
        port:
          description: Port on the host.
          type: int
        bind:
          description: Address on the host.
          type: str
        authenticated:
          description: Whether clients need a key.
          type: bool
        config_hash:
          description: Fingerprint of the declared configuration.
          type: str
    ready:
      description: What the ready server measured of itself. Each value is null when it is not known.
      type: dict
      contains:
        seconds:
          description: From the start of the container until it could answer.
          type: float
        kv_cache_tokens:
          description: Tokens that the KV cache holds.
          type: int
        max_concurrency:
          description: Requests of the longest context that fit at the same time.
          type: float
        max_model_len:
          description: Longest context in tokens.
          type: int
    key_file:
      description: File on the host that holds the keys, one in a line; empty when clients need none.
      type: str
    rolled_back:
      description: Whether the previous container was put back.
      type: bool
    outage_seconds:
      description:
        - Seconds that clients had no server, from the stop of the one that ran until one was ready; null when none ran.
      type: float
    diagnosis:
      description: Why the server did not become ready; empty when it did.
      type: dict
      contains:
        cause:
          description: What is wrong.
          type: str
        evidence:
          description: The line of the log that shows it.
          type: str
        fix:
          description: What to change.
          type: str
        variable:
          description: The option to change first, such as V(engine.max_model_len); empty when no option is wrong.
          type: str
        value:
          description: What to change it to; null where it is to be left out, or the choice is yours.
          type: raw
        id:
          description: Short name of this kind of failure.
          type: str
    log_tail:
      description: The last lines of the log of a server that did not become ready.
      type: list
      elements: str
    log_file:
      description:
        - File on the host with the whole log of a server that did not become ready, readable by root; empty when it
          did. The five newest of each server are kept in C(/var/log/private_llm/vllm_server).
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm import _converge
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._ansible import host_of, way_to_engine


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _converge.ARGUMENTS,
                "required_if": _converge.REQUIRED_IF,
            },
        },
        supports_check_mode=True,
    )
    host = host_of(module)
    servers = [_converge.Server(params, host) for params in module.params["servers"]]
    try:
        _converge.check_all(servers)
        outcomes = _converge.run(servers, way_to_engine(module, servers))
    except ValueError as error:
        module.fail_json(msg=str(error), servers=[])
    result = _converge.summary(outcomes)
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    if problems:
        module.fail_json(msg="\n".join(problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
