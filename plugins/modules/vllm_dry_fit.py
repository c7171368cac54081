#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_dry_fit
short_description: Whether vLLM servers start, tried with made-up weights
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Starts the engine of each server once in its image, on the GPUs that the server is to have, with the model's
    configuration and made-up weights, in a container without a network that is removed again. Tells whether the engine
    starts, how many tokens its KV cache holds, or which failure there is.
  - No weights are needed. Of a model that is not on the host its C(config.json) is enough, which O(models) holds. Its
    tokenizer is not read then, and models that need more files, such as those for images, may not be tried.
  - Servers that run are left alone. Where one runs on a GPU that is wanted, nothing is tried there.
  - Servers are tried one after another. Changes nothing on the host.
requirements:
  - A Docker Engine 20.10 or newer on the managed host, on its usual socket or where the environment variable
    E(DOCKER_HOST) says, as C(unix:///path) or C(tcp://host:port).
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.vllm_server.servers
options:
  models:
    description:
      - What M(private_llm.fleet.model_snapshot) tells of models when it is asked for their C(config), by repository.
        Only that is read.
    type: dict
    default: {}
  repos:
    description: The repository of each model in O(models), by its folder on the host as the servers name it.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    details: No container is started in check mode, so nothing is tried.
  diff_mode:
    support: none
    details: This module changes nothing.
  idempotent:
    support: full
    details: This module changes nothing.
seealso:
  - module: private_llm.fleet.vllm_servers
  - plugin: private_llm.fleet.vllm_fit
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Try two servers before their weights are fetched
  private_llm.fleet.vllm_dry_fit:
    servers:
      - name: qwen3-32b
        image: vllm/vllm-openai:v0.32.0
        model: /srv/models/Qwen/Qwen3-32B/current
        gpus: [0]
        port: 18005
    models:
      Qwen/Qwen3-32B: {config: "{{ lookup('ansible.builtin.file', 'config.json') | from_json }}"}
    repos:
      /srv/models/Qwen/Qwen3-32B/current: Qwen/Qwen3-32B
  register: tried
"""

RETURN = r"""
servers:
  description: How each server fared, in the order of the option.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the server.
      type: str
    verdict:
      description:
        - V(starts), V(does_not_start), V(unclear) where it could not be found out, or V(not_tried) in check mode and
          for a server that is not to be started.
      type: str
    why:
      description: Why it does not start, or why that could not be found out; empty otherwise.
      type: str
    seconds:
      description: How long it took; null when nothing was tried.
      type: float
    kv_cache_tokens:
      description: Tokens that the KV cache holds; null when it did not start.
      type: int
    max_concurrency:
      description: Requests of the longest context that fit at the same time.
      type: float
    max_model_len:
      description: Longest context in tokens.
      type: int
    diagnosis:
      description: Why it does not start, as M(private_llm.fleet.vllm_server) tells it; empty otherwise.
      type: dict
    log_tail:
      description: The last lines of the log of an engine that did not start.
      type: list
      elements: str
  sample:
    - name: qwen3-32b
      verdict: starts
      why: ""
      seconds: 74.2
      kv_cache_tokens: 220816
      max_concurrency: 5.4
      max_model_len: 40960
      diagnosis: {}
      log_tail: []
"""

from ..module_utils._engine._api import EngineError
from ..module_utils._engine._client import Engine
from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.lifecycle import _converge, _dry_fit
from ..module_utils._vllm.lifecycle._ansible import host_of, take_options


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
            "models": {"type": "dict", "default": {}},
            "repos": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    host = host_of(module)
    servers = [_converge.Server(options, host) for options in take_options(module)]
    results = []
    try:
        _converge.check_all(servers)
        engine = Engine.connect() if not module.check_mode else None
        for server in servers:
            if engine is None or server.state != "started":
                results.append(_dry_fit.nothing(server.name, _dry_fit.NOT_TRIED))
                continue
            repo = module.params["repos"].get(server.params["model"])
            config = (module.params["models"].get(repo) or {}).get("config")
            results.append(_dry_fit.dry_fit(server, engine, config))
    except (EngineError, ValueError) as error:
        module.fail_json(msg=str(error), servers=results)
    module.exit_json(changed=False, servers=results)


if __name__ == "__main__":
    main()
