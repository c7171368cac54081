#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_host_info
short_description: What a host has for its vLLM servers
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Looks, in one step, at everything on a host that decides whether vLLM servers can run there as declared, for
    P(private_llm.fleet.vllm_plan#filter). Changes nothing.
  - Tells the GPUs, who uses them, the room on disks, which images and models are there, what the models are like, and
    what the servers measured the last time they got ready.
  - Succeeds on a bare host, too. What cannot be told there is null.
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
  - module: private_llm.fleet.gpu_info
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Look at what is there
  private_llm.fleet.vllm_host_info:
    names: [qwen3-32b]
    models: [/srv/models/Qwen/Qwen3-32B/current]
    images: [vllm/vllm-openai:v0.32.0]
    folders: [/srv/models]
  register: host

- name: Show how much room there is for images
  ansible.builtin.debug:
    msg: "{{ (host.image_folder.free / 1000**3) | round(1) }} GB below {{ host.image_folder.path }}"
"""

RETURN = r"""
gpu:
  description: The GPUs, as M(private_llm.fleet.gpu_info) returns them; null with O(gpus=false).
  returned: success
  type: dict
models:
  description: The models, by their folders.
  returned: success
  type: dict
  sample:
    /srv/models/Qwen/Qwen3-0.6B/current:
      config: {model_type: qwen3, num_hidden_layers: 28}
      weight_bytes: 1503300328
images:
  description: Whether each image is there, by its reference; null when the engine cannot be asked.
  returned: success
  type: dict
  sample: {"vllm/vllm-openai:v0.32.0": true}
image_folder:
  description: Where the engine keeps images, C(path), and the C(free) bytes there.
  returned: success
  type: dict
  sample: {path: /var/lib/docker, free: 412316860416}
folders:
  description: Free bytes and the C(device) that holds them, by folder; folders of one device share its room.
  returned: success
  type: dict
  sample: {/srv/models: {free: 412316860416, device: 66305}}
containers:
  description: The running containers, C(id), C(name) and C(server), the server of this collection that each is or null.
  returned: success
  type: list
  elements: dict
measured:
  description: What each server measured the last time it got ready, by its name; null when it never did.
  returned: success
  type: dict
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._vllm.lifecycle import _host_facts


def main() -> None:
    module = FleetModule(argument_spec=_host_facts.ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, **_host_facts.look(module.params, module.get_bin_path))


if __name__ == "__main__":
    main()
