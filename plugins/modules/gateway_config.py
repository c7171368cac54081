#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_config
short_description: Put a gateway's configuration in place, judged by HAProxy before
version_added: "0.1.0"
description:
  - Writes all files of a gateway into a folder of their own, has C(haproxy -c) judge them, and puts them in use in one
    step. A configuration that HAProxy refuses changes nothing.
  - Keeps the keys of users, and makes one for each user that is given none. HAProxy gets the SHA-256 of the keys alone.
  - It neither starts nor reloads HAProxy; RV(needs) says what has to be done.
  - A number of the configuration that stands for one that nobody measured, as its comment says, stays as it is in use.
  - Every file and folder can be read by its owner alone.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Files that hold secrets are named, and their content is not shown.
  idempotent:
    support: full
options:
  path:
    description: The folder of the gateway's files.
    type: path
    default: /etc/private_llm/gateway
  files:
    description:
      - The files without secrets, by their paths below the folder, as C(files) of what
        P(private_llm.fleet.gateway_options#filter) returns.
    type: dict
    default: {}
  user_keys:
    description: The users, and the keys of each; a user with an empty list gets one, which is kept.
    type: dict
    default: {}
  server_keys:
    description: The servers that ask for a key, and the key of each; null keeps the one that is known.
    type: dict
    default: {}
  certificate_files:
    description:
      - Files of this host with the certificate, those between it and a root, and its private key, as PEM and in any
        order. Empty where the gateway serves without TLS.
    type: list
    elements: path
    default: []
  rotate:
    description:
      - Users whose key is replaced by a new one, where it was made by this module. The replaced key stays valid until
        the next rotation.
    type: list
    elements: str
    default: []
  socket:
    description: The runtime socket of the gateway, which tells the configuration that it runs with.
    type: path
    default: /run/private_llm_gateway/admin.sock
  state:
    description: V(absent) removes all files, the users' keys among them.
    type: str
    choices: [present, absent]
    default: present
author:
  - private_llm.fleet contributors (@private-llm)
seealso:
  - module: private_llm.fleet.gateway_server
  - plugin: private_llm.fleet.gateway_options
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Put the gateway's configuration in place
  private_llm.fleet.gateway_config:
    files: "{{ options.files }}"
    user_keys: "{{ options.user_keys }}"
    server_keys: "{{ options.server_keys }}"
  vars:
    options: "{{ gateway_servers | private_llm.fleet.gateway_options([{'name': 'ann'}], {'port': 8000}) }}"
  no_log: true

- name: Remove it
  private_llm.fleet.gateway_config:
    state: absent
"""

RETURN = r"""
config:
  description: The configuration file, as HAProxy is to be started with it.
  returned: always
  type: str
  sample: /etc/private_llm/gateway/current/haproxy.cfg
release:
  description: The name of the configuration in use. In check mode, of the one that would be, unless a key is made.
  returned: always
  type: str
  sample: 3f0c9d1e5a7b2c44
needs:
  description: What HAProxy needs to run with the configuration.
  returned: always
  type: str
  choices: [none, start, reload]
  sample: reload
made:
  description: The users that got a new key.
  returned: always
  type: list
  elements: str
  sample: [ann]
key_files:
  description: Where the keys of each user are, newest first.
  returned: always
  type: dict
  sample: {ann: /etc/private_llm/gateway/keys/ann}
"""

import contextlib
import os
import re
import shutil
import tempfile
import typing as t

from ..module_utils._engine import _lock
from ..module_utils._fleet_module import FleetModule
from ..module_utils._gateway import _release
from ..module_utils._gateway._runtime import Runtime, RuntimeSocketError
from ..module_utils._regular import regular

CERTIFICATE_LIMIT = 1024 * 1024
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def main() -> None:
    module = FleetModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/private_llm/gateway"},
            "files": {"type": "dict", "default": {}},
            "user_keys": {"type": "dict", "default": {}, "no_log": True},
            "server_keys": {"type": "dict", "default": {}, "no_log": True},
            "certificate_files": {"type": "list", "elements": "path", "default": []},
            "rotate": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": "/run/private_llm_gateway/admin.sock"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    path: str = module.params["path"]
    result: dict[str, t.Any] = {
        "changed": False,
        "config": os.path.join(path, _release.CURRENT, _release.CONFIG),
        "release": "",
        "needs": "none",
        "made": [],
        "key_files": {},
    }
    try:
        with contextlib.ExitStack() as stack:
            if not module.check_mode:
                # Each run removes what is not in use, and with it what another one is about to put in use.
                doing = "changing the gateway's files"
                stack.enter_context(_lock.hold("gateway", os.path.realpath(path), doing, directory=_lock.DIRECTORY))
            if module.params["state"] == "absent":
                remove(module, path, result)
            else:
                apply(module, path, result)
    except (_release.ReleaseError, _lock.LockError, OSError) as error:
        reason = f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        module.fail_json(msg=f"{reason}; the gateway's configuration was left as it is", **{**result, "changed": False})
    module.exit_json(**result)


def remove(module: FleetModule, path: str, result: dict[str, t.Any]) -> None:
    if not os.path.lexists(path):
        return
    result["changed"] = True
    if not module.check_mode:
        shutil.rmtree(path)


def apply(module: FleetModule, path: str, result: dict[str, t.Any]) -> None:
    given = declared_keys(module.params["user_keys"])
    used = _release.current(path)
    before = _release.read_files(used) if used else {}
    kept_keys = _release.read_keys(path)
    keys = _release.user_keys(given, kept_keys, module.params["rotate"])
    module.no_log_values.update(key for own in keys.values() for key in own)
    files = {str(name): str(text) for name, text in module.params["files"].items()}
    if any(name.startswith("/") or ".." in name.split("/") for name in files):
        raise _release.ReleaseError("files names a path outside of the gateway's folder")
    if _release.CONFIG in files:
        files[_release.CONFIG] = _release.measured(files[_release.CONFIG], before.get(_release.CONFIG, ""))
    files.update(
        _release.secret_files(
            keys,
            module.params["server_keys"],
            _release.read_map(before.get(_release.SERVER_KEYS_MAP, "")),
            certificate(module.params["certificate_files"]),
        )
    )
    name = _release.release_name(files)
    result["made"] = [user for user in keys if keys[user] != kept_keys.get(user) and not given[user]]
    result["key_files"] = {user: os.path.join(path, _release.KEYS, user) for user in keys}
    same = bool(used) and before == _release.placed(files, used) and is_private(used)
    result["release"] = os.path.basename(used) if same else os.path.basename(_release.free_folder(path, name))
    result["changed"] = not same or keys != kept_keys
    if result["changed"]:
        result["diff"] = difference(_release.unplaced(before, used) if used else {}, files, keys, kept_keys)
    if not same:
        publish(module, path, name, files)
    if not module.check_mode:
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
        _release.write_keys(path, keys)
        _release.sweep(path)
    result["needs"] = needs(module.params["socket"], result["release"])


def declared_keys(user_keys: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Return the keys that are given for each user; ReleaseError for what cannot be one."""
    given: dict[str, list[str]] = {}
    for user, keys in user_keys.items():
        if not USER.fullmatch(str(user)) or not isinstance(keys, (list, tuple, type(None))):
            raise _release.ReleaseError("user_keys must be a mapping of users' names to lists of keys")
        given[str(user)] = [str(key) for key in keys or ()]
    problems = _release.key_problems(given)
    if problems:
        raise _release.ReleaseError("; ".join(problems))
    return given


def certificate(paths: t.Sequence[str]) -> str:
    """Return the certificate and its key, as HAProxy reads them from one file."""
    return "".join(read_pem(path) for path in paths)


def read_pem(path: str) -> str:
    try:
        with open(path, encoding="ascii", opener=regular) as stream:
            return stream.read(CERTIFICATE_LIMIT).strip() + "\n"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds something that is not PEM"
        raise _release.ReleaseError(f"{path} of gateway_certificate_files cannot be read: {reason}") from error


def publish(module: FleetModule, path: str, name: str, files: _release.Files) -> None:
    """Write a configuration beside the one in use, have it judged, and put it in use."""
    program = module.get_bin_path("haproxy", opt_dirs=["/usr/sbin", "/usr/local/sbin"])
    if not program:
        if module.check_mode:
            return  # a host without the package yet
        raise _release.ReleaseError("there is no haproxy on this host; install the package haproxy")
    if module.check_mode:
        folder = os.path.join(tempfile.mkdtemp(dir=module.tmpdir), name)
    else:
        os.makedirs(path, mode=0o700, exist_ok=True)
        folder = _release.free_folder(path, name)
    try:
        _release.write_files(folder, _release.placed(files, folder))
        code, output, errors = module.run_command([program, "-c", "-f", os.path.join(folder, _release.CONFIG)])
        if code != 0:
            _code, told, _errors = module.run_command([program, "-v"])
            too_old = _release.age_problem(told)
            if too_old:
                raise _release.ReleaseError(too_old)
            alerts = [line for line in (errors or output).splitlines() if "[NOTICE]" not in line]
            raise _release.ReleaseError("HAProxy refuses the new configuration: " + "; ".join(alerts)[:2000])
        if not module.check_mode:
            _release.use(path, folder)
    finally:
        if _release.current(path) != folder:
            shutil.rmtree(folder, ignore_errors=True)


def is_private(folder: str) -> bool:
    """Return whether nobody but its owner can read what is in a folder."""
    return all(
        os.stat(os.path.join(parent, name)).st_mode & 0o077 == 0
        for parent, _folders, names in os.walk(folder)
        for name in names
    )


def needs(socket: str, release: str) -> str:
    """Return what HAProxy needs to run with a release."""
    try:
        running = Runtime(socket).release()
    except RuntimeSocketError:
        return "start"
    return "none" if running == release else "reload"


def difference(
    before: _release.Files,
    after: _release.Files,
    keys: t.Mapping[str, t.Sequence[str]],
    kept: t.Mapping[str, t.Sequence[str]],
) -> list[dict[str, str]]:
    """Return what changes, file by file; of a file with secrets, and of keys, only that they change."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, ""), after.get(name, "")
        if old == new:
            continue
        if name in _release.SECRET:
            old, new = (f"{len(text.splitlines())} lines, not shown\n" if text else "" for text in (old, new))
            new = new if new != old else new + "changed\n"
        changes.append({"before_header": name, "after_header": name, "before": old, "after": new})
    for user in sorted({*keys, *kept}):
        if list(keys.get(user, ())) != list(kept.get(user, ())):
            header = f"{_release.KEYS}/{user}"
            old, new = (f"{len(one.get(user, ()))} keys, not shown\n" if user in one else "" for one in (kept, keys))
            new = new if new != old else new + "changed\n"
            changes.append({"before_header": header, "after_header": header, "before": old, "after": new})
    return changes


if __name__ == "__main__":
    main()
