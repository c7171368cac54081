#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_container_check
short_description: Prove that containers get the GPUs of a host
version_added: "0.1.0"
description:
  - Starts a container that lists its GPUs with C(nvidia-smi -L), asks for all GPUs of the host in the way that
    M(private_llm.fleet.vllm_server) does, compares, and removes the container.
  - Takes an image that is on the host already, and pulls none. C(nvidia-smi) is not in images; the toolkit brings it
    from the host into a container, so that the proof covers the toolkit, too.
  - Fails when a container does not start with the GPUs, or misses one of them.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Starts no container in check mode, and returns RV(status=skipped).
  diff_mode:
    support: none
    details: Changes nothing that lasts, so there is nothing to show.
  idempotent:
    support: full
options:
  image:
    description:
      - The image to try it with, which must be on the host. Any with the GNU C library does.
      - When omitted, the smallest one on the host that is made for GPUs, as all are that are built upon NVIDIA's.
    type: str
  socket:
    description:
      - The socket of the Docker engine. When omitted, what C(DOCKER_HOST) says in the environment of the task, else
        C(/var/run/docker.sock).
    type: path
  timeout:
    description:
      - Seconds to wait for the container, and for each answer of C(nvidia-smi) on the host.
    type: float
    default: 60
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.gpu_info
"""

EXAMPLES = r"""
- name: Prove that containers get the GPUs
  private_llm.fleet.gpu_container_check:
  register: proof

- name: Say what it proved
  ansible.builtin.debug:
    msg: "{{ proof.message }}"
"""

RETURN = r"""
status:
  description:
    - V(proven) when a container had every GPU; V(no_image) when no image on the host is made for GPUs; V(no_gpu) when
      the host has none to give; V(skipped) in check mode.
  returned: success
  type: str
  choices:
    - proven
    - no_image
    - no_gpu
    - skipped
  sample: proven
message:
  description: The same as a sentence.
  returned: success
  type: str
  sample: a container on vllm/vllm-openai:v0.32.0 has 2 GPUs, by cdi
image:
  description: The image that it was tried with; null when none was.
  returned: always
  type: str
  sample: vllm/vllm-openai:v0.32.0
driver:
  description: How the GPUs were asked for, C(cdi) or C(nvidia); null when they were not.
  returned: always
  type: str
  sample: cdi
uuids:
  description: The UUIDs of the GPUs and MIG devices that the container had.
  returned: always
  type: list
  elements: str
  sample: [GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d]
output:
  description: What the container said.
  returned: always
  type: str
  sample: "GPU 0: NVIDIA L40S (UUID: GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d)"
"""

import contextlib
import typing as t

from ..module_utils._engine._api import (
    Api,
    EngineError,
    address_here,
    address_of,
    path_of,
)
from ..module_utils._fleet_module import FleetModule
from ..module_utils._gpu import _look, _proof
from ..module_utils._http import read_limited
from ..module_utils._vllm.container._devices import device_request
from ..module_utils._vllm.container._host import cdi_devices, choose_driver

ASK_SECONDS = 10.0
LARGEST_LOG = 1024 * 1024  # bytes; a GPU is one line


def main() -> None:
    module = FleetModule(
        argument_spec={
            "image": {"type": "str"},
            "socket": {"type": "path"},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    result: dict[str, t.Any] = {"changed": False, "image": None, "driver": None, "uuids": [], "output": ""}
    if module.check_mode:
        module.exit_json(status="skipped", message="no container is started in check mode", **result)
    timeout: float = module.params["timeout"]
    if not _look.can_wait(timeout):
        module.fail_json(msg=_look.cannot_wait(timeout), **result)
    program = module.get_bin_path("nvidia-smi", opt_dirs=_look.OTHER_FOLDERS)
    host = _look.look(_look.asker(program, timeout) if program else None, timeout)
    wanted = _proof.wanted_uuids(host["gpus"])
    if not wanted:
        module.exit_json(status="no_gpu", message=f"nothing to prove: {host['message']}", **result)

    try:
        api = engine_at(module.params["socket"])
        image = find_image(api, module.params["image"])
        if image is None:
            module.exit_json(
                status="no_image", message="no image on this host is made for GPUs, so nothing was proven yet", **result
            )
            return
        result["image"] = _proof.name_of(image)
        result["driver"], devices = choose_driver(wanted, host["gpus"], cdi_devices(api.get("/info") or {}))
        body = _proof.container_body(image["Id"], device_request(devices, result["driver"]))
        code, result["output"] = run_container(api, body, timeout)
    except EngineError as error:
        if error.said:
            name = result["image"] or module.params["image"]
            module.fail_json(msg=f"a container on {name} cannot be given the GPUs: {error.said}", **result)
        module.fail_json(msg=f"the proof that containers get the GPUs broke off: {error}", **result)
    except (KeyError, TypeError, AttributeError) as error:
        module.fail_json(
            msg=f"what answers in the engine's place does not describe images and containers: {error!r}", **result
        )

    result["uuids"] = _proof.seen_uuids(result["output"])
    missing = [uuid for uuid in wanted if uuid not in result["uuids"]]
    if missing:
        said = " ".join(result["output"].split()) or f"nothing, and exits with {code}"
        module.fail_json(
            msg=f"a container on {result['image']} misses {', '.join(missing)}; nvidia-smi in it says: {said}", **result
        )
    count = f"{len(wanted)} GPU{'s' if len(wanted) > 1 else ''}"
    module.exit_json(
        status="proven", message=f"a container on {result['image']} has {count}, by {result['driver']}", **result
    )


def engine_at(socket: str | None) -> Api:
    return Api(address_of(socket) if socket else address_here(), seconds=ASK_SECONDS)


def find_image(api: Api, name: str | None) -> t.Mapping[str, t.Any] | None:
    """Return the image that was named, as the engine describes it, or the best one on the host."""
    if name:
        described: t.Mapping[str, t.Any] = api.get(path_of("images", name, "json"))
        return described
    return _proof.choose_image(api.get(path_of("images", image["Id"], "json")) for image in api.get("/images/json"))


def run_container(api: Api, body: t.Mapping[str, t.Any], timeout: float) -> tuple[int, str]:
    """Run a container; return its exit status and its output."""
    container = api.post("/containers/create", body, timeout)["Id"]
    try:
        # The toolkit works while the container starts.
        api.post(path_of("containers", container, "start"), seconds=timeout)
        code = api.post(path_of("containers", container, "wait"), seconds=timeout)["StatusCode"]
        with api.open("GET", path_of("containers", container, "logs", stdout=True, stderr=True)) as response:
            said = read_limited(response, LARGEST_LOG)
    finally:
        with contextlib.suppress(EngineError):
            api.delete(path_of("containers", container, force=True, v=True))
    return int(code), said.decode("utf-8", "replace")


if __name__ == "__main__":
    main()
