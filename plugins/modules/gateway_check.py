#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_check
short_description: Ask every model through a gateway
version_added: "0.1.0"
description:
  - Waits until the gateway runs with the configuration in place, asks it for its models with the key of a user, has
    each model generate a token, and tries whether a stranger is refused.
  - A model of which no server is ready is told in RV(unavailable), and is no error of the gateway.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Changes nothing in any mode.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  address:
    description: Where the gateway listens.
    type: str
    default: 127.0.0.1
  port:
    description: The port that it listens on.
    type: int
    required: true
  tls:
    description: Whether it serves TLS. The certificate is not checked, for it does not name this address.
    type: bool
    default: false
  key_file:
    description: A file with the key to ask with.
    type: path
    required: true
  release:
    description:
      - The configuration that it is to run with, as RV(private_llm.fleet.gateway_config#module:release) tells it.
    type: str
    default: ""
  socket:
    description: The gateway's runtime socket.
    type: path
    default: /run/private_llm_gateway/admin.sock
  timeout:
    description: Seconds to wait for the configuration, and for each model.
    type: float
    default: 60
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.gateway_config
"""

EXAMPLES = r"""
- name: Ask every model
  private_llm.fleet.gateway_check:
    port: 8000
    key_file: /etc/private_llm/gateway/keys/ann
"""

RETURN = r"""
models:
  description: The models that the user may use.
  returned: always
  type: list
  elements: str
  sample: [qwen3]
answered:
  description: The models that generated, and the seconds that it took.
  returned: always
  type: dict
  sample: {qwen3: 0.4}
unavailable:
  description: The models that no server was ready for.
  returned: always
  type: list
  elements: str
  sample: []
"""

import json
import time
import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._gateway._runtime import Runtime, RuntimeSocketError
from ..module_utils._regular import regular
from ..module_utils._vllm.api._probe import Server, ServerError

KEY_LIMIT = 4096


def main() -> None:
    module = FleetModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "required": True},
            "tls": {"type": "bool", "default": False},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "release": {"type": "str", "default": ""},
            "socket": {"type": "path", "default": "/run/private_llm_gateway/admin.sock"},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    result: dict[str, t.Any] = {"changed": False, "models": [], "answered": {}, "unavailable": []}
    try:
        wait_for_release(Runtime(params["socket"]), params["release"], params["timeout"])
        check(params, result)
    except (RuntimeSocketError, ServerError) as error:
        module.fail_json(msg=f"the gateway at {params['address']}:{params['port']}: {error}", **result)
    except OSError as error:
        module.fail_json(msg=f"{params['key_file']} cannot be read: {error.strerror or error}", **result)
    module.exit_json(**result)


def wait_for_release(runtime: Runtime, release: str, limit: float) -> None:
    """Wait until the gateway runs with a configuration; RuntimeSocketError when it does not."""
    end = time.monotonic() + limit
    while release:
        running = ""
        try:
            running = runtime.release()
        except RuntimeSocketError:
            if time.monotonic() >= end:
                raise
        if running == release:
            return
        if time.monotonic() >= end:
            raise RuntimeSocketError(
                f"it runs with the configuration {running or 'of another program'} instead of {release}; "
                "journalctl -u private-llm-gateway says why"
            )
        time.sleep(0.25)


def check(params: t.Mapping[str, t.Any], result: dict[str, t.Any]) -> None:
    """Ask for the models, each model, and as a stranger."""
    with open(params["key_file"], encoding="ascii", opener=regular) as stream:
        key = stream.read(KEY_LIMIT).split()[:1]
    server = Server(params["address"], params["port"], key[0] if key else "", tls=params["tls"])
    result["models"] = [model["id"] for model in server.models()]
    stranger = Server(params["address"], params["port"], None, tls=params["tls"]).request("GET", "/v1/models")
    if stranger.status != 401:
        raise ServerError(f"it answered {stranger.status} to a request without a key, and must answer 401")
    for model in result["models"]:
        began = time.monotonic()
        try:
            server.generate_one_token(model, params["timeout"])
        except ServerError as error:
            if not is_unavailable(str(error)):
                raise
            result["unavailable"].append(model)
        else:
            result["answered"][model] = round(time.monotonic() - began, 2)


def is_unavailable(text: str) -> bool:
    """Return whether the gateway itself said that no server of the model is ready."""
    return json.dumps("model_unavailable") in text or "No server of this model is ready" in text


if __name__ == "__main__":
    main()
