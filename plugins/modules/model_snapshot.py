#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_snapshot
short_description: Keep a verified snapshot of a model on a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Resolves a revision of a model to a commit, fetches the files once, verifies each by its SHA-256 and publishes all
    of them in one step as an immutable release, C(<root>/<organization>/<name>/<digest>/). The link C(current) beside
    the releases names the one in use.
  - The digest is the SHA-256 over the sorted list of paths, sizes and SHA-256 sums. A release that carries it is what
    was asked for, whatever hub or mirror it came from.
  - A server that runs from an older release is not disturbed. Files that two releases have in common are on disk
    once, as hard links.
  - An interrupted run leaves what it fetched in C(.staging) and the next one goes on from there. A release that lost
    or changed a file is repaired by fetching just that file.
  - Files that somebody put into C(<root>/<organization>/<name>/) by hand, such as a download made before, are not
    fetched again. Their contents are verified, and they are taken as hard links where they belong to the user that this
    runs as, nobody else can write them and they have no name outside of that folder. Others are copied, because who
    can still write them could change what a server reads.
  - Where this runs as root, the folders C(<root>/<organization>/) and C(<root>/<organization>/<name>/) become root's
    own. A link in the place of one of them is refused.
  - A full commit id whose release is on the host needs no request at all. A branch or tag that did not move needs
    one.
  - When the hub cannot be asked and the release is there that the revision was when it was asked last, that one is
    used, with a warning, see O(require_hub).
  - Requests to list files and refs are tried 4 times, with pauses of 1, 2 and 4 seconds or what the hub asks for (at
    most 60, or 300 after too many requests), when there is no answer, too many requests or an error of the server.
    They are tried 3 times when the model can be used without an answer. An answer may take 10 minutes as a whole.
options:
  repo:
    description: The repository, as C(<organization>/<name>).
    type: str
    required: true
  config:
    description:
      - Whether to return the model's C(config.json), also before the model is on the host; the hub is then asked for
        this one file. With O(source=git_lfs) it comes with the list of files, which needs git on the host.
    type: bool
    default: false
  source:
    description: Where the model comes from.
    type: str
    choices:
      modelscope:
        - A ModelScope hub. The ModelScope SDK does the transfer, see O(retries), O(timeout) and O(workers).
        - It takes up files that were cut off, and compares sizes and SHA-256 sums as they arrive. A file whose
          content is wrong is fetched 3 times at most.
      git_lfs:
        - A git server with LFS, at C(<endpoint>/<repo>.git). Only the wanted commit and the objects of the wanted
          files are fetched.
        - A fetch that git-lfs gives up on, or an object with wrong contents, is tried 3 times.
        - Objects are renamed into place, so no file takes its space twice, and no repository is left at the end.
        - Needs git 2.31 and git-lfs on the host.
      huggingface:
        - A Hugging Face hub or a mirror of one. C(huggingface_hub) does the transfer, over HTTP and not by Xet, which
          no later run could take up and few mirrors serve.
        - Sizes and SHA-256 sums are compared as files arrive. A file whose content is wrong is fetched 3 times at most.
        - The hub has no SHA-256 of small files that are kept in git itself. They are read for it before anything else
          happens, also in check mode.
      archive:
        - The release in O(archive), for hosts that reach no hub. Its files are compared with the manifest it carries.
    default: modelscope
  sources:
    description:
      - Sources in the order in which to try them, in place of O(source), O(endpoint), O(token) and O(archive).
      - The first that answers says which files are wanted. Those that it then cannot bring are taken from the next one
        that lists the very same files, by size and SHA-256, and a file that came in part is gone on with.
      - When a source does not answer at all, the next one says which files are wanted. Hubs that hold different
        files under one name then mean different releases, so it is wise to pin the revision of each, and to leave out
        what differs, such as V(README.md).
    type: list
    elements: dict
    suboptions:
      source:
        description: Where the model comes from, as O(source).
        type: str
        choices: [modelscope, huggingface, git_lfs, archive]
        required: true
      repo:
        description: The name of the repository there, if it is not O(repo).
        type: str
      revision:
        description: The revision there, if it is not O(revision).
        type: str
      endpoint:
        description: Base URL of this source, as O(endpoint).
        type: str
      token:
        description: Access token for this source alone.
        type: str
      archive:
        description: Folder or tar file on the host with the release.
        type: path
  archive:
    description:
      - With O(source=archive), the folder or tar file that holds a release, such as O(export) writes. A tar file may be
        compressed. It is on the host, or where O(archive_on) says.
    type: path
  archive_on:
    description:
      - Where O(archive) is.
      - From the controller only files are copied that the host lacks, each after it was compared with its SHA-256, and
        none takes its space on the host twice. One file at a time passes through the folders for temporary files of the
        controller and of the user that Ansible logs in as.
      - A file that has arrived is not copied again after an interruption, one that was on its way is.
    type: str
    choices: [host, controller]
    default: host
  export:
    description:
      - Also write the release to this tar file, for hosts that reach no hub. It is not written again while it holds the
        same release.
    type: path
  revision:
    description:
      - A branch, a tag or a full commit id of 40 digits.
      - Without it the default branch is used, which is V(master) on ModelScope, V(main) on Hugging Face and what
        C(HEAD) names on a git server.
      - Of an archive it is a branch, tag or commit that its release is known to be, or the digest; without it, whatever
        is in there.
    type: str
  root:
    description: The store of models on the host.
    type: path
    default: /srv/models
  endpoint:
    description:
      - Base URL of the hub or git server, or of a mirror.
      - The default is V(https://modelscope.cn) with O(source=modelscope), V(https://huggingface.co) with
        O(source=huggingface) and V(https://www.modelscope.cn) with O(source=git_lfs).
    type: str
  token:
    description:
      - Access token for private repositories.
      - It is kept in memory. It reaches git by its environment, and is never part of a command line, a URL or a file.
      - Blanks and newlines around it are left out. One that no HTTP header can carry is refused.
      - It is sent to O(endpoint) alone, and not to where a redirect or a list of files leads.
    type: str
  include:
    description:
      - Take only files that match one of these shell patterns. V(*) matches slashes too, and a pattern that ends in a
        slash is a folder.
      - Patterns are compared with the whole path, such as V(*.safetensors) or V(onnx/*). It is an error when no file
        is left.
    type: list
    elements: str
    default: []
  exclude:
    description: Leave out files that match one of these patterns, even if O(include) names them.
    type: list
    elements: str
    default: []
  verify:
    description: How a release that is on the host is checked.
    type: str
    choices:
      stat: Files whose size, times or inode are not those of the manifest are read and hashed. Takes milliseconds
        when nothing changed.
      full: Every file is read and hashed, on as many threads as there are processors. The page cache is left as it was,
        so that a server that runs from the release does not lose it.
    default: stat
  keep:
    description:
      - How many releases besides the wanted one are kept for going back. Older ones are removed, unless a container
        has them mounted.
    type: int
    default: 1
  workers:
    description: How many files are fetched at the same time.
    type: int
    default: 4
  retries:
    description: How often a file is tried again after a network error, an answer of too many requests or an error of
      the server.
    type: int
    default: 5
  timeout:
    description:
      - Seconds without any data after which a connection is given up and tried again.
      - A transfer as a whole may take a week.
    type: int
    default: 60
  lock_timeout:
    description: Seconds to wait for another run that is working on the same model on this host.
    type: int
    default: 3600
  bandwidth:
    description:
      - Most bytes a second that may come, all files of this run together, such as V(50M) for 50 MiB. V(0) is no limit.
      - git-lfs cannot be limited, so O(source=git_lfs) is refused with it.
    type: bytes
    default: 0
  proxy:
    description:
      - URL of a proxy for requests to hubs, in place of C(http_proxy) and C(https_proxy) in the environment.
      - Hosts in the environment's C(no_proxy), and O(no_proxy), are reached without it.
    type: str
  no_proxy:
    description:
      - Hosts that are reached without the proxy, as V(hub.example.com) or V(.example.com) for all below it,
        V(*.example.com), V(10.0.0.5), V(10.0.0.0/8), V(10.*) or V(*). What is none of these is refused.
      - Networks mean endpoints that are given by their address, as no name is looked up for them.
    type: list
    elements: str
    default: []
  require_hub:
    description:
      - Whether to fail when the hub cannot be asked which commit a revision is.
      - Otherwise the release is used that the revision was when this endpoint was asked last, if it is on the host and
        sound. A hub that answers and has no such repository or revision, or refuses the token, is an error in any case.
    type: bool
    default: false
  ask_once:
    description:
      - Whether hosts that want the same revision in one run ask the hub once, and all take that answer. All of them
        then have the same release, also when a branch moves meanwhile, and only one of them has to reach the hub.
      - The first host to ask speaks for the others, so they trust it with the list of files and sums.
      - The controller does this, see O(listed). Not with archives.
    type: bool
    default: false
  listed:
    description: What another host of the run was told by the hub, with which nothing is asked. See O(ask_once), which
      sets it.
    type: dict
    suboptions:
      source:
        description: The source that answered.
        type: str
        required: true
      endpoint:
        description: Its base URL.
        type: str
        required: true
      revision:
        description: The revision.
        type: str
        required: true
      commit:
        description: The commit that it is.
        type: str
      digest:
        description: The name of the release.
        type: str
        required: true
      files:
        description: Its files.
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
  peers:
    description:
      - Addresses of hosts that serve the same release by M(private_llm.fleet.model_peer), the nearest first, as
        V(http://192.0.2.10:8790). They are asked before any hub, without a proxy.
      - A host that is dead, ends, stands still for O(timeout) seconds, is slow or sends other contents is left out, and
        the next one goes on at the byte where it ended; after the last one the hub does. A host is slow that has more
        to give and gives less than 256 KiB a second.
    type: list
    elements: str
    default: []
  peer_token:
    description: What these hosts know each other by. Without it the controller makes one up for the run.
    type: str
  release:
    description: With O(state=absent), the digest of the one release to remove in place of the whole model.
    type: str
  ca_path:
    description: File with the certificate authorities of the hub, on the host. By default those that the system and
      the SDK bring.
    type: path
  state:
    description:
      - V(present) makes sure that the release is there, sound, and named by C(current).
      - V(absent) removes the folder of the model with all that is in it, or just O(release), which then must not be the
        one that C(current) names. It fails while a container has it mounted.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details:
      - Lists the files from the hub and says which would be fetched, and fails where a run would for want of space. The
        libraries of the hubs are not needed for that.
      - With O(source=git_lfs) on a host without git, the commit is told but not the files.
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - Credentials that other tools have stored on the host are not used, nor is the C(.gitconfig) of the user.
  - Files are checked for being what they claim. A Git LFS pointer in place of a file, or a safetensors file whose
    header does not fit its size, is refused even if the hub lists it so.
  - A listing in which a wanted file has an absolute path, a path with V(..), a backslash or a control character is
    refused as a whole. Files that O(include) and O(exclude) leave out may have any path.
requirements:
  - modelscope-hub 0.5.1 (with O(source=modelscope), to fetch), which the role
    P(private_llm.fleet.model_download#role) installs. What another version has fetched is read again to verify it.
  - huggingface_hub 2.4 (with O(source=huggingface), to fetch), which that role installs, too
  - git 2.31 and git-lfs (with O(source=git_lfs))
"""

EXAMPLES = r"""
- name: Have a model, at the head of its default branch
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
  register: model

- name: Pin it
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    revision: 0123456789abcdef0123456789abcdef01234567

- name: Take the safetensors weights only, from a mirror of the hub
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    endpoint: https://hub.example.com
    exclude: ["*.gguf", "original/"]

- name: Clone from a git server with LFS
  private_llm.fleet.model_snapshot:
    repo: models/qwen3-8b
    source: git_lfs
    endpoint: https://git.example.com
    revision: v1
    token: "{{ vault_git_token }}"

- name: Try a mirror of Hugging Face, and go on with ModelScope when it fails
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    exclude: [README.md, .gitattributes, configuration.json]
    sources:
      - source: huggingface
        endpoint: https://hf-mirror.example.com
      - source: modelscope

- name: Take no more of a thin line than 20 MiB a second
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    bandwidth: 20M
    proxy: http://proxy.example.com:3128

- name: Write an archive for hosts that reach no hub
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    export: /srv/transfer/qwen3-8b.tar

- name: Have the model from the archive
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    source: archive
    archive: /mnt/usb/qwen3-8b.tar

- name: Have the model from an archive beside the playbook
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    source: archive
    archive: archives/qwen3-8b.tar
    archive_on: controller

- name: Take it from another host of the play, which serves it
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    ask_once: true
    peers: [http://192.0.2.10:8790]

- name: Read every byte again
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    verify: full

- name: Remove one release
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    release: "{{ model.releases | last }}"
    state: absent

- name: Give the space back
  private_llm.fleet.model_snapshot:
    repo: Qwen/Qwen3-8B
    state: absent
"""

RETURN = r"""
config:
  description:
    - The model's C(config.json) with O(config=true). Null otherwise, and where it cannot be had without fetching more,
      as from a git repository while the host has no git, or from an archive before the release is on the host.
  type: dict
  returned: always
  sample: {model_type: qwen3, num_hidden_layers: 36}
path:
  description: The release, an immutable folder. Null with O(state=absent), and where check mode cannot know it.
  type: str
  returned: always
  sample: /srv/models/Qwen/Qwen3-8B/0a4c5b1e0c3f7f0f7f6b6c2d5c8f2f9d3d5a1c7e9b8f4a6d2c1e0f9b8a7c6d5e
current:
  description: The link that names the release in use.
  type: str
  returned: always
  sample: /srv/models/Qwen/Qwen3-8B/current
revision:
  description: What was asked for, or the default branch.
  type: str
  returned: always
  sample: master
commit:
  description: The commit that the revision is. Null where the hub does not tell; the digest names the content in any
    case.
  type: str
  returned: always
  sample: 0123456789abcdef0123456789abcdef01234567
digest:
  description: The name of the release, the SHA-256 over its list of files.
  type: str
  returned: always
files:
  description: The files of the release.
  type: list
  elements: dict
  returned: always
  contains:
    path:
      description: The path below the release.
      type: str
    size:
      description: The size in bytes.
      type: int
    sha256:
      description: The SHA-256 of the content.
      type: str
bytes_total:
  description: The size of all files together.
  type: int
  returned: always
missing:
  description: Paths of the files that were, or in check mode are, nowhere on the host and have to come from the hub.
  type: list
  elements: str
  returned: always
bytes_missing:
  description: The size of those files together. Null where check mode cannot know it.
  type: int
  returned: always
bytes_needed:
  description: The space that fetching them takes, less what an interrupted run has taken already, and that of files on
    the host that have to be copied.
  type: int
  returned: always
bytes_downloaded:
  description: The bytes of files that came from the hub in this run, less what an interrupted run had left. What came
    from O(peers) is not counted.
  type: int
  returned: always
bytes_from_peers:
  description: The bytes of files that came from O(peers) in this run.
  type: int
  returned: always
source:
  description: The source that says which files are wanted. Null with O(state=absent).
  type: str
  returned: always
  sample: modelscope
endpoint:
  description: Its base URL, or the path of its archive. Null with O(state=absent).
  type: str
  returned: always
file_system:
  description: Where the file system of O(root) is mounted. Models that have it in common need its space together.
  type: str
  returned: always
  sample: /srv
bytes_free:
  description: The bytes that were free there at the start.
  type: int
  returned: always
releases:
  description: The digests of the releases on the host after the run, the newest first.
  type: list
  elements: str
  returned: always
in_use:
  description: Releases that were kept although O(keep) does not cover them, because a container has them mounted.
  type: list
  elements: str
  returned: always
actions:
  description: What was done, or would be, in words.
  type: list
  elements: str
  returned: always
  sample:
    - download 7 files, 16.4 GB
    - publish release 0a4c5b1e0c3f
    - let current name release 0a4c5b1e0c3f
revision_checked:
  description: Whether it was known that the revision is this commit. False when the hub could not be asked and the
    release on the host is used without that, see O(require_hub).
  type: bool
  returned: always
settled:
  description:
    - Whether there was nothing at all to do, so that a run after a look in check mode can be spared.
    - Besides what is in RV(actions), a run notes how files look that it had to read, and where else the release is
      known from, and clears what an interrupted one left. None of that counts as a change.
  type: bool
  returned: always
"""

import contextlib
import dataclasses
import os
import re
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _units
from ..module_utils._hub._apply import apply_plan, needed_bytes
from ..module_utils._hub._candidates import Candidate, Fetcher
from ..module_utils._hub._files import (
    Entry,
    HubError,
    HubUnavailable,
    Selection,
    check_endpoint,
    check_entries,
    check_path,
    check_patterns,
    check_repo,
    check_revision,
    digest_of,
    total_size,
)
from ..module_utils._hub._manifest import Origin
from ..module_utils._hub._mounts import users_of
from ..module_utils._hub._plan import Plan, Target, make_plan
from ..module_utils._hub._proxy import (
    check_no_proxy,
    check_proxy,
    environment,
    secrets_of,
)
from ..module_utils._hub._source import (
    Access,
    MissingProgram,
    Resolution,
    Source,
    Throttle,
    is_full_disk,
)
from ..module_utils._hub._store import HEAD, ModelStore
from ..module_utils._progress import Progress
from ..module_utils._secret import header_secret

if t.TYPE_CHECKING:
    from ..module_utils._hub._spread._source import Peers

# What only some runs need is imported where it is needed: importing is most of what a run costs that changes nothing.
SOURCES = ["modelscope", "huggingface", "git_lfs", "archive"]
ENDPOINTS = {
    "modelscope": "https://modelscope.cn",
    "huggingface": "https://huggingface.co",
    "git_lfs": "https://www.modelscope.cn",
}
# The least and the most that a number may be. The most is what a timer, a lock or a pool of threads can still take.
BOUNDS = {
    "keep": (0, 1_000_000),
    "workers": (1, 256),
    "retries": (1, 1_000),
    "timeout": (1, 86_400),
    "lock_timeout": (0, 7 * 86_400),
    "bandwidth": (0, 2**60),
}
# Requests to a hub that are made when its model is on the host and can be used without an answer.
FEW_ATTEMPTS = 3


class _Unlisted(MissingProgram):
    """In check mode, the files of a commit cannot be told."""

    def __init__(self, candidate: Candidate, resolution: Resolution, reason: HubError) -> None:
        super().__init__(str(reason))
        self.candidate = candidate
        self.resolution = resolution


class ModelSnapshot:
    """One run of the module."""

    def __init__(self, module: AnsibleModule, progress: Progress) -> None:
        self.module = module
        self.progress = progress
        self.check = bool(module.check_mode)
        options = module.params
        # Nobody should write a password into a URL; where somebody has, it is told to nobody.
        for given in [options, *(options["sources"] or [])]:
            for name in ("endpoint", "proxy"):
                module.no_log_values.update(secrets_of(given.get(name)))
        for name, (least, most) in BOUNDS.items():
            if not least <= options[name] <= most:
                raise HubError(f"{name} is {options[name]}, it cannot be less than {least} or more than {most}")
        for name in ("root", "archive", "export", "ca_path"):
            check_path(name, options[name])
        if options["release"] and not re.fullmatch("[0-9a-f]{64}", options["release"]):
            raise HubError(f"release {options['release']!r} is no digest of 64 digits, such as the key releases tells")
        self.options = options
        self.store = ModelStore(options["root"], options["repo"])
        self.store.refuse_linked_folders()
        self.throttle = Throttle(options["bandwidth"])
        self.selection = Selection(
            check_patterns("include", options["include"]), check_patterns("exclude", options["exclude"])
        )
        self._use_proxy()
        self.candidates = [self._candidate(given) for given in options["sources"] or [options]]
        # Why the hub could not be asked, when the run goes on with what is on the host.
        self.unchecked: HubUnavailable | None = None
        self.result: dict[str, t.Any] = {
            "changed": False,
            "path": None,
            "current": self.store.current_link,
            "revision": options["revision"],
            "commit": None,
            "digest": None,
            "files": [],
            "bytes_total": 0,
            "missing": [],
            "bytes_missing": 0,
            "bytes_needed": 0,
            "bytes_downloaded": 0,
            "bytes_from_peers": 0,
            "source": None,
            "endpoint": None,
            "file_system": self.store.file_system(),
            "bytes_free": self.store.free_space(),
            "releases": self._digests(),
            "in_use": [],
            "actions": [],
            "settled": False,
            "revision_checked": True,
            "diff": {"before": self._state(), "after": self._state()},
        }

    def run(self) -> dict[str, t.Any]:
        """Do what the state asks for."""
        if self.options["state"] == "absent":
            self.absent()
        else:
            self.present()
        self.result.setdefault("config", None)
        return self.result

    def absent(self) -> None:
        """Remove the model, or one release of it."""
        digest = self.options["release"]
        if not self.store.exists() or (digest and self.store.release(digest) is None):
            self.result["settled"] = True
            return
        path = self.store.release_path(digest) if digest else self.store.path
        self._refuse_used(digest, path)
        left = [known for known in self._digests() if digest and known != digest]
        self.result.update(changed=True, actions=[f"remove {path}"], releases=left)
        after = {} if digest else {"current": None}
        self.result["diff"]["after"] = self._state(releases=left, **after)
        if self.check:
            return
        with self._locked():
            self._refuse_used(digest, path)  # while this run waited, a server may have started
            release = self.store.release(digest) if digest else None
            if release:
                self.store.remove_release(release)
                self.store.clear_trash()
            elif not digest:
                self.store.remove_model()

    def _refuse_used(self, digest: str | None, path: str) -> None:
        if digest and self.store.current() == digest:
            raise HubError(
                f"{self.store.current_link} names the release {digest}; let it name another one first, or leave out "
                "release to remove the whole model"
            )
        used = {path} if digest and digest in self._mounted() else users_of(path)
        if used:
            raise HubError(
                f"a container has {', '.join(sorted(used))} mounted; stop the server that uses {self.store.repo} first"
            )

    def present(self) -> None:
        """Have the release in the store."""
        prepared = not self.check and not self.store.releases()
        if prepared:
            self._prepare()  # something will have to be fetched, and to start again now costs no request
        try:
            chosen, target = self._choose()
        except _Unlisted as error:
            self.result.update(
                changed=True,
                revision=error.resolution.revision,
                commit=error.resolution.commit,
                source=error.candidate.source.name,
                endpoint=error.candidate.endpoint,
                bytes_missing=None,
                actions=[f"download commit {error.resolution.commit}; its files are not known yet: {error}"],
            )
            self.result["diff"]["after"] = {**self._state(), "commit": error.resolution.commit}
            return
        self.result.update(source=chosen.source.name, endpoint=chosen.endpoint)
        if self.store.root_is_open():
            self.module.warn(
                f"root {self.store.root} belongs to another user, or others can write it, and who can may exchange "
                "models that servers read; give it to root, with mode 0755"
            )
        if self.check:
            plan = self._plan(target)
            self._refuse_unchecked(plan)
            self.store.check_free_space(needed_bytes(self.store, target, plan.missing, plan.copied))
            self._describe(chosen, target, plan)
            return
        peers = self._peers(target)
        fetcher = Fetcher(chosen, self.candidates, self.selection, peers)
        while True:
            with self._locked():
                plan = self._plan(target)
                self._refuse_unchecked(plan)
                # What is on the host may turn out to be damaged, so any broken file may have to be fetched.
                if prepared or not plan.broken:
                    self._describe(chosen, target, plan)
                    with self._told_to_peers(target):
                        came = apply_plan(self.store, fetcher, target, plan, self.progress.update, self.module.warn)
                    brought = peers.brought if peers else 0
                    self.result.update(bytes_downloaded=max(0, came - brought), bytes_from_peers=brought)
                    self.result["releases"] = self._digests()
                    self._export(target.digest)
                    return
            # Not under the lock: the module may start again in another interpreter, which takes the lock itself.
            self._prepare()
            prepared = True

    def _peers(self, target: Target) -> Peers | None:
        """Return the source that asks the hosts which serve the release."""
        options = self.options
        if not options["peers"]:
            return None
        from ..module_utils._hub._spread._source import Peers

        if not options["peer_token"]:
            raise HubError("peers needs peer_token, which the hosts that serve know this one by")
        return Peers(
            options["peers"],
            options["peer_token"],
            target.digest,
            target.entries,
            options["workers"],
            options["timeout"],
            self.throttle,
        )

    def _told_to_peers(self, target: Target) -> t.ContextManager[None]:
        """Let the server of this run know that the release is being fetched, so that nobody waits for it in vain."""
        if not self.options["peer_token"]:
            return contextlib.nullcontext()
        from ..module_utils._hub._spread._run import RunFolder

        return RunFolder(self.options["peer_token"]).fetching(target.digest)

    def _refuse_unchecked(self, plan: Plan) -> None:
        """Tell that the revision could not be checked; raise when the hub is needed for more than that."""
        if self.unchecked is None:
            return
        if plan.missing:
            raise HubError(
                f"{self.unchecked}; {self.store.repo} is on the host, but {len(plan.missing)} of its files are missing "
                "or damaged and have to come from there"
            )
        self.result["revision_checked"] = False

    def _use_proxy(self) -> None:
        """Let everything that this module starts or imports use the proxy; hosts in no_proxy are reached without it."""
        options = self.options
        proxy, direct = check_proxy(options["proxy"]), check_no_proxy(options["no_proxy"])
        urls = [given["endpoint"] or ENDPOINTS.get(given["source"]) for given in options["sources"] or [options]]
        os.environ.update(environment(proxy, direct, [check_endpoint(url) for url in urls if url], os.environ))

    def _token(self, given: dict[str, t.Any]) -> str | None:
        """Return the token of a source, as a header can carry it."""
        if not (given["token"] or "").strip():
            return None
        try:
            token = header_secret(given["token"], "token")
        except ValueError as error:
            raise HubError(str(error)) from None
        # Masked in this form, too: blanks around it are gone.
        self.module.no_log_values.add(token)
        return token

    def _candidate(self, given: dict[str, t.Any]) -> Candidate:
        """Return a source as an option describes it."""
        kind, options = given["source"], self.options
        repo = check_repo(given["repo"] or options["repo"])
        revision = check_revision(given["revision"] or options["revision"])
        if kind == "archive":
            if not given["archive"]:
                raise HubError("source archive needs archive, the folder or tar file that holds the release")
            check_path("archive", given["archive"])
            from ..module_utils._hub._archive import Archive

            return Candidate(Archive(given["archive"]), given["archive"], repo, revision)
        if kind == "git_lfs" and options["bandwidth"]:
            raise HubError("bandwidth cannot be limited with source git_lfs; use another source, or leave it out")
        endpoint = check_endpoint(given["endpoint"] or ENDPOINTS[kind])
        access = Access(
            endpoint=endpoint,
            repo=repo,
            token=self._token(given),
            timeout=options["timeout"],
            retries=options["retries"],
            workers=options["workers"],
            ca_path=options["ca_path"],
            throttle=self.throttle,
        )
        asked = Origin(kind, endpoint, repo, revision or "", None, self.selection.include, self.selection.exclude)
        if not options["require_hub"] and self.store.last_known(asked):
            access = dataclasses.replace(access, attempts=FEW_ATTEMPTS)
        return Candidate(self._source(kind, access), endpoint, repo, revision)

    def _source(self, kind: str, access: Access) -> Source:
        if kind == "git_lfs":
            from ..module_utils._hub._git_source import GitLfs

            storage = os.path.join(self.store.staging_root, "lfs")
            return GitLfs(access, self.module.tmpdir, storage, self._find_program)
        if kind == "huggingface":
            from ..module_utils._hub._huggingface_source import HuggingFace

            shelf = None if self.check else self.store.shelf()
            return HuggingFace(access, self.module.tmpdir, self._require, shelf)
        from ..module_utils._hub._modelscope_source import ModelScope

        return ModelScope(access, self.module.tmpdir, self._require)

    def _require(self, library: str) -> None:
        from ..module_utils import _respawn

        _respawn.require(self.module, library)

    def _find_program(self, name: str) -> str | None:
        return t.cast("str | None", self.module.get_bin_path(name))

    def _prepare(self) -> None:
        for candidate in self.candidates:
            candidate.source.prepare()

    def _choose(self) -> tuple[Candidate, Target]:
        """Return the first candidate that says what is wanted: at once from what is on the host, else by asking."""
        if self.options["listed"]:
            return self._told(self.options["listed"])
        for candidate in self.candidates:
            pinned = candidate.pin()
            known = pinned and self._known(candidate, pinned)
            if known:
                return candidate, known
        reasons = []
        for candidate in self.candidates:
            asked = self._ask(candidate)
            if isinstance(asked, Target):
                return candidate, asked
            reasons.append(asked)
        for candidate, reason in zip(self.candidates, reasons):
            held = isinstance(reason, HubUnavailable) and self._held(candidate)
            if held:
                self.unchecked = t.cast(HubUnavailable, reason)
                return candidate, held
        if len(reasons) == 1 or isinstance(reasons[0], _Unlisted):
            raise reasons[0]
        raise HubError("no source has it: " + "; then ".join(map(str, reasons)))

    def _told(self, listed: t.Mapping[str, t.Any]) -> tuple[Candidate, Target]:
        """Return the target as another host of this run was told it, and the candidate that said so."""
        where = f"listed, {self.store.repo}"
        files = (Entry(file["path"], file["size"], file["sha256"]) for file in listed["files"])
        entries = tuple(check_entries(files, where))
        if digest_of(entries) != listed["digest"]:
            raise HubError(f"{where}: the files are not those of the release {listed['digest']!r}")
        said = (listed["source"], listed["endpoint"])
        candidate = next((one for one in self.candidates if (one.source.name, one.endpoint) == said), None)
        if candidate is None:
            raise HubError(f"{where}: {said[0]} at {said[1]} is none of the sources of this host")
        resolution = Resolution(check_revision(listed["revision"]) or "", listed["commit"])
        origin = self._origin(candidate, resolution)
        return candidate, Target(resolution, origin, listed["digest"], entries, alias=self._alias(candidate, origin))

    def _held(self, candidate: Candidate) -> Target | None:
        """Return the target, when a release on the host was what is asked for when its hub answered last."""
        if self.options["require_hub"]:
            return None
        found = self.store.last_known(self._origin(candidate, Resolution(candidate.revision or "", None)))
        if found is None or found[0].manifest is None:
            return None
        release, origin = found
        resolution = Resolution(candidate.revision or origin.revision, origin.commit)
        return Target(resolution, origin, release.digest, tuple(found[0].manifest.entries))

    def _ask(self, candidate: Candidate) -> Target | HubError:
        """Return what a candidate says is wanted, or why it does not say so."""
        try:
            resolution = candidate.resolve()
            return self._known(candidate, resolution) or self._listed(candidate, resolution)
        except HubError as error:
            return error

    def _origin(self, candidate: Candidate, resolution: Resolution) -> Origin:
        kind = candidate.source.name
        return Origin(
            source=kind,
            # Where an archive lay says nothing later.
            endpoint="" if kind == "archive" else candidate.endpoint,
            repo=candidate.repo,
            revision=resolution.revision,
            commit=resolution.commit,
            include=self.selection.include,
            exclude=self.selection.exclude,
        )

    def _known(self, candidate: Candidate, resolution: Resolution) -> Target | None:
        """Return the target, when a release on the host is known to be what the resolution means."""
        origin = self._origin(candidate, resolution)
        known = self.store.find(origin)
        if known is None or known.manifest is None:
            return None
        alias = self._alias(candidate, origin)
        return Target(resolution, origin, known.digest, tuple(known.manifest.entries), alias=alias)

    def _listed(self, candidate: Candidate, resolution: Resolution) -> Target:
        """Return the target, by the list of files that the candidate gives."""
        where = candidate.where(resolution)
        try:
            listed = candidate.source.entries(resolution, self.selection)
        except MissingProgram as error:
            if self.check:
                raise _Unlisted(candidate, resolution, error) from error
            raise
        # What is not wanted may be odd; it is chosen first and looked at then.
        entries = tuple(check_entries(self.selection.of(listed, where) if listed else listed, where))
        digest = digest_of(entries)
        from ..module_utils._hub._archive import Archive

        known_as = candidate.source.known_as(digest) if isinstance(candidate.source, Archive) else ()
        origin = self._origin(candidate, resolution)
        return Target(resolution, origin, digest, entries, known_as, self._alias(candidate, origin))

    def _alias(self, candidate: Candidate, origin: Origin) -> Origin | None:
        """Return the default branch of a git server, under the name that is known before the server is asked."""
        if candidate.source.name != "git_lfs" or candidate.revision is not None:
            return None
        return dataclasses.replace(origin, revision=HEAD)

    def _to_export(self, digest: str) -> str | None:
        """Return the tar file that is to hold the release and does not."""
        path = t.cast("str | None", self.options["export"])
        if not path:
            return None
        from ..module_utils._hub._archive import exported_digest

        return None if exported_digest(path) == digest else path

    def _export(self, digest: str) -> None:
        """Write the release to a tar file, unless it is in there."""
        path, release = self._to_export(digest), self.store.release(digest)
        if path is None or release is None:
            return
        from ..module_utils._hub._archive import export

        total, done = self.result["bytes_total"], 0

        def seen(count: int) -> None:
            nonlocal done
            done += count
            self.progress.update(f"exporting {self.store.repo}", done, total)

        export(release, path, seen)

    def _plan(self, target: Target) -> Plan:
        return make_plan(
            self.store,
            target,
            full=self.options["verify"] == "full",
            keep=self.options["keep"],
            in_use=self._mounted,
            seen=lambda count: self.progress.update("verifying"),
        )

    def _mounted(self) -> set[str]:
        """Return the releases that a container has mounted; all of them, if it has the folder above."""
        names = {os.path.relpath(path, os.path.realpath(self.store.path)) for path in users_of(self.store.path)}
        return set(self._digests()) if os.curdir in names else {name.split(os.sep)[0] for name in names}

    def _describe(self, chosen: Candidate, target: Target, plan: Plan) -> None:
        """Say what the plan does; the same for check mode and for real."""
        release = self.store.release_path(target.digest)
        broken = {entry.path for entry in plan.broken}
        releases = [digest for digest in self._digests() if digest not in plan.prune]
        if not plan.published:
            releases.insert(0, target.digest)
        actions = plan.actions(target)
        export = self._to_export(target.digest)
        if export:
            actions.append(f"export release {target.digest[:12]} to {export}")
        self.result.update(
            changed=bool(actions),
            path=release,
            revision=target.resolution.revision,
            commit=target.resolution.commit,
            digest=target.digest,
            files=[vars(entry) for entry in target.entries],
            bytes_total=total_size(target.entries),
            missing=[entry.path for entry in plan.missing],
            bytes_missing=total_size(plan.missing),
            bytes_needed=needed_bytes(self.store, target, plan.missing, plan.copied),
            releases=releases,
            in_use=list(plan.held),
            actions=actions,
            settled=plan.settled and not actions,
        )
        before = self._state()
        before["broken"] = sorted(broken) if plan.published else []
        after = self._state(current=target.digest, releases=releases, files=[e.path for e in target.entries])
        self.result["diff"] = {"before": before, "after": {**after, "broken": []}}
        if self.options["config"]:
            from ..module_utils._hub._model_config import model_config

            self.result["config"] = model_config(release, target.entries, lambda: self._ask_for_config(chosen, target))

    def _ask_for_config(self, chosen: Candidate, target: Target) -> bytes | None:
        from ..module_utils._hub._git_source import GitLfs
        from ..module_utils._hub._model_config import NAME, from_hub

        if isinstance(chosen.source, GitLfs):
            return chosen.source.small_file(NAME)
        given = (self.options["sources"] or [self.options])[self.candidates.index(chosen)]
        return from_hub(target.origin, given["token"], self.options["timeout"], self.options["ca_path"])

    def _digests(self) -> list[str]:
        return [release.digest for release in self.store.releases()]

    def _state(self, **changes: t.Any) -> dict[str, t.Any]:
        """Return what a diff shows of the model's folder, with some of it as it will be."""
        current = self.store.current()
        release = self.store.release(current) if current else None
        files = [entry.path for entry in release.manifest.entries] if release and release.manifest else []
        return {"current": current, "releases": self._digests(), "files": files, **changes}

    def _locked(self) -> t.ContextManager[None]:
        waiting = f"waiting for another run that works on {self.store.repo}"
        return self.store.locked(self.options["lock_timeout"], lambda: self.progress.update(waiting))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "config": {"type": "bool", "default": False},
            "source": {"type": "str", "choices": SOURCES, "default": "modelscope"},
            "sources": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "source": {"type": "str", "choices": SOURCES, "required": True},
                    "repo": {"type": "str"},
                    "revision": {"type": "str"},
                    "endpoint": {"type": "str"},
                    "token": {"type": "str", "no_log": True},
                    "archive": {"type": "path"},
                },
            },
            "archive": {"type": "path"},
            "archive_on": {"type": "str", "choices": ["host", "controller"], "default": "host"},
            "export": {"type": "path"},
            "revision": {"type": "str"},
            "root": {"type": "path", "default": "/srv/models"},
            "endpoint": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "include": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "verify": {"type": "str", "choices": ["stat", "full"], "default": "stat"},
            "keep": {"type": "int", "default": 1},
            "workers": {"type": "int", "default": 4},
            "retries": {"type": "int", "default": 5},
            "timeout": {"type": "int", "default": 60},
            "lock_timeout": {"type": "int", "default": 3600},
            "bandwidth": {"type": "bytes", "default": "0"},
            "proxy": {"type": "str", "no_log": True},
            "no_proxy": {"type": "list", "elements": "str", "default": []},
            "require_hub": {"type": "bool", "default": False},
            "ask_once": {"type": "bool", "default": False},
            "listed": {
                "type": "dict",
                "options": {
                    "source": {"type": "str", "required": True},
                    "endpoint": {"type": "str", "required": True},
                    "revision": {"type": "str", "required": True},
                    "commit": {"type": "str"},
                    "digest": {"type": "str", "required": True},
                    "files": {
                        "type": "list",
                        "elements": "dict",
                        "required": True,
                        "options": {
                            "path": {"type": "str", "required": True},
                            "size": {"type": "int", "required": True},
                            "sha256": {"type": "str", "required": True},
                        },
                    },
                },
            },
            "peers": {"type": "list", "elements": "str", "default": []},
            "peer_token": {"type": "str", "no_log": True},
            "release": {"type": "str"},
            "ca_path": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        mutually_exclusive=[("sources", "endpoint"), ("sources", "token"), ("sources", "archive")],
        supports_check_mode=True,
    )
    identity = f"{module.params['root']}/{module.params['repo']}"
    with Progress("model_snapshot", identity) as progress:
        try:
            snapshot = ModelSnapshot(module, progress)
            result = snapshot.run()
        except HubError as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            module.fail_json(msg=f"{module.params['repo']} in {module.params['root']}: {_reason(error)}")
    if snapshot.unchecked:
        module.warn(
            f"{module.params['repo']}: the release on the host is used, and whether revision {result['revision']} has "
            f"moved could not be checked: {snapshot.unchecked}. Set require_hub to fail in place of that"
        )
    module.exit_json(**result)


def _reason(error: OSError) -> str:
    """Return why a file could not be read or written, for a person."""
    place = f" ({error.filename})" if error.filename else ""
    if not is_full_disk(error):
        return str(error)
    try:
        free = f", which has {_units.size(shutil.disk_usage(os.path.dirname(error.filename)).free)} free"
    except (OSError, TypeError, ValueError):
        free = ""
    return f"no space is left on the disk{place}{free}; make room and run again, which goes on from what was fetched"


if __name__ == "__main__":
    main()
