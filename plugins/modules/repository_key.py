#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repository_key
short_description: Put a package repository's signing key on a host, checked against a pinned fingerprint
version_added: "0.1.0"
description:
  - Fetches an OpenPGP key file, or takes it as text, and writes it only when every key in it has a pinned fingerprint.
    So a mirror that the key comes from need not be trusted.
  - Needs no GnuPG on the host. The file is what C(Signed-By) of apt and C(gpgkey) of dnf take, armored or not.
  - A file that is there with the pinned keys is left as it is and nothing is fetched, unless O(refresh=true).
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: Also fetches and checks the key, and writes nothing.
  diff_mode:
    support: full
    details: Shows the fingerprints.
  idempotent:
    support: full
options:
  dest:
    description:
      - Where the key file is to be, with its folder. For apt, C(.asc) is the ending of an armored file.
    type: path
    required: true
  url:
    description:
      - Where to fetch the key file. One of O(url) and O(content) is needed, unless O(state=absent).
    type: str
  content:
    description:
      - The text of an armored key file.
    type: str
  fingerprints:
    description:
      - The fingerprints of the keys that the file may hold. One with any other key in it is refused.
      - Needed unless O(state=absent).
    type: list
    elements: str
    default: []
  refresh:
    description:
      - Fetch the file although one is there, for instance when the key's validity was extended.
    type: bool
    default: false
  validate_certs:
    description:
      - Whether the server's certificate must be valid.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the server. It is asked three times.
    type: int
    default: 20
  state:
    description:
      - Whether the file is to be there.
    type: str
    choices:
      - present
      - absent
    default: present
author:
  - private_llm.fleet contributors (@private-llm)
"""

EXAMPLES = r"""
- name: Trust the signing key of NVIDIA's container repository
  private_llm.fleet.repository_key:
    dest: /etc/apt/keyrings/nvidia-container-toolkit.asc
    url: https://nvidia.github.io/libnvidia-container/gpgkey
    fingerprints:
      - C95B 321B 61E8 8C18 09C4 F759 DDCA E044 F796 ECB0
"""

RETURN = r"""
dest:
  description: Where the key file is.
  returned: always
  type: str
  sample: /etc/apt/keyrings/nvidia-container-toolkit.asc
fingerprints:
  description: The fingerprints of the keys in it.
  returned: always
  type: list
  elements: str
  sample: [C95B321B61E88C1809C4F759DDCAE044F796ECB0]
"""

import contextlib
import os
import re
import time
import typing as t

from ansible.module_utils.urls import fetch_url

from ..module_utils._fleet_module import FleetModule
from ..module_utils._packages._openpgp import (
    KeyFileError,
    primary_fingerprints,
    unexpected,
)
from ..module_utils._replace import Draft, ReplaceError, read_file, sweep

ATTEMPTS = 3
LONGEST = 3600  # seconds
_URL = re.compile(r"(?:https?|ftp|file)://[^\s\x00-\x1f\x7f]+")
# No key file of a repository comes near this.
LARGEST = 1024 * 1024


def fetch(module: FleetModule, result: dict[str, t.Any]) -> bytes:
    url = module.params["url"]
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 * attempt)
        response, info = fetch_url(module, url, timeout=module.params["timeout"])
        if info["status"] == 200 and response is not None:
            content: bytes = response.read(LARGEST + 1)
            if len(content) <= LARGEST:
                return content
            problem = "what it answers is far too large for a key"
            break
        problem = str(info["msg"])
        if 400 <= info["status"] < 500:
            break
    module.fail_json(msg=f"the signing key cannot be fetched from {url}: {problem}", **result)
    raise AssertionError  # fail_json does not return


def fingerprints_of(content: bytes | None) -> list[str]:
    """Return the fingerprints in a file's content; none for a damaged file, which is replaced."""
    if content is None:
        return []
    try:
        return primary_fingerprints(content)
    except KeyFileError:
        return []


def problem_with(params: dict[str, t.Any]) -> str | None:
    """Return what no run could do with the options; None when nothing is wrong."""
    dest, url = params["dest"], params["url"]
    if not os.path.isabs(dest) or dest.endswith("/") or not dest.isprintable():
        return f"dest {dest[:200]!a} is not the absolute path of a file; correct it"
    if not 0 < params["timeout"] <= LONGEST:
        return f"timeout must be more than 0 and at most {LONGEST} seconds, not {params['timeout']}"
    if params["state"] == "absent":
        return None
    if url is not None and not _URL.fullmatch(url):
        return "url is not an address; give one as https://mirror.example.com/gpgkey, without blanks"
    return None


def main() -> None:
    module = FleetModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "url": {"type": "str"},
            "content": {"type": "str"},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "refresh": {"type": "bool", "default": False},
            "validate_certs": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 20},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        mutually_exclusive=[("url", "content")],
        required_if=[("state", "present", ("url", "content"), True), ("state", "present", ("fingerprints",))],
        supports_check_mode=True,
    )
    params = module.params
    dest: str = params["dest"]
    before: list[str] = []
    result: dict[str, t.Any] = {
        "changed": False,
        "dest": dest,
        "fingerprints": before,
        "diff": {"before": lines(before), "after": lines(before), "before_header": dest, "after_header": dest},
    }

    problem = problem_with(params)
    if problem:
        module.fail_json(msg=problem, **result)
    try:
        has = read_file(dest, LARGEST)
    except ReplaceError as error:
        module.fail_json(msg=str(error), **result)
    before = result["fingerprints"] = fingerprints_of(has)
    result["diff"].update(before=lines(before), after=lines(before))

    if params["state"] == "absent":
        result["changed"] = has is not None
        result["fingerprints"] = []
        result["diff"]["after"] = ""
        if not module.check_mode:
            remove(module, dest, result)
        module.exit_json(**result)

    source = params["url"] or "content"
    try:
        settled = bool(before) and has is not None and not unexpected(has, params["fingerprints"])
        if settled and params["url"] and not params["refresh"]:
            module.exit_json(**result)
        # Ansible takes a null for an option that is given.
        given = (params["content"] or "").strip() + "\n"
        wanted = fetch(module, result) if params["url"] else given.encode("utf-8", "replace")
        strangers = unexpected(wanted, params["fingerprints"])
        after = primary_fingerprints(wanted)
    except KeyFileError as error:
        module.fail_json(msg=f"the signing key from {source} cannot be used: {error}", **result)
    if strangers:
        module.fail_json(
            msg=(
                f"the signing key from {source} is refused: it holds {', '.join(strangers)}, and only "
                f"{', '.join(params['fingerprints'])} may be in it. Ask the repository's owner before changing the pin"
            ),
            **result,
        )

    result["changed"] = wanted != has
    result["fingerprints"] = after
    result["diff"]["after"] = lines(after)
    if result["changed"] and not module.check_mode:
        try:
            # apt reads it as another user.
            with Draft(dest, wanted, 0o644) as draft:
                draft.publish()
        except ReplaceError as error:
            result["changed"] = False
            module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


def remove(module: FleetModule, dest: str, result: dict[str, t.Any]) -> None:
    try:
        sweep(dest)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(dest)
    except OSError as error:
        module.fail_json(msg=f"{dest} cannot be removed: {error.strerror or error}", **dict(result, changed=False))


def lines(fingerprints: t.Sequence[str]) -> str:
    return "".join(f"{fingerprint}\n" for fingerprint in fingerprints)


if __name__ == "__main__":
    main()
