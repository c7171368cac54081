# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_plan
short_description: The plan of a fleet, as one table to read and one structure for programs
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts together what the role P(private_llm.fleet.vllm_server#role) left on each host with C(tasks_from=plan). A
    server that does not fit on its host is tried on the GPUs of the others.
  - What cannot be read of a host's variables is left out, and is a note that names the host.
positional: hostvars, problems, web_hosts, gateway_hosts, unavailable, image_hosts
options:
  _input:
    description: The hosts.
    type: list
    elements: str
    required: true
  problems:
    description: Problems that were found so far, as P(private_llm.fleet.fleet_problems#filter) returns them.
    type: list
    elements: dict
    default: []
  web_hosts:
    description: Names of the hosts with Open WebUI. A server that none of them could reach is a problem.
    type: list
    elements: str
    default: []
  gateway_hosts:
    description: Names of the hosts with a gateway. Without one, changes cut requests, which a line says.
    type: list
    elements: str
    default: []
  unavailable:
    description: How many replicas of a model may be away at once behind a gateway, C(fleet_unavailable).
    type: int
    default: 1
  image_hosts:
    description: Names of the hosts with Open WebUI whose missing images are told, as the role
      P(private_llm.fleet.open_webui#role) left them with C(tasks_from=plan).
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ (groups['gpu_hosts'] | private_llm.fleet.fleet_plan(hostvars)).lines }}"
"""

RETURN = r"""
_value:
  description:
    - C(servers) are the rows of P(private_llm.fleet.vllm_plan#filter) with their C(host), C(problems) all problems
      sorted by host, C(notes) what does not stop anything, and C(lines) the table.
    - C(models) are the releases that several hosts want, each with C(repo), C(digest), the hosts that C(have) it, those
      that C(lack) it in the order in which they get it, and C(bytes_from_hub).
    - C(images) are the images that several hosts lack and hand on to each other, told as C(models) are;
      C(bytes_from_hub) come from the registry.
    - C(downloads) are the hosts that fetch models from hubs, each with its C(host), the C(bytes), and the C(seconds)
      that they take at the C(bytes_per_second) of its last download. A host without a measured download is left out.
    - C(web_images) are the images of Open WebUI that hosts lack, each with its C(host), C(image), C(source), and
      C(bytes), which are 0 where the registry did not tell them.
    - C(steps) are the servers that change behind a gateway, in their order, each with its C(turn), C(host), C(server)
      and C(models), how many C(replicas) of the model there are and how many C(stay), whether the server C(returns),
      C(begins_after_seconds) and C(down_seconds); both are null where no start was measured.
  type: dict
"""

import typing as t

from ..plugin_utils._plan import fleet_plan


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_plan": fleet_plan}
