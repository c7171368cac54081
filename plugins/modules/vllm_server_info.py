#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_server_info
short_description: How the vLLM servers of a host are
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks at the vLLM servers that M(private_llm.fleet.vllm_server) made on this host, and asks each what it serves, how
    busy it is and how much it can hold. Changes nothing.
  - A server is healthy when it generates a token. One whose engine hangs goes on to answer C(/health) with 200, so that
    says little.
  - The servers' keys are read from where they are kept on the host, and are not returned.
  - A host without a Docker Engine has no servers; that is no failure.
requirements:
  - A Docker Engine 20.10 or newer on the managed host, on its usual socket or where the environment variable
    E(DOCKER_HOST) says, as C(unix:///path) or C(tcp://host:port).
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
  names:
    description:
      - Servers to look at, in this order. One that does not exist is returned with RV(servers[].status=absent).
      - When left out, all servers of the host, by name.
    type: list
    elements: str
  timeout:
    description:
      - Seconds to wait for each answer of a server, the generated token among them.
    type: int
    default: 10
  generate:
    description:
      - Whether a server is asked to generate a token. Without that, V(ready) only means that it answers.
    type: bool
    default: true
seealso:
  - module: private_llm.fleet.vllm_server
"""

EXAMPLES = r"""
- name: Ask all servers of the host how they are
  private_llm.fleet.vllm_server_info:
  register: found

- name: Show how busy they are
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.status }}, {{ item.load.running }} running, {{ item.load.waiting }} waiting"
  loop: "{{ found.servers | selectattr('load') }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
servers:
  description: The servers.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the server and of its container.
      type: str
    status:
      description:
        - V(ready) generated a token, or is at work on other requests and gets on with them; V(loading) runs and does
          not answer yet; V(unhealthy) answers, and generates nothing, or refuses the key kept for it; V(restarting)
          ends again and again; V(stopped) does not run; V(absent) is not there.
        - A worker of a server over several hosts has no API, and is V(ready) when it runs.
      type: str
    phase:
      description: What a loading server is doing by its log, such as V(loading weights, file 3 of 7); else empty.
      type: str
    message:
      description: Why the server is not ready, as far as it says, and what to do; empty otherwise.
      type: str
    diagnosis:
      description:
        - Why a server ended, hangs, fails its requests, or is up and not reached, as M(private_llm.fleet.vllm_server)
          returns it; empty for one that works, loads, or was stopped.
      type: dict
    container:
      description: The container, as M(private_llm.fleet.vllm_server) returns it; empty when there is none.
      type: dict
    healthy:
      description: Whether it generates.
      type: bool
    models:
      description: What it serves.
      type: list
      elements: dict
      contains:
        id:
          description: Served model name.
          type: str
        root:
          description: Folder of the model release.
          type: str
        max_model_len:
          description: Longest context in tokens.
          type: int
    load:
      description: How busy it is; empty when it does not answer.
      type: dict
      contains:
        running:
          description: Requests being worked on.
          type: int
        waiting:
          description: Requests in the queue.
          type: int
        kv_cache_usage:
          description: Part of the KV cache in use, from 0 to 1.
          type: float
        prompt_tokens:
          description: Tokens read since the start.
          type: int
        generation_tokens:
          description: Tokens generated since the start.
          type: int
        preemptions:
          description: Requests put back for want of KV cache since the start.
          type: int
    ready:
      description: What the server measured of itself when it started, as M(private_llm.fleet.vllm_server) returns it.
      type: dict
    measured:
      description:
        - What the server measured the last time it got ready, as it is kept on the host in
          C(/var/lib/private_llm/measured/<name>.measured.json); null when it never did. Unlike RV(servers[].ready) it
          is there while the server is stopped or fails, and tells what the last good start was like.
      type: dict
      contains:
        release:
          description: Release of vLLM; null when the image's tag does not tell.
          type: str
        image:
          description: Image reference.
          type: str
        config_hash:
          description: Fingerprint of the configuration, as in RV(servers[].container).
          type: str
        kv_cache_tokens:
          description: Tokens that the KV cache holds.
          type: int
        max_concurrency:
          description: Requests of the longest context that fit at once.
          type: float
        max_model_len:
          description: Longest context in tokens.
          type: int
        started_in_seconds:
          description: Seconds from the start of the container until the server answered.
          type: float
        measured_at:
          description: When that was, in UTC.
          type: str
    watch:
      description:
        - What the role P(private_llm.fleet.server_watch#role) saw of it last; empty where nobody watches it.
      type: dict
      contains:
        state:
          description: How the server was, such as V(ready), V(busy), V(hung), V(starting), V(waiting) or V(stopped).
          type: str
        message:
          description: Why, and what the watch waits for; empty where there is nothing to say.
          type: str
        last_probe:
          description: When the server was last asked for a token, in seconds since the epoch; null for never.
          type: float
        last_token:
          description: When it was last seen to work, in seconds since the epoch; null for never.
          type: float
        restarts:
          description: How often the watch started or restarted it.
          type: int
        falls:
          description: How often it hung or ended by itself.
          type: int
        given_up:
          description: Whether the watch does not restart it any more.
          type: bool
        last_fall:
          description: The last time that it hung or ended by itself; null for never.
          type: dict
          contains:
            at:
              description: When, in seconds since the epoch.
              type: float
            cause:
              description: Identifier of the diagnosis, such as V(hung) or V(died_silently).
              type: str
            text:
              description: The cause as a sentence.
              type: str
            evidence:
              description: The line of the log that shows it.
              type: str
            fix:
              description: What to do.
              type: str
            action:
              description: What was done.
              type: str
            log_file:
              description: File on the host with the whole log of the run that fell.
              type: str
    key_file:
      description: File on the host with the keys, one in a line; empty when clients need none.
      type: str
"""

import os
import typing as t

from ..module_utils._engine._api import address_here
from ..module_utils._engine._client import Engine
from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.api import _health
from ..module_utils._vllm.api._probe import (
    Server,
    ServerError,
    load,
    parse_metrics,
)
from ..module_utils._vllm.container import _keys, _labels, _spec
from ..module_utils._vllm.declaration import _instances
from ..module_utils._vllm.diagnosis import _log
from ..module_utils._vllm.diagnosis._diagnosis import Diagnosis
from ..module_utils._vllm.lifecycle import _measurements, _readiness
from ..module_utils._vllm.lifecycle._result import container_facts, server_of
from ..module_utils._watch import _memory


def names_of(engine: Engine) -> list[str]:
    """Return the names of all servers of this collection; one that is being replaced is found by the name it had."""
    names = set()
    for row in engine.containers(stopped=True):
        if _labels.is_managed({"Config": {"Labels": row.get("Labels")}}):
            names.add(str(row["Labels"].get(_labels.LABEL_NAME)))
    return sorted(names)


def nothing(name: str, message: str = "") -> dict[str, t.Any]:
    """Return the result for a server that is not there."""
    return {
        "name": name,
        "status": "absent",
        "phase": "",
        "message": message,
        "diagnosis": {},
        "container": {},
        "healthy": False,
        "models": [],
        "load": {},
        "ready": _readiness.nothing_measured(),
        "measured": _measurements.read(name),
        "watch": _memory.told(_memory.read().get(name)),
        "key_file": "",
    }


def tell(result: dict[str, t.Any], diagnosis: Diagnosis | None) -> None:
    """Put a diagnosis into the result, and into the message that reports show."""
    if diagnosis is None:
        return
    result["diagnosis"] = diagnosis._asdict()
    if diagnosis.id != "not_working":
        said = f"{diagnosis.cause}. vLLM said: {diagnosis.evidence}. What to do: {diagnosis.fix}"
        result["message"] = f"{result['message']}: {said}" if result["message"] else said


def look(engine: Engine, name: str, timeout: int, generate: bool) -> dict[str, t.Any]:
    """Return the result for one server."""
    container = engine.inspect(name)
    result = nothing(name)
    if container is None or not _labels.is_managed(container):
        return result
    image = engine.inspect_image(str(container.get("Image") or ""))
    result["container"] = container_facts(container, _spec.env_of((image or {}).get("Config")))
    spec = _spec.spec_of(container)
    keys: list[str] = []
    if spec.keys != _keys.NONE:
        directory = _instances.secrets_directory(name)
        result["key_file"] = os.path.join(directory, _keys.KEY_FILE)
        keys = _keys.parse_key_file(_keys.read_directory(directory).get(_keys.KEY_FILE, ""))
    state = container.get("State") or {}
    if state.get("Restarting"):
        result["status"] = "restarting"
        result["message"] = f"ended with exit code {state.get('ExitCode')}, {container.get('RestartCount')} restarts"
        tell(result, _readiness.ended(engine, name, container))
    elif not state.get("Running") or state.get("Paused"):
        result["status"] = "stopped"
        result["message"] = "paused" if state.get("Paused") else f"exit code {state.get('ExitCode')}"
        if not state.get("Paused"):
            tell(result, _readiness.ended(engine, name, container))
    elif spec.headless:
        # A worker has no API; whether it does its work, its head alone can tell.
        result["status"], result["healthy"] = "ready", True
        result["message"] = f"a worker of a server over several hosts ({spec.member}); ask its head"
    else:
        ask(server_of(spec, keys[0] if keys else None), engine, container, result, timeout, generate)
    return result


def ask(
    server: Server,
    engine: Engine,
    container: t.Mapping[str, t.Any],
    result: dict[str, t.Any],
    timeout: int,
    generate: bool,
) -> None:
    """Add to the result what a running server says of itself, and whether it works."""
    try:
        answer = server.request("GET", "/health", timeout=timeout)
    except ServerError as error:
        lines = engine.log(result["name"], _readiness.log_since(container))
        result["status"], result["message"] = "loading", str(error)
        result["phase"] = _log.latest_phase(line.text for line in lines)
        if result["phase"] == _log.ANSWERING:
            verdict = _readiness.examine(engine, result["name"], container, server).verdict
            if verdict is not None:
                result["status"] = "unhealthy"
                tell(result, Diagnosis(verdict.cause, verdict.evidence, verdict.fix, "not_reached", "port"))
        return
    try:
        result["models"] = server.models(timeout)
        result["load"] = load(parse_metrics(server.metrics(timeout)))
        result["ready"] = _readiness.measure(engine, result["name"], container, server, result["models"])
        if answer.status != 200:
            raise ServerError(f"GET /health answered {answer.status}")
        if generate:
            result["message"] = _health.prove(server, result["models"], timeout)
    except ServerError as error:
        result["status"], result["message"] = "unhealthy", str(error)
        tell(result, _readiness.troubled(engine, result["name"], container, str(error)))
        return
    result["status"], result["healthy"] = "ready", True


def main() -> None:
    module = FleetModule(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "timeout": {"type": "int", "default": 10},
            "generate": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    names, timeout, generate = (module.params[key] for key in ("names", "timeout", "generate"))
    try:
        if not address_here().exists():
            servers = [nothing(name, "this host has no Docker Engine") for name in names or []]
            module.exit_json(changed=False, servers=servers)
        engine = Engine.connect()
        wanted = names if names is not None else names_of(engine)
        module.exit_json(changed=False, servers=[look(engine, name, timeout, generate) for name in wanted])
    except ValueError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
