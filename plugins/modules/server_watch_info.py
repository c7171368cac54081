#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_watch_info
short_description: What the watch of a host saw last
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads what the role P(private_llm.fleet.server_watch#role) remembers of the servers of this host, and of its Open
    WebUI and gateway where it watches them. Changes nothing, and asks nobody.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Only looks.
  diff_mode:
    support: none
    details: Changes nothing, so there is nothing to show.
  idempotent:
    support: full
seealso:
  - module: private_llm.fleet.server_watch
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Read what the watch saw
  private_llm.fleet.server_watch_info:
  register: seen
"""

RETURN = r"""
watched:
  description: What is watched; empty on a host without a watch.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name of the server or of the container of Open WebUI, or V(private-llm-gateway).
      type: str
    state:
      description: How it was found last.
      type: str
    message:
      description: Why, and what the watch waits for; empty where there is nothing to say.
      type: str
    last_probe:
      description: When it was last asked, in seconds since 1970; null for never.
      type: float
    last_token:
      description: When it was last seen to work, in seconds since 1970; null for never.
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
      description:
        - When it fell last (C(at)), why (C(cause), C(text), C(evidence)), what to do (C(fix)), and what was done
          (C(action)); null for never.
      type: dict
  sample:
    - name: open-webui
      state: ready
      message: ""
      last_probe: 1764360000.0
      last_token: 1764360000.0
      restarts: 0
      falls: 0
      given_up: false
      last_fall: null
"""

from ..module_utils._fleet_module import FleetModule
from ..module_utils._watch import _memory


def main() -> None:
    module = FleetModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, watched=_memory.told_all())


if __name__ == "__main__":
    main()
