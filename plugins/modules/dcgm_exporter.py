#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dcgm_exporter
short_description: NVIDIA's DCGM exporter as a container
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Runs the container C(dcgm-exporter) with all GPUs of the host, which gives Prometheus NVIDIA's own metrics of them.
    It is ready when it gives metrics. When a changed one does not, the one before is back.
  - A container of this name that somebody else made is refused, and never removed. The image must be on the host.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  image:
    description: The image, as it is called on the host. Must be given for O(state=started).
    type: str
    default: ""
  bind:
    description: Address of the host on which it listens. It asks nobody for a key.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the host on which it listens.
    type: int
    default: 9400
  gpu_driver:
    description: How the engine gives it the GPUs, by NVIDIA's container runtime or by CDI.
    type: str
    choices: [nvidia, cdi]
    default: nvidia
  timeout:
    description: Seconds to wait for its first metrics.
    type: int
    default: 60
  state:
    description: Whether it runs, or is not there.
    type: str
    choices: [started, absent]
    default: started
seealso:
  - module: private_llm.fleet.gpu_info
"""

EXAMPLES = r"""
- name: Run the exporter
  private_llm.fleet.dcgm_exporter:
    image: nvcr.io/nvidia/k8s/dcgm-exporter:4.4.1-4.6.0-ubuntu22.04

- name: Remove it
  private_llm.fleet.dcgm_exporter:
    state: absent
"""

RETURN = r"""
changes:
  description: Each option of the container that differed, as it was and as it is.
  returned: success
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
      sample: port
    before:
      description: What it was.
      type: raw
      sample: "9400"
    after:
      description: What it is.
      type: raw
      sample: "9401"
"""

import typing as t

from ..module_utils._dcgm._exporter import CDI, NVIDIA, Exporter, Wanted
from ..module_utils._engine._api import EngineAbsent
from ..module_utils._engine._client import Engine
from ..module_utils._fleet_module import FleetModule


def run(params: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Bring the exporter to its state."""
    wanted = Wanted(*(params[option] for option in Wanted._fields))
    try:
        engine = Engine.connect()
    except EngineAbsent:
        # Without an engine there is no container, and before a first run there may be none yet.
        if params["state"] == "absent" or check:
            return {"changed": params["state"] != "absent", "changes": []}
        raise
    return Exporter(wanted, engine).run(params["state"], check)


def main() -> None:
    module = FleetModule(
        argument_spec={
            "image": {"type": "str", "default": ""},
            "bind": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 9400},
            "gpu_driver": {"type": "str", "choices": [NVIDIA, CDI], "default": NVIDIA},
            "timeout": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
        },
        required_if=[("state", "started", ["image"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module.params, module.check_mode))
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
