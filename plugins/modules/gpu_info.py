#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Tell which NVIDIA GPUs a host has and whether they can be used
version_added: "0.1.0"
description:
  - Asks the driver, through C(nvidia-smi), for the GPUs, their MIG devices, memory, links to each other and processes,
    and says in one word and one sentence whether they can be used.
  - Where the driver does not answer, the PCI bus tells whether there are GPUs at all, so that no GPU and no driver are
    told apart.
  - Succeeds on every host, also on one without GPUs or with a GPU that hangs, unless O(required=true).
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
options:
  required:
    description:
      - Fail, with RV(message), unless RV(status=ok).
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for each answer of C(nvidia-smi). With a GPU that hangs it never comes.
    type: float
    default: 20
  path:
    description:
      - The C(nvidia-smi) to ask. When omitted, it is looked for.
    type: path
  socket:
    description:
      - The socket of the Docker engine, where one runs. It knows the names of the containers that RV(processes) are
        in. When omitted, what C(DOCKER_HOST) says in the environment of the task, else C(/var/run/docker.sock).
    type: path
author:
  - private_llm.fleet contributors (@private-llm)
notes:
  - Returned as the fact C(ansible_facts['private_llm_gpu']), too, in the same form.
"""

EXAMPLES = r"""
- name: Look at the GPUs
  private_llm.fleet.gpu_info:
  register: gpu

- name: Name them
  ansible.builtin.debug:
    msg: "{{ gpu.message }}: {{ gpu.gpus | map(attribute='name') | join(', ') }}"

- name: Stop here unless every GPU can be used
  private_llm.fleet.gpu_info:
    required: true
"""

RETURN = r"""
status:
  description:
    - Whether the GPUs can be used. V(ok) they can.
    - V(no_gpu) There are none. V(no_driver) No driver of NVIDIA's is loaded for them. V(driver_mismatch) The driver was
      updated and its old kernel module is still loaded.
    - V(hung) The driver does not answer. V(gpu_lost) A GPU fell off the bus. V(reset_required) A GPU must be reset.
    - V(blocked) SELinux, a cgroup, or a lack of rights keeps the caller from the GPUs.
    - V(fabric_down) The NVLink fabric is not up, as without Fabric Manager in the driver's version. V(error) Anything
      else, such as the vGPU manager's driver, which runs no CUDA. A line of C(nvidia-smi) that is not understood is
      told in RV(message) and is no fault.
  returned: always
  type: str
  choices:
    - ok
    - no_gpu
    - no_driver
    - driver_mismatch
    - hung
    - gpu_lost
    - reset_required
    - blocked
    - fabric_down
    - error
  sample: ok
message:
  description: The same as a sentence, and what to do about it.
  returned: always
  type: str
  sample: 2 GPUs can be used
gpus:
  description: The GPUs, by index.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: Its place in the order of C(nvidia-smi). It can change; RV(gpus[].uuid) cannot.
      type: int
      sample: 0
    uuid:
      description: Its UUID.
      type: str
      sample: GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d
    name:
      description: What it is.
      type: str
      sample: NVIDIA H100 80GB HBM3
    pci_bus_id:
      description: Its address on the PCI bus.
      type: str
      sample: "00000000:00:09.0"
    memory:
      description:
        - Its memory, C(total), C(used) and C(free), in MiB. When RV(gpus[].unified), it is the memory of the host.
      type: dict
      sample: {total: 81559, used: 0, free: 81081}
    unified:
      description:
        - Whether it has no memory of its own and uses that of the host, as GB10 (DGX Spark) and N1X do. Programs and
          the system take from the same memory, so C(free) is what they leave.
      type: bool
      sample: false
    compute_capability:
      description: Its compute capability; null with drivers that do not tell, such as 470.
      type: str
      sample: "9.0"
    persistence_mode:
      description: Whether the driver stays loaded for it without users; null when it does not tell.
      type: bool
      sample: true
    ecc:
      description: Whether its memory corrects errors; null when it cannot.
      type: bool
      sample: true
    mig:
      description:
        - Its division into MIG devices. C(mode) is V(enabled), V(disabled) or V(unsupported); C(pending) is the mode
          after the next reset when that is another one; C(devices) lists C(index), C(profile), C(uuid),
          C(gpu_instance_id), C(compute_instance_id) and, in MiB as for the GPU, C(memory) of each.
      type: dict
      sample: {mode: disabled, pending: null, devices: []}
    fabric:
      description: C(state) and C(status) of its NVLink fabric; null when it has none.
      type: dict
      sample: {state: Completed, status: Success}
    problem:
      description: What the driver says in place of values when the GPU is out of order; otherwise null.
      type: str
      sample: GPU requires reset
driver_version:
  description: Version of the driver.
  returned: always
  type: str
  sample: 590.48.01
kernel_module_version:
  description: Version of the loaded kernel module. Another one than the driver's means that a reboot is due.
  returned: always
  type: str
  sample: 590.48.01
open_kernel_module:
  description: Whether the loaded kernel module is the open one.
  returned: always
  type: bool
  sample: true
cuda_version:
  description: The newest CUDA that the driver runs.
  returned: always
  type: str
  sample: "13.1"
topology:
  description: How the GPUs are linked, one entry for each.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: Index of the GPU.
      type: int
      sample: 0
    gpus:
      description: The link to each other GPU, by its index, in the words of C(nvidia-smi topo -m).
      type: dict
      sample: {"1": NV18}
    nics:
      description: The link to each network card, by the name that C(nvidia-smi) gives it.
      type: dict
      sample: {NIC0: PXB}
    cpu_affinity:
      description: The CPUs near it.
      type: str
      sample: 0-55,112-167
    numa_affinity:
      description: The NUMA node near it.
      type: str
      sample: "0"
processes:
  description: The processes that compute on a GPU.
  returned: always
  type: list
  elements: dict
  contains:
    pid:
      description: Its process id on the host.
      type: int
      sample: 4242
    name:
      description: Its program.
      type: str
      sample: python3
    gpu_uuid:
      description: UUID of the GPU.
      type: str
      sample: GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d
    used_memory:
      description: Its memory on the GPU in MiB; null when the driver does not tell.
      type: int
      sample: 71234
    container:
      description: Id of the container that it is in; null when it is in none, or that cannot be seen.
      type: str
      sample: 4c01db0b339c1d5f4b9be7b2a1f0e9d8c7b6a59483726150f1e2d3c4b5a69788
    container_name:
      description: Name of that container; null when it is none of the Docker engine's at O(socket).
      type: str
      sample: qwen3-32b
fabric_manager:
  description: Fabric Manager, which a host with NVSwitches needs in exactly the version of the driver.
  returned: always
  type: dict
  contains:
    switches:
      description: How many NVSwitches are on the PCI bus. Those of Blackwell are on none.
      type: int
      sample: 4
    running:
      description: Whether it runs.
      type: bool
      sample: true
    version:
      description: Its version; null when it is not installed, or nobody asked it because there is no C(nvidia-smi).
      type: str
      sample: 590.48.01
pci_devices:
  description:
    - The NVIDIA GPUs on the PCI bus, C(address), C(device) and the kernel's C(driver) for each, whether usable or
      not.
  returned: always
  type: list
  elements: dict
  sample: [{address: "0000:00:09.0", device: "0x2330", driver: nvidia}]
"""

import typing as t

from ..module_utils._docker._dockerd import dockerd_runs
from ..module_utils._engine._api import (
    Api,
    EngineError,
    address_here,
    address_of,
)
from ..module_utils._fleet_module import FleetModule
from ..module_utils._gpu import _look, _status


def name_containers(processes: list[dict[str, t.Any]], socket: str | None) -> None:
    """Name the container of each process, which the driver does not know; leave it out where no engine answers."""
    names: dict[str, str] = {}
    # An engine that does not run is not asked: systemd would start it for the question.
    if any(process["container"] for process in processes) and dockerd_runs():
        try:
            api = Api(address_of(socket) if socket else address_here(), seconds=10)
            names = {one["Id"]: one["Names"][0].lstrip("/") for one in api.get("/containers/json")}
        except (EngineError, KeyError, IndexError, TypeError, AttributeError):
            names = {}
    for process in processes:
        process["container_name"] = names.get(process["container"])


def main() -> None:
    module = FleetModule(
        argument_spec={
            "required": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 20},
            "path": {"type": "path"},
            "socket": {"type": "path"},
        },
        supports_check_mode=True,
    )
    result: dict[str, t.Any] = {"changed": False, **_look.empty()}
    timeout = module.params["timeout"]
    if not _look.can_wait(timeout):
        module.fail_json(msg=_look.cannot_wait(timeout), **result)
    found = _look.look_here(module.get_bin_path, timeout, module.params["path"])
    name_containers(found["processes"], module.params["socket"])
    result.update(found)
    if module.params["required"] and found["status"] != _status.OK:
        module.fail_json(msg=f"no usable GPU: {found['message']}", **result)
    module.exit_json(ansible_facts={"private_llm_gpu": found}, **result)


if __name__ == "__main__":
    main()
