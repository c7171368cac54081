#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_peer
short_description: Serve models of a host to other hosts while a play runs
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Starts a small HTTP server on the host from which other hosts fetch releases of models, with
    M(private_llm.fleet.model_snapshot) and its option O(private_llm.fleet.model_snapshot#module:peers). A release is
    served while it is still being fetched.
  - The server answers only to the token of the run, which the controller makes up, and serves only the files of
    O(releases), by their number. It reads and never writes, holds 64 connections at most, and is Python's standard
    library alone.
  - The server ends with O(state=stopped). It also ends by itself five minutes after the last request and the last sign
    of work on any host of O(members), such as when the controller was killed.
  - What is sent is not encrypted. Whoever fetches holds each file against its SHA-256.
  - The role P(private_llm.fleet.model_download#role) does all this.
options:
  state:
    description: Whether the server of this run is to be there.
    type: str
    choices: [started, stopped]
    default: started
  token:
    description:
      - What the hosts of a run know each other by, 32 characters or more.
      - Without it the controller makes one up for the run, the same for all hosts.
    type: str
  address:
    description: The address on which to listen, one of this host. Needed with O(state=started).
    type: str
  port:
    description: The port on which to listen.
    type: int
    default: 8790
  root:
    description: The store of models on the host, as in M(private_llm.fleet.model_snapshot).
    type: path
    default: /srv/models
  releases:
    description: The releases to serve, whether they are there or still to come.
    type: list
    elements: dict
    default: []
    suboptions:
      repo:
        description: The repository, as C(<organization>/<name>).
        type: str
        required: true
      digest:
        description: The name of the release.
        type: str
        required: true
      files:
        description: The files of the release, as M(private_llm.fleet.model_snapshot) returns them.
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
  members:
    description: Addresses of the other hosts of the run, as V(http://192.0.2.10:8790). While this host works, it tells
      them that the run goes on.
    type: list
    elements: str
    default: []
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
- name: Serve a model to the other hosts
  private_llm.fleet.model_peer:
    address: 192.0.2.10
    releases:
      - repo: Qwen/Qwen3-8B
        digest: "{{ model.digest }}"
        files: "{{ model.files }}"

- name: Stop
  private_llm.fleet.model_peer:
    state: stopped
"""

RETURN = r"""
serving:
  description: Whether the server is there, or would be.
  type: bool
  returned: always
reason:
  description: Why it could not be started. That is no failure, because hosts fetch from the hub then.
  type: str
  returned: always
  sample: ""
"""

import typing as t

from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._files import (
    FILE_OPTIONS,
    HubError,
    check_entries,
    check_path,
    check_repo,
    digest_of,
    given_entries,
)
from ..module_utils._hub._spread._daemon import go_on
from ..module_utils._hub._spread._run import RunFolder, note_on
from ..module_utils._hub._spread._server import PeerServer, Shelf, listen
from ..module_utils._hub._spread._source import address_of
from ..module_utils._hub._store import ModelStore

TOKEN_LENGTH = 32


def shelf_of(root: str, release: t.Mapping[str, t.Any]) -> Shelf:
    """Return a release as it is served; raise when its list of files is not the one that its digest names."""
    repo, digest = check_repo(release["repo"]), release["digest"]
    entries = tuple(check_entries(given_entries(release["files"]), f"releases, {repo}"))
    if digest_of(entries) != digest:
        raise HubError(f"releases says that {repo} is {digest!r}, and the files named there are another release")
    store = ModelStore(root, repo)
    store.refuse_linked_folders()
    return Shelf(store, digest, entries)


def start(module: FleetModule, folder: RunFolder, token: str) -> dict[str, t.Any]:
    """Have the server of the run."""
    given = module.params
    check_path("root", given["root"])
    shelves = [shelf_of(given["root"], release) for release in given["releases"]]
    members = [address_of(url) for url in given["members"]]
    note = note_on([given["address"], given["port"], given["members"], given["root"], [s.digest for s in shelves]])
    if folder.server_note() == note:
        return {"changed": False, "serving": True, "reason": ""}
    if module.check_mode:
        return {"changed": True, "serving": True, "reason": ""}
    folder.stop_server()
    try:
        listener = listen(given["address"], given["port"])
        folder.make()
        lock = folder.take_server(note)
    except (OSError, HubError) as error:
        reason = f"address {given['address']}, port {given['port']}: {error}"
        return {"changed": False, "serving": False, "reason": reason}
    server = PeerServer(listener, token, shelves, folder, members)
    go_on(lambda: server.run(lock), keep=(listener.fileno(), lock))
    return {"changed": True, "serving": True, "reason": ""}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "token": {"type": "str", "no_log": True},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 8790},
            "root": {"type": "path", "default": "/srv/models"},
            "releases": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "repo": {"type": "str", "required": True},
                    "digest": {"type": "str", "required": True},
                    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
                },
            },
            "members": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "started", ("address",))],
        supports_check_mode=True,
    )
    token = module.params["token"] or ""
    if len(token) < TOKEN_LENGTH or not (token.isascii() and token.isalnum()):
        module.fail_json(msg=f"token has fewer than {TOKEN_LENGTH} characters, or others than letters and digits")
    folder = RunFolder(token)
    try:
        if module.params["state"] == "started":
            result = start(module, folder, token)
        else:
            there = folder.server_note() is not None
            if there and not module.check_mode:
                folder.stop_server()
            result = {"changed": there, "serving": False, "reason": ""}
    except (HubError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
