#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_server
short_description: A vLLM server as a container
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Brings one vLLM server to the declared state, as a container of the host's Docker Engine.
  - A server is ready when it has generated a token, not when its container runs. One that does not become ready fails
    the module at once, with the cause found in vLLM's log and what to change.
  - A changed option replaces the container. The previous one is kept until the new one is ready, and put back when it
    is not.
  - Before a running server is stopped for other options, another model or another image, that image is asked whether it
    takes them, in a container of its own without a network and without a GPU. What vLLM's argument parser or its
    engine's configuration refuses fails the module, and the server goes on without an outage. Where the image cannot
    tell, a warning says why, and the change goes on.
  - The image must be on the host already, and so must the model.
requirements:
  - A Docker Engine 20.10 or newer on the managed host, on its usual socket or where the environment variable
    E(DOCKER_HOST) says, as C(unix:///path) or C(tcp://host:port).
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.vllm_server
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: private_llm.fleet.vllm_servers
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Serve a model on the first GPU
  private_llm.fleet.vllm_server:
    name: qwen3-32b
    image: vllm/vllm-openai:v0.32.0
    model: /srv/models/Qwen/Qwen3-32B/current
    gpus: [0]
    port: 18005
    engine:
      max_model_len: 81920

- name: Serve a small model on CPU, on this host only and without a key
  private_llm.fleet.vllm_server:
    name: small
    image: vllm/vllm-openai-cpu:v0.32.0
    model: /srv/models/Qwen/Qwen3-0.6B/current
    port: 18006
    bind: 127.0.0.1
    api_keys: []
    engine:
      max_model_len: 4096

- name: Take a server away
  private_llm.fleet.vllm_server:
    name: qwen3-32b
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done, in this order.
  returned: always
  type: list
  elements: str
  sample: [recreate, start]
changes:
  description: Each option that differed, in vLLM's terms. Secrets are hidden.
  returned: always
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
settled:
  description:
    - Whether the server is as declared and, where it is to be waited for, has generated a token. In check mode it has
      ten seconds for that.
  returned: always
  type: bool
container:
  description: The container afterwards; empty when there is none.
  returned: always
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
  returned: always
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
  returned: always
  type: str
rolled_back:
  description: Whether the previous container was put back.
  returned: always
  type: bool
outage_seconds:
  description:
    - Seconds that clients had no server, from the stop of the one that ran until one was ready; null when none ran.
  returned: always
  type: float
asked:
  description:
    - What the image answered when it was asked about a change before a running server was stopped; empty when it was
      not asked, as for a change of the port or of the keys, or for what it has taken before.
  returned: always
  type: dict
  contains:
    verdict:
      description: V(passed), V(refused), or V(unclear) where the image could not tell, such as for want of a GPU.
      type: str
    seconds:
      description: How long it took to ask.
      type: float
diagnosis:
  description: Why the server did not become ready, or why its image refuses a change; empty when neither is so.
  returned: always
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
  returned: always
  type: list
  elements: str
log_file:
  description:
    - File on the host with the whole log of a server that did not become ready, readable by root; empty when it
      did. The five newest of each server are kept in C(/var/log/private_llm/vllm_server).
  returned: always
  type: str
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.lifecycle import _converge
from ..module_utils._vllm.lifecycle._ansible import (
    host_of,
    take_options,
    way_to_engine,
)


def main() -> None:
    module = FleetModule(argument_spec=_converge.ARGUMENTS, required_if=_converge.REQUIRED_IF, supports_check_mode=True)
    server = _converge.Server(take_options(module)[0], host_of(module))
    try:
        server.check_options()
        outcome = _converge.run([server], way_to_engine(module, [server]))[0]
    except ValueError as error:
        module.fail_json(msg=str(error), **server.result)
    if outcome.problem:
        module.fail_json(msg=outcome.problem, **server.result)
    module.exit_json(**server.result)


if __name__ == "__main__":
    main()
