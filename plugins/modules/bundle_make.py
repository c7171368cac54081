#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_make
short_description: Make a bundle of all that a fleet without a line needs
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts images, models, packages and Python libraries into one folder, each file named by its SHA-256, with an index
    whose SHA-256 names the whole.
  - Images come from their registries, by the standard API and without a container engine. Where a registry wants a
    password, that is the one which C(docker login) has left for the user of the module, in the file
    F(~/.docker/config.json) or the one below E(DOCKER_CONFIG), or with the credential helper which that file names.
  - The other things are folders on the machine that runs the module.
  - A place that cannot be written or has too little room is refused before anything is fetched, and so is one in which
    another run makes a bundle.
  - A run that was interrupted goes on where it ended. What is no longer wanted is removed from the folder.
  - The playbook C(playbooks/bundle.yml) finds out what an inventory needs and calls this module.
options:
  path:
    description: The folder of the bundle. It is made when it is missing.
    type: path
    required: true
  content:
    description: All that the bundle is to hold.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: What it is.
        type: str
        choices: [collections, image, model, packages, wheels]
        required: true
      name:
        description:
          - For V(collections) any name; the archives can be reached by their own names in the folder C(collections) of
            the bundle, for C(ansible-galaxy).
          - What hosts call it, such as C(vllm/vllm-openai:v0.32.0), C(Qwen/Qwen3-8B), or C(debian:13) for packages and
            libraries of a platform.
          - The architecture is a part of the name in the bundle where that is not C(amd64), as in
            C(debian:13 linux/arm64). An image gets that part by itself.
        type: str
        required: true
      folder:
        description: The folder with its files. Needed for all kinds but V(image). That of a model is a release.
        type: path
      source:
        description: The reference to pull an image by, when that is not its O(content[].name).
        type: str
      plain:
        description: Whether the registry of an image speaks HTTP without TLS.
        type: bool
        default: false
      architecture:
        description: The architecture of an image, as Docker calls it.
        type: str
        default: amd64
  since:
    description:
      - The folder of an earlier bundle. Only what that one lacks is put into this one.
      - Copied over the earlier one, it makes a bundle with the same root hash as one that was made whole.
    type: path
  sign_with:
    description: A private key of OpenSSH to sign the index with, or the public key of one that C(ssh-agent) holds.
    type: path
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Asks the registries for sizes, and tries the key of O(sign_with); fetches nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A signature is made anew when the index has changed, or when it does not fit.
"""

EXAMPLES = r"""
- name: Make a bundle of a model and an image
  private_llm.fleet.bundle_make:
    path: /srv/bundle
    content:
      - {kind: image, name: "vllm/vllm-openai:v0.32.0"}
      - {kind: model, name: Qwen/Qwen3-8B, folder: /srv/models/Qwen/Qwen3-8B/current}
    sign_with: ~/.ssh/bundle
"""

RETURN = r"""
root:
  description: The SHA-256 of the index, which names the bundle.
  type: str
  returned: always
content:
  description: What the bundle holds, with C(kind), C(name) and C(bytes).
  type: list
  elements: dict
  returned: always
bytes_total:
  description: The bytes of all blobs of the bundle.
  type: int
  returned: always
bytes_own:
  description: The bytes of those that are in this folder, which are fewer with O(since).
  type: int
  returned: always
bytes_missing:
  description: The bytes that were still to come when the module began.
  type: int
  returned: always
"""

import os
import typing as t

from ..module_utils import _units
from ..module_utils._bundle._folder import Folder
from ..module_utils._bundle._index import BundleError
from ..module_utils._bundle._making import (
    Made,
    Part,
    earlier_index,
    folder_part,
    image_part,
    link_files,
    make,
    model_part,
    plan,
)
from ..module_utils._bundle._place import check_place, explain, held
from ..module_utils._bundle._signature import is_signed_by, sign, try_key
from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._files import HubError
from ..module_utils._progress import Progress


def part_of(item: t.Mapping[str, t.Any]) -> Part:
    """Return what goes into the bundle for an entry of ``content``."""
    if item["kind"] == "image":
        return image_part(item["name"], item["source"] or item["name"], item["plain"], item["architecture"])
    if not item["folder"]:
        raise BundleError(f"content names {item['kind']} {item['name']} without its folder")
    if item["kind"] == "model":
        return model_part(item["name"], item["folder"])
    return folder_part(item["kind"], item["name"], item["folder"])


def described(made: Made) -> dict[str, t.Any]:
    """Return what the module tells of a bundle."""
    return {
        "root": made.index.root,
        "content": [{"kind": item.kind, "name": item.name, "bytes": item.size} for item in made.index.items],
        "bytes_total": sum(made.index.blobs().values()),
        "bytes_own": sum(made.own.values()),
        "bytes_missing": sum(made.missing.values()),
    }


class Counter:
    """Tells the progress of all parts together."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._progress.update(f"collecting {_units.size(self._total)}", self._done, self._total)


def run(module: FleetModule) -> dict[str, t.Any]:
    """Make the bundle, or say what it would be."""
    given = module.params
    folder = Folder(given["path"])
    check_place(folder.path)
    if given["sign_with"] and module.check_mode:
        try_key(given["sign_with"])
    earlier = earlier_index(folder, given["since"]) if given["since"] else None
    parts = [part_of(item) for item in given["content"]]
    unsigned = bool(given["sign_with"]) and not is_signed_by(folder, given["sign_with"])
    if module.check_mode:
        made = plan(parts, folder, earlier)
    else:
        os.makedirs(folder.path, exist_ok=True)
        with held(folder.path), Progress("bundle_make", given["path"]) as progress:
            total = sum(part.item.size for part in parts)
            made = make(parts, folder, earlier, Counter(progress, total))
            link_files(folder, made.index, "collections")
            unsigned = bool(given["sign_with"]) and not is_signed_by(folder, given["sign_with"])
            if unsigned:
                sign(folder, given["sign_with"])
    return {"changed": made.changed or unsigned, **described(made)}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "kind": {
                        "type": "str",
                        "required": True,
                        "choices": ["collections", "image", "model", "packages", "wheels"],
                    },
                    "name": {"type": "str", "required": True},
                    "folder": {"type": "path"},
                    "source": {"type": "str"},
                    "plain": {"type": "bool", "default": False},
                    "architecture": {"type": "str", "default": "amd64"},
                },
            },
            "since": {"type": "path"},
            "sign_with": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except OSError as error:
        module.fail_json(msg=explain(error))
    except (BundleError, HubError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
