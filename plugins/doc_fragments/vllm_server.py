# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import textwrap

_SERVER = r"""
name:
  description:
    - Name of the server and of its container.
  type: str
  required: true
state:
  description:
    - V(started) runs the server and, with O(wait), waits until it is ready.
    - V(stopped) has the container, not running.
    - V(absent) removes the container, and the keys and measurements that were kept for it. The model and compiled
      kernels stay.
  type: str
  choices:
    - started
    - stopped
    - absent
  default: started
image:
  description:
    - Image of vLLM. Options are held against its release, which the tag names; where it does not, as with V(latest)
      or a digest, the image is asked. Required unless O(state=absent).
  type: str
model:
  description:
    - Absolute path of the model on the host. Links are followed, and the folder they lead to is mounted read-only, so
      a link that moves to another release of the model is a change. Required unless O(state=absent).
  type: str
served_model_names:
  description:
    - Names by which clients ask for the model. The default is O(name).
  type: list
  elements: str
gpus:
  description:
    - Indices, GPU UUIDs and MIG UUIDs in a list, or how many GPUs as a number. An empty list is CPU.
    - Several GPUs and no parallel size in O(engine) means C(tensor_parallel_size) over all of them.
  type: raw
  default: []
port:
  description:
    - TCP port on the host. Required unless O(state=absent).
  type: int
bind:
  description:
    - IP address of the host to listen on.
  type: str
  default: 0.0.0.0
engine:
  description:
    - vLLM's own options by their names with underscores, such as C(max_model_len).
    - V(true) and V(false) switch an option on and off, V(null) leaves it to vLLM, mappings are given as JSON.
    - The model, the served names, the address, the port and the keys have options of their own.
  type: dict
  default: {}
api_keys:
  description:
    - Keys that clients may use. They reach vLLM through a file that only root can read, and are not part of the
      container.
    - When left out, one key is made on the host and kept; V([]) serves without a key.
  type: list
  elements: str
allow_unauthenticated:
  description:
    - Whether a server that other hosts can reach may be without a key. Otherwise an empty O(api_keys) is refused,
      unless O(bind) is a loopback address.
  type: bool
  default: false
env:
  description:
    - Environment variables. They are visible to whoever may inspect the container, so no place for secrets.
  type: dict
  default: {}
volumes:
  description:
    - More bind mounts, each as C(/on/the/host:/in/the/container), with C(:ro) or C(:rw) at the end if you like.
  type: list
  elements: str
  default: []
shm_size:
  description:
    - Size of C(/dev/shm), such as V(16g). The default follows from the number of GPUs and O(engine).
  type: str
  default: ""
ipc:
  description:
    - IPC namespace of the container.
  type: str
  choices:
    - private
    - shareable
    - host
  default: private
restart_policy:
  description:
    - When the Docker Engine starts the container again. This can change while the server runs.
  type: str
  choices:
    - "no"
    - always
    - on-failure
    - unless-stopped
  default: unless-stopped
member:
  description:
    - The place of this container in a server over several hosts. It is then in the host's network, where it speaks to
      the others, and O(engine) has to hold C(nnodes), C(node_rank) and C(master_addr). With C(headless) in O(engine) it
      serves no API, and is ready when it runs.
  type: dict
  suboptions:
    nodes:
      description: Names of the hosts, the head first; they become a label of the container.
      type: list
      elements: str
      required: true
    rank:
      description: Place of this host among them, 0 for the head.
      type: int
      required: true
    address:
      description: Address of this host at which the others reach it, or a name that this host resolves to it.
      type: str
      required: true
    interface:
      description: Network interface that has to have the address; empty for any.
      type: str
      default: ""
    private:
      description: Refuse an address that can be reached from the internet, for nothing between nodes is authenticated.
      type: bool
      default: true
wait:
  description:
    - Wait until the server has generated a token.
  type: bool
  default: true
timeout:
  description:
    - Seconds to wait for that. The default grows with the size of the weights, 20 minutes and a second for each 50 MB.
  type: int
drain_timeout:
  description:
    - Seconds that running requests get to finish before a server is stopped, replaced or removed. V(0) drops them.
    - From vLLM 0.18 on this is given to vLLM as C(shutdown_timeout), unless O(engine) sets that, so that the Docker
      Engine and the host stop the server as gently.
  type: int
  default: 60
rollback:
  description:
    - Keep a replaced container until the new one is ready, and put it back when it does not become ready. Has no
      meaning without O(wait).
  type: bool
  default: true
"""


class ModuleDocFragment:
    """What one vLLM server is declared with: options of the module for one, and of each server of the other."""

    # With a type, for ansible-test reads assignments without one as plain strings.
    DOCUMENTATION: str = "options:\n" + textwrap.indent(_SERVER, "  ")

    SERVERS: str = r"""
options:
  servers:
    description:
      - The servers, each with the options of M(private_llm.fleet.vllm_server).
      - They are dealt with in this order, except that those which are to be stopped or absent go first, so that what
        they hold is free for the others.
    type: list
    elements: dict
    required: true
    suboptions:
""" + textwrap.indent(_SERVER, "      ").replace("O(", "O(servers[].")
