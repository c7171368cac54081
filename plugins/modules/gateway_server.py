#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_server
short_description: Take servers from behind a gateway without cutting a request, and bring them back
version_added: "0.1.0"
description:
  - Tells a running gateway over its runtime socket which servers may get requests. Nothing is reloaded, and no file is
    written.
  - A model of which no server may get requests is held by the gateway, until one may again.
  - A gateway that does not run is told nothing; this is no error, for it sends no request either.
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
  servers:
    description:
      - Names of the servers, as in C(gateway_servers). Empty for all.
      - A server that the gateway does not have is no error; it gets no request.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(maint) sends no new request, waits for those that run, and then sends nothing at all, not even a health check.
      - V(drain) sends no new request, and waits for those that run.
      - V(ready) sends requests again.
    type: str
    choices: [ready, drain, maint]
    required: true
  timeout:
    description: Seconds that running requests get to finish. What runs longer is told in RV(requests), and is no error.
    type: float
    default: 60
  socket:
    description: The gateway's runtime socket.
    type: path
    default: /run/private_llm_gateway/admin.sock
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.gateway_config
"""

EXAMPLES = r"""
- name: Take a server from behind the gateway
  private_llm.fleet.gateway_server:
    servers: [gpu-01:qwen3]
    state: maint
    timeout: 300
  delegate_to: gateway-01

- name: Bring all servers back
  private_llm.fleet.gateway_server:
    state: ready
  delegate_to: gateway-01
"""

RETURN = r"""
running:
  description: Whether a gateway listens on O(socket).
  returned: always
  type: bool
  sample: true
requests:
  description: The requests that the servers were still working on when O(timeout) was over.
  returned: always
  type: int
  sample: 0
servers:
  description: The servers as the gateway has them, once for each group of names that they serve.
  returned: always
  type: list
  elements: dict
  sample: [{backend: "model:qwen3", server: gpu-01:qwen3, status: MAINT, requests: 0}]
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._gateway._runtime import NotRunning, Runtime, RuntimeSocketError, ServerState
from ..module_utils._gateway._turn import bring, named


def main() -> None:
    module = FleetModule(
        argument_spec={
            "servers": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["ready", "drain", "maint"], "required": True},
            "timeout": {"type": "float", "default": 60},
            "socket": {"type": "path", "default": "/run/private_llm_gateway/admin.sock"},
        },
        supports_check_mode=True,
    )
    params = module.params
    names = params["servers"]
    runtime = Runtime(params["socket"])
    result: dict[str, t.Any] = {"changed": False, "running": True, "requests": 0, "servers": []}
    try:
        before = named(runtime, names)
        turn = bring(runtime, names, params["state"], params["timeout"], dry=module.check_mode)
    except NotRunning:
        module.exit_json(**{**result, "running": False})
    except RuntimeSocketError as error:
        module.fail_json(msg=f"{error}; the servers may be in different states, run again to bring them back", **result)
    result.update(changed=turn.changed, requests=turn.requests, servers=[server._asdict() for server in turn.servers])
    if turn.changed:
        result["diff"] = {
            "before": lines((server.server, server.status) for server in before),
            "after": lines((server.server, after(server, params["state"])) for server in turn.servers),
        }
    module.exit_json(**result)


def after(server: ServerState, state: str) -> str:
    """Return what a server is, or would be, in the state that was asked for."""
    return server.status if server.is_in(state) else state.upper()


def lines(servers: t.Iterable[tuple[str, str]]) -> str:
    return "".join(f"{server} {status}\n" for server, status in sorted(set(servers)))


if __name__ == "__main__":
    main()
