#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_cdi
short_description: Keep the CDI specification of a host's GPUs in step with its GPUs
version_added: "0.1.0"
description:
  - Compares what C(nvidia-ctk cdi list) offers to containers with the GPUs and MIG devices that the host has, and has
    C(nvidia-ctk cdi generate) write the specification anew when one of them is missing in it, or when it offers one
    that is not there.
  - The toolkit's own service writes the specification when the host starts. It knows nothing of GPUs divided
    differently since, and writes none when it ran before the driver was ready.
  - A host without usable GPUs is left as it is.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the names of the devices that are offered.
  idempotent:
    support: full
options:
  path:
    description:
      - The specification to write. Use V(/etc/cdi/nvidia.yaml) with a toolkit older than 1.18, which has no service
        that writes it when the host starts.
    type: path
    default: /var/run/cdi/nvidia.yaml
  spec_dirs:
    description:
      - The folders that the engine reads, as RV(private_llm.fleet.nvidia_runtime#module:engine.cdi_spec_dirs) tells
        them.
    type: list
    elements: path
    default:
      - /etc/cdi
      - /var/run/cdi
  timeout:
    description:
      - Seconds to wait for each answer of C(nvidia-smi).
    type: float
    default: 20
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.gpu_info
  - module: private_llm.fleet.nvidia_runtime
"""

EXAMPLES = r"""
- name: Offer the GPUs as they are divided now
  private_llm.fleet.nvidia_cdi:

- name: Keep the specification on the disk
  private_llm.fleet.nvidia_cdi:
    path: /etc/cdi/nvidia.yaml
"""

RETURN = r"""
path:
  description: The specification, as it was named.
  returned: always
  type: str
  sample: /var/run/cdi/nvidia.yaml
devices:
  description: The names that containers can be given GPUs by. In check mode, as they are now.
  returned: always
  type: list
  elements: str
  sample: ["0", GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d, all]
missing:
  description: The UUIDs of GPUs and MIG devices that were not offered.
  returned: always
  type: list
  elements: str
  sample: []
stale:
  description: The names that RV(path) offered and that no device of this host has.
  returned: always
  type: list
  elements: str
  sample: []
others:
  description:
    - Other files that offer NVIDIA GPUs which this host does not have, C(path) and C(stale) of each. They are left
      alone, with a warning.
  returned: always
  type: list
  elements: dict
  sample: [{path: /etc/cdi/old.json, stale: [GPU-6f1c3c2e-5a8f-4d0b-9c0e-2f4f6a1f5b7d]}]
"""

import os
import shutil
import tempfile
import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._gpu import _cdi, _look

DRAFT_FOLDER = ".private_llm-"


def main() -> None:
    module = FleetModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/run/cdi/nvidia.yaml"},
            "spec_dirs": {"type": "list", "elements": "path", "default": list(_cdi.FOLDERS)},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    path: str = module.params["path"]
    folders: list[str] = module.params["spec_dirs"]
    timeout = module.params["timeout"]
    result: dict[str, t.Any] = {"changed": False, "path": path, "devices": [], "missing": [], "stale": [], "others": []}
    if os.path.dirname(path) not in folders:
        module.fail_json(
            msg=f"{path} is in none of the folders that the engine reads ({', '.join(folders)}); correct path", **result
        )
    if not path.endswith((".yaml", ".yml", ".json")):
        module.fail_json(
            msg=f"path {path!a} has no name that engines read; end it in .yaml or .json, as /var/run/cdi/nvidia.yaml",
            **result,
        )
    if not _look.can_wait(timeout):
        module.fail_json(msg=_look.cannot_wait(timeout), **result)
    tool = module.get_bin_path("nvidia-ctk")
    if not tool:
        module.fail_json(
            msg="there is no nvidia-ctk on this host; install the package nvidia-container-toolkit-base", **result
        )

    program = module.get_bin_path("nvidia-smi", opt_dirs=_look.OTHER_FOLDERS)
    gpus = _look.look(_look.asker(program, timeout) if program else None, timeout)["gpus"]
    offered = list_devices(module, tool, folders)
    result["devices"] = sorted(offered)
    if gpus:
        result["missing"] = _cdi.not_offered(gpus, offered)
        result["stale"] = _cdi.not_there(gpus, _cdi.names_by_file(folders).get(path, ()))
    if result["missing"] or result["stale"]:
        result["changed"] = True
        before = lines(offered)
        if not module.check_mode:
            generate(module, tool, path, result)
            offered = list_devices(module, tool, folders)
            result["devices"] = sorted(offered)
            verify(module, gpus, offered, folders, result)
        result["diff"] = {"before": before, "after": lines(offered), "before_header": path, "after_header": path}
        if module.check_mode:
            # What the tool will call them is for it to say; all that is known is what is to come and to go.
            result["diff"]["after"] = lines((offered - set(result["stale"])) | set(result["missing"]))
    for other, names in _cdi.names_by_file(folders).items():
        stale = _cdi.not_there(gpus, names) if gpus and other != path else []
        if stale:
            result["others"].append({"path": other, "stale": stale})
            module.warn(
                f"{other} offers GPUs that this host does not have: {', '.join(stale)}; remove it, or write it anew"
            )
    module.exit_json(**result)


def list_devices(module: FleetModule, tool: str, folders: t.Sequence[str]) -> set[str]:
    _rc, output, _errors = module.run_command([tool, "cdi", "list", *(f"--spec-dir={folder}" for folder in folders)])
    return _cdi.parse_list(output)


def generate(module: FleetModule, tool: str, path: str, result: dict[str, t.Any]) -> None:
    """Have the tool write into a folder beside the place that no engine reads, and put the whole file in its place."""
    parent, name = os.path.split(path)
    rc, output, errors = 1, "", ""
    folder = ""
    try:
        os.makedirs(parent, mode=0o755, exist_ok=True)
        sweep(parent)
        folder = tempfile.mkdtemp(prefix=DRAFT_FOLDER, dir=parent)
        draft = os.path.join(folder, name)
        rc, output, errors = module.run_command([tool, "cdi", "generate", f"--output={draft}"])
        if rc == 0:
            os.chmod(draft, 0o644)
            os.replace(draft, path)
    except OSError as error:
        module.fail_json(
            msg=f"{path} cannot be written: {error.strerror or error}; it was left as it is. Make room in {parent}",
            **dict(result, changed=False),
        )
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    if rc != 0:
        said = (errors.strip() or output.strip() or "nothing").replace(draft, path)
        module.fail_json(
            msg=(
                f"nvidia-ctk cannot write {path}, which was left as it is; nvidia-ctk --debug cdi generate tells more. "
                f"It says: {said}"
            ),
            **dict(result, changed=False),
        )


def sweep(folder: str) -> None:
    """Remove what runs left that were killed. Two runs that are at it at once lose nothing but one run's time."""
    for name in os.listdir(folder):
        if name.startswith(DRAFT_FOLDER):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def verify(
    module: FleetModule,
    gpus: _cdi.Gpus,
    offered: set[str],
    folders: t.Sequence[str],
    result: dict[str, t.Any],
) -> None:
    missing = _cdi.not_offered(gpus, offered)
    if missing:
        files = ", ".join(sorted(_cdi.names_by_file(folders))) or "no file"
        module.fail_json(
            msg=(
                f"{', '.join(missing)} cannot be given to containers even after nvidia-ctk wrote {result['path']}; "
                f"{files} offer NVIDIA GPUs, and devices that two files of one folder offer are dropped"
            ),
            **result,
        )


def lines(names: t.Iterable[str]) -> str:
    return "".join(f"{_cdi.CDI_KIND}={name}\n" for name in sorted(names))


if __name__ == "__main__":
    main()
