# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_toolkit_state
short_description: Whether NVIDIA's container toolkit is on a host as it is declared, and what stands in the way
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Compares what M(private_llm.fleet.nvidia_toolkit_info) found with what the role
    P(private_llm.fleet.nvidia_toolkit#role) is to bring about.
  - Tells what cannot be done on the host, and what to do about that.
positional: wanted
options:
  _input:
    description: What M(private_llm.fleet.nvidia_toolkit_info) returns.
    type: dict
    required: true
  wanted:
    description:
      - What the role's variables say, with the keys C(state), C(version), C(packages), C(files), C(allow_insecure),
        C(hold), C(runtime), C(cdi), C(path), C(socket), C(key_refresh), C(require_gpu) and C(stop_users) (whether
        containers with GPUs may stop); and what the host is, with the keys C(host), C(family), C(hook) (whether the
        toolkit's hook is there) and C(marked) (whether the engine still has to find it).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the toolkit
  private_llm.fleet.nvidia_toolkit_info:
  register: look

- name: Show which packages differ
  ansible.builtin.debug:
    msg: "{{ (look | private_llm.fleet.nvidia_toolkit_state(wanted)).differ }}"
  vars:
    wanted:
      host: "{{ inventory_hostname }}"
      state: present
      family: debian
      version: 1.20.1
      packages: [nvidia-container-toolkit]
      path: /etc/docker/daemon.json
      socket: /var/run/docker.sock
"""

RETURN = r"""
_value:
  description: C(differ), the packages that are not there in the version; C(held), a sentence where somebody else keeps
    them from a change; C(settled), whether nothing is to be done; and C(problems), a sentence for each thing that
    cannot be done.
  type: dict
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.hosts._nvidia_toolkit import LOOK, WANTED, state_of


def nvidia_toolkit_state(look: t.Any, wanted: t.Any) -> dict[str, t.Any]:
    """Return what the role makes of a look."""
    return state_of(demand(look, LOOK, "look"), demand(wanted, WANTED, "wanted"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"nvidia_toolkit_state": nvidia_toolkit_state}
