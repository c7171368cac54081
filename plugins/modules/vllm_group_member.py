#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_group_member
short_description: One step of one member of a vLLM server over several hosts
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - A server over several hosts is one container on each of them. They are stopped, started, proven, kept and put back
    together, so each takes one step, and a playbook decides on the next from what all of them said.
    P(private_llm.fleet.group_decision#filter) and P(private_llm.fleet.group_progress#filter) decide.
  - C(playbooks/servers.yml) of this collection does all of it for servers that are declared with C(nodes). Use the
    module by itself only to build something else.
  - A step that goes wrong does not fail the task. RV(problem) says what went wrong, for the other members have to know
    it, too.
requirements:
  - A Docker Engine 20.10 or newer on the managed host, on its usual socket or where the environment variable
    E(DOCKER_HOST) says, as C(unix:///path) or C(tcp://host:port).
extends_documentation_fragment:
  - private_llm.fleet.attributes
  - private_llm.fleet.vllm_server
options:
  step:
    description:
      - V(look) changes nothing and says what there is, and what would be done.
      - V(set_aside) lets running requests finish, stops the container and keeps it as C(NAME.previous).
      - V(start) makes the container where there is none, and starts it.
      - V(wait) waits for the head, the node with rank 0, until it has generated a token, and looks whether a worker
        still runs.
      - V(keep) removes C(NAME.previous). V(put_back) brings it back, stopped, in place of the new container.
      - V(stop) stops the container.
      - V(release) ends the claim of O(run).
      - V(listen) listens for the other nodes at a TCP port for two minutes, and V(reach) connects to where they listen,
        O(peers). Both change nothing, and are the same in check mode.
    type: str
    required: true
    choices: [look, set_aside, start, wait, keep, put_back, stop, release, listen, reach]
  seconds:
    description:
      - How long one O(step=wait) waits at most. All of them together end with O(timeout).
    type: int
    default: 30
  peers:
    description:
      - Where the other nodes listen, of P(private_llm.fleet.group_peers#filter).
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: Name of the host.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        required: true
  run:
    description:
      - Name of the run that takes the steps, of P(private_llm.fleet.group_run#filter). The member is claimed for it
        with each step, for 15 minutes from then, until O(step=release). The step of another run is refused
        meanwhile, which RV(problem) tells, and C(server_watch) leaves the member alone. Empty claims nothing.
    type: str
    default: ""
  ended_run:
    description:
      - Name of a run that has ended without its release, because it was killed. Its claim is void.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: A step does what it is called for; V(look) and V(wait) change nothing.
seealso:
  - module: private_llm.fleet.vllm_server
"""

EXAMPLES = r"""
- name: Look at this host's member of a server over two hosts
  private_llm.fleet.vllm_group_member:
    step: look
    name: big
    image: vllm/vllm-openai:v0.32.0
    model: /srv/models/deepseek-ai/DeepSeek-V3.1/current
    gpus: 8
    port: 18005
    restart_policy: "no"
    engine:
      tensor_parallel_size: 8
      pipeline_parallel_size: 2
      nnodes: 2
      node_rank: 0
      master_addr: 10.0.0.1
    member:
      nodes: [gpu-01, gpu-02]
      rank: 0
      address: 10.0.0.1
"""

RETURN = r"""
name:
  description: Name of the server.
  returned: always
  type: str
step:
  description: The step that was taken.
  returned: always
  type: str
problem:
  description: What went wrong; empty when nothing did.
  returned: always
  type: str
status:
  description: What the container does, such as V(running); empty when there is none. Of O(step=look).
  returned: always
  type: str
holder:
  description: Name of another run that is at work on the member, so that the step was not taken; empty otherwise.
  returned: always
  type: str
previous:
  description: Whether a container of before is kept, because a change is not proven yet. Of O(step=look).
  returned: always
  type: bool
image_id:
  description: Identity of the image on this host. Of O(step=look).
  returned: always
  type: str
release:
  description: Folder name of the model's release on this host, which is its digest. Of O(step=look).
  returned: always
  type: str
gpu_names:
  description: Names of the GPUs of this member. Of O(step=look).
  returned: always
  type: list
  elements: str
verdict:
  description: V(ready), or V(waiting), which is all that a worker says. Of O(step=wait).
  returned: always
  type: str
waited:
  description: Seconds since the container was started. Of O(step=wait).
  returned: always
  type: float
network:
  description:
    - How the member speaks to the others, from the environment of its container, such as C(NCCL_SOCKET_IFNAME=eth1).
      Of O(step=wait), O(step=stop) and O(step=put_back).
  returned: always
  type: str
address:
  description: Address of this host at which it speaks to the others. Of O(step=listen).
  returned: always
  type: str
port:
  description: Port at which it listens for them. Of O(step=listen).
  returned: always
  type: int
actions:
  description: What would be done with a server of one host. Of O(step=look).
  returned: always
  type: list
  elements: str
changes:
  description: Each option that differs, in vLLM's terms. Of O(step=look).
  returned: always
  type: list
  elements: dict
diagnosis:
  description: Why the member ended or does not work, as M(private_llm.fleet.vllm_server) returns it.
  returned: always
  type: dict
log_tail:
  description: The last lines of the log of a member that failed.
  returned: always
  type: list
  elements: str
log_file:
  description: File on the host with its whole log, readable by root; empty when there is none.
  returned: always
  type: str
ready:
  description: What the ready server measured of itself, as M(private_llm.fleet.vllm_server) returns it.
  returned: always
  type: dict
key_file:
  description: File on the host that holds the keys, one in a line; empty when clients need none.
  returned: always
  type: str
"""

from ..module_utils._engine import _lock
from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.lifecycle import _converge, _member
from ..module_utils._vllm.lifecycle._ansible import host_of, take_options, way_to_engine


def main() -> None:
    arguments = {
        **_converge.ARGUMENTS,
        "step": {"type": "str", "required": True, "choices": list(_member.STEPS)},
        "seconds": {"type": "int", "default": 30},
        "peers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "node": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
                "port": {"type": "int", "required": True},
            },
        },
        "run": {"type": "str", "default": ""},
        "ended_run": {"type": "str", "default": ""},
    }
    module = FleetModule(argument_spec=arguments, required_if=_converge.REQUIRED_IF, supports_check_mode=True)
    options = take_options(module)[0]
    if options["member"] is None:
        module.fail_json(msg="member: is missing; give the place of this container among the nodes")
    member = _member.Member(options, host_of(module))
    try:
        member.check_options()
        connect = way_to_engine(module, [member])
        engine = connect() if connect is not None else None
        if engine is None or module.check_mode:
            member.take(options["step"], engine, options["seconds"])
        else:
            with _lock.hold_all(_converge.LOCK_KIND, [member.name], options["step"]):
                run = options["run"]
                if not run or member.claim(options["step"], run, options["ended_run"]):
                    member.take(options["step"], engine, options["seconds"])
    except ValueError as error:
        module.fail_json(msg=str(error), **member.result)
    # What the module for a server of one host shows of a change is not known to one member.
    member.result.pop("diff")
    module.exit_json(**member.result)


if __name__ == "__main__":
    main()
