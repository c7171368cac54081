#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_image
short_description: Have an image of a bundle in the Docker engine of a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Loads an image of a bundle on the controller into the engine of a host, unless the engine has just that image under
    the name. Only blobs are sent that an interrupted run has not brought, and each is compared with its SHA-256 on the
    host.
  - The engine is the one that E(DOCKER_HOST) names, else the one on its usual socket. No library is needed for it.
options:
  name:
    description: The image's name, on the host and in the bundle.
    type: str
    required: true
  architecture:
    description: The architecture of the host, as Docker calls it or as V(x86_64) and V(aarch64). The bundle's image for
      it is taken.
    type: str
    default: amd64
  bundle:
    description: The folder of the bundle on the controller.
    type: path
  config:
    description: The SHA-256 of the image's configuration. The controller takes it from the bundle.
    type: str
  layers:
    description: The SHA-256 of each layer of the image, unpacked. The controller takes them from the bundle.
    type: list
    elements: str
    default: []
  files:
    description: The files of the image in the bundle. The controller takes them from its index.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path within the image's part of the bundle.
        type: str
        required: true
      size:
        description: The size in bytes.
        type: int
        required: true
      sha256:
        description: The SHA-256 of the content.
        type: str
        required: true
  work_dir:
    description: The folder on the host for blobs on their way. Those of an image are removed when it is loaded.
    type: path
    default: /var/cache/private_llm/bundle/images
  timeout:
    description: Seconds that the engine may take to load the image.
    type: int
    default: 3600
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Have vLLM's image on a host that reaches no registry
  private_llm.fleet.bundle_image:
    bundle: /srv/bundle
    name: vllm/vllm-openai:v0.32.0
"""

RETURN = r"""
image:
  description: The id of the image that the engine has under the name; empty when it has none.
  type: str
  returned: always
"""

import os
import shutil
import typing as t

from ..module_utils._bundle import _archive
from ..module_utils._bundle._image import is_same
from ..module_utils._bundle._index import BundleError, check_sha256
from ..module_utils._engine._client import Engine, EngineAbsent, EngineError
from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._files import FILE_OPTIONS, HubError, check_entries, given_entries


def run(module: FleetModule) -> dict[str, t.Any]:
    """Load the image, unless it is there."""
    given = module.params
    name, config = given["name"], check_sha256(given["config"] or "")
    files = check_entries(given_entries(given["files"]), "files")
    try:
        engine = Engine.connect()
        found = engine.inspect_image(name)
    except EngineAbsent:
        # A check on a host that has no engine yet.
        if not module.check_mode:
            raise
        found = None
    if found is not None and is_same(found, config, given["layers"], engine.info):
        return {"changed": False, "image": str((found or {}).get("Id", ""))}
    if module.check_mode:
        return {"changed": True, "image": str((found or {}).get("Id", ""))}
    folder = os.path.join(given["work_dir"], config)
    engine.load_image(_archive.stream(folder, files, name), given["timeout"])
    found = engine.inspect_image(name)
    if not is_same(found, config, given["layers"], engine.info):
        raise BundleError(f"the engine has loaded {name} from the bundle and does not know it now; look at its log")
    shutil.rmtree(folder)
    return {"changed": True, "image": str((found or {}).get("Id", ""))}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "architecture": {"type": "str", "default": "amd64"},
            "bundle": {"type": "path"},
            "config": {"type": "str"},
            "layers": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
            "work_dir": {"type": "path", "default": "/var/cache/private_llm/bundle/images"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (BundleError, HubError, EngineError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
