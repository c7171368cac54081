#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_release
short_description: Have an image in the Docker engine of a host, from its registry or from other hosts of the run
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Fetches the configuration and the layers of an image, each compared with its SHA-256, and loads them into the
    engine. They come from other hosts that serve them with M(private_llm.fleet.model_peer), and what those do not
    bring comes from the registry.
  - The registry is asked over the proxy that the environment names. Where it wants a password, that is the one which
    C(docker login) has left for the user of the module, in the file F(~/.docker/config.json) or the one below
    E(DOCKER_CONFIG), or with the credential helper which that file names.
  - The engine is the one that E(DOCKER_HOST) names, else the one on its usual socket. No library is needed for it.
  - The role P(private_llm.fleet.container_image#role) does all this.
options:
  name:
    description: The image's name, with its registry and a tag, on the host and in the registry.
    type: str
    required: true
  state:
    description:
      - V(listed) asks the registry which files the image has, and changes nothing. When it does not answer, that is
        no failure, and RV(reason) says why.
      - V(present) has the image in the engine. Its files stay in O(root), for other hosts.
      - V(absent) removes the files from O(root). The engine keeps the image.
    type: str
    choices: [listed, present, absent]
    default: present
  listed:
    description: The files of the image, as RV(listed) told them with O(state=listed). By default the registry is asked.
    type: dict
    suboptions:
      digest:
        description: The name of the release.
        type: str
        required: true
      config:
        description: The SHA-256 of the image's configuration.
        type: str
        required: true
      layers:
        description: The SHA-256 of each layer as it is sent.
        type: list
        elements: str
        required: true
      diff_ids:
        description: The digest of each layer as it is unpacked.
        type: list
        elements: str
        required: true
      files:
        description: The files of the release.
        type: list
        elements: dict
        required: true
        suboptions:
          path:
            description: The path below the release.
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
  plain:
    description: Ask the registry over HTTP without TLS.
    type: bool
    default: false
  root:
    description: The folder on the host for the files.
    type: path
    default: /var/cache/private_llm/images
  peers:
    description: Addresses of hosts that serve the files, the nearest first, as V(http://192.0.2.10:8790).
    type: list
    elements: str
    default: []
  peer_token:
    description: What these hosts know each other by. Without it the controller makes one up for the run.
    type: str
  bandwidth:
    description: Most bytes a second that may come, from the registry and from other hosts together, such as V(50M)
      for 50 MiB. V(0) is no limit.
    type: bytes
    default: 0
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
- name: Ask which files the image has
  private_llm.fleet.image_release:
    name: vllm/vllm-openai:v0.32.0
    state: listed
  register: image

- name: Have it, from another host where that has it
  private_llm.fleet.image_release:
    name: vllm/vllm-openai:v0.32.0
    listed: "{{ image.listed }}"
    peers: ["http://192.0.2.10:8790"]
"""

RETURN = r"""
image:
  description: The id of the image that the engine has under the name; empty when it has none.
  type: str
  returned: with O(state=present)
repo:
  description: The place of the image in O(root).
  type: str
  returned: always
listed:
  description: The files of the image, with C(digest), C(files), C(config), C(layers) and C(diff_ids); empty when the
    registry did not tell them.
  type: dict
  returned: with O(state=listed)
reason:
  description: Why the registry did not tell them.
  type: str
  returned: with O(state=listed)
  sample: ""
bytes_total:
  description: The bytes of all files.
  type: int
  returned: with O(state=listed)
bytes_missing:
  description: Those that O(root) lacks.
  type: int
  returned: with O(state=listed)
bytes_downloaded:
  description: The bytes that came from the registry.
  type: int
  returned: with O(state=present)
bytes_from_peers:
  description: The bytes that came from other hosts.
  type: int
  returned: with O(state=present)
"""

import contextlib
import os
import platform
import typing as t

from ..module_utils._bundle import _archive
from ..module_utils._bundle._architecture import architecture_of
from ..module_utils._bundle._image import Image, ImageSource, ask, is_same, repo_of
from ..module_utils._bundle._index import BundleError
from ..module_utils._engine._client import Engine, EngineAbsent, EngineError
from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._apply import apply_plan
from ..module_utils._hub._candidates import Candidate, Fetcher
from ..module_utils._hub._files import EVERYTHING, FILE_OPTIONS, HubError, check_path, total_size
from ..module_utils._hub._manifest import Origin
from ..module_utils._hub._plan import Target, make_plan
from ..module_utils._hub._source import Resolution, Throttle
from ..module_utils._hub._spread._run import RunFolder
from ..module_utils._hub._spread._source import Peers
from ..module_utils._hub._store import ModelStore, is_ours
from ..module_utils._progress import Progress

LOCK_SECONDS = 3600.0
# Seconds without a byte after which another host is asked.
PATIENCE = 60.0
# Layers at a time.
WORKERS = 4


def store_of(root: str, name: str) -> ModelStore:
    """Return the place of an image's files, which root alone can reach."""
    check_path("root", root)
    store = ModelStore(root, repo_of(name))
    store.refuse_linked_folders()
    return store


def make_root(root: str) -> None:
    """Make the folder for images; raise when somebody else can change it."""
    os.makedirs(os.path.dirname(root), mode=0o755, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(root, 0o700)
    if not is_ours(root):
        raise HubError(f"{root} belongs to another user, or others can write it; remove it, then run again")


def architecture_of_host() -> str:
    """Return the architecture as registries call it; the host tells where it has no engine yet."""
    try:
        return str(Engine.connect().ping().get("Arch", ""))
    except EngineAbsent:
        return architecture_of(platform.machine())


def list_files(given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return which files the image has, and how much of them is not here."""
    store = store_of(given["root"], given["name"])
    result = {"changed": False, "repo": store.repo, "listed": {}, "reason": "", "bytes_total": 0, "bytes_missing": 0}
    try:
        image = ask(given["name"], given["plain"], architecture_of_host())
    except (BundleError, HubError, EngineError) as error:
        return {**result, "reason": str(error)}
    release = store.release(image.digest)
    total = total_size(image.blobs)
    missing = 0 if release is not None and release.manifest is not None else total
    return {**result, "listed": image.as_result(), "bytes_total": total, "bytes_missing": missing}


def fetch(module: FleetModule, store: ModelStore, image: Image, progress: Progress) -> dict[str, t.Any]:
    """Have the files in the store, verified."""
    given = module.params
    throttle = Throttle(given["bandwidth"])
    source = ImageSource(given["name"], given["plain"], image, throttle)
    origin = Origin(source.name, source.where, store.repo, image.digest, None, (), ())
    target = Target(Resolution(image.digest, None), origin, image.digest, image.blobs)
    candidate = Candidate(source, source.where, store.repo, None)
    token, peers = given["peer_token"], None
    if given["peers"]:
        if not token:
            raise HubError("peers needs peer_token, which the hosts that serve know this one by")
        peers = Peers(given["peers"], token, image.digest, image.blobs, WORKERS, PATIENCE, throttle)
    told = RunFolder(token).fetching(image.digest) if token else contextlib.nullcontext()
    with store.locked(LOCK_SECONDS, lambda: progress.update("waiting for another run")), told:
        plan = make_plan(store, target, False, 0, lambda: (), lambda count: None)
        fetcher = Fetcher(candidate, [candidate], EVERYTHING, peers)
        came = apply_plan(store, fetcher, target, plan, progress.update, module.warn)
    brought = peers.brought if peers else 0
    return {"bytes_downloaded": max(0, came - brought), "bytes_from_peers": brought}


def present(module: FleetModule, progress: Progress) -> dict[str, t.Any]:
    """Have the image in the engine."""
    given, name = module.params, module.params["name"]
    if given["bandwidth"] < 0:
        raise HubError(f"bandwidth is {given['bandwidth']}; it must be 0, which does not limit it, or more")
    store = store_of(given["root"], name)
    result = {"changed": False, "repo": store.repo, "image": "", "bytes_downloaded": 0, "bytes_from_peers": 0}
    try:
        engine = Engine.connect()
    except EngineAbsent:
        # A check on a host that has no engine yet.
        if not module.check_mode:
            raise
        return {**result, "changed": True}
    told = given["listed"]
    image = Image.from_result(told) if told else ask(name, given["plain"], str(engine.ping().get("Arch", "")))
    found = engine.inspect_image(name)
    result["image"] = str((found or {}).get("Id", ""))
    if is_same(found, image.config, image.diff_ids, engine.info):
        return result
    result["changed"] = True
    if module.check_mode:
        return result
    make_root(given["root"])
    result.update(fetch(module, store, image, progress))
    progress.update(f"loading {name}")
    engine.load_image(_archive.stream(store.release_path(image.digest), image.parts, name), given["timeout"])
    found = engine.inspect_image(name)
    if not is_same(found, image.config, image.diff_ids, engine.info):
        raise BundleError(f"the engine has loaded {name} and does not know it now; look at its log")
    return {**result, "image": str((found or {}).get("Id", ""))}


def absent(module: FleetModule) -> dict[str, t.Any]:
    """Have no files of the image."""
    store = store_of(module.params["root"], module.params["name"])
    there = store.exists()
    if there and not module.check_mode:
        with store.locked(LOCK_SECONDS, lambda: None):
            store.remove_model()
    return {"changed": there, "repo": store.repo}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["listed", "present", "absent"], "default": "present"},
            "listed": {
                "type": "dict",
                "options": {
                    "digest": {"type": "str", "required": True},
                    "config": {"type": "str", "required": True},
                    "layers": {"type": "list", "elements": "str", "required": True},
                    "diff_ids": {"type": "list", "elements": "str", "required": True},
                    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
                },
            },
            "plain": {"type": "bool", "default": False},
            "root": {"type": "path", "default": "/var/cache/private_llm/images"},
            "peers": {"type": "list", "elements": "str", "default": []},
            "peer_token": {"type": "str", "no_log": True},
            "bandwidth": {"type": "bytes", "default": "0"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "listed":
            result = list_files(module.params)
        elif module.params["state"] == "absent":
            result = absent(module)
        else:
            with Progress("image_release", module.params["name"]) as progress:
                result = present(module, progress)
    except (BundleError, HubError, EngineError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
