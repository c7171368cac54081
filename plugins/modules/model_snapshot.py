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
bytes_per_second:
  description: The rate of the last download of 64 MiB or more on this host, from any hub. Null where none was measured.
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

from ..module_utils._fleet_module import FleetModule
from ..module_utils._hub._files import FILE_OPTIONS, HubError
from ..module_utils._hub._kinds import KINDS
from ..module_utils._hub._snapshot import Snapshot, explain
from ..module_utils._progress import Progress


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "config": {"type": "bool", "default": False},
            "source": {"type": "str", "choices": list(KINDS), "default": "modelscope"},
            "sources": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "source": {"type": "str", "choices": list(KINDS), "required": True},
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
                    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
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
            snapshot = Snapshot(module, progress)
            result = snapshot.run()
        except HubError as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            module.fail_json(msg=f"{module.params['repo']} in {module.params['root']}: {explain(error)}")
    if snapshot.finder.unchecked:
        module.warn(
            f"{module.params['repo']}: the release on the host is used, and whether revision {result['revision']} has "
            f"moved could not be checked: {snapshot.finder.unchecked}. Set require_hub to fail in place of that"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
