# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""The files of a gateway on its host: one folder for each configuration, and a link that names the one in use.

All files of a configuration are put in use in one step, after the proxy itself has judged them. The users' keys are
beside them, for those who are to be given one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import typing as t

from .._regular import regular
from .._secret import header_secret_problem

CONFIG = "haproxy.cfg"
USERS_MAP = "users.map"
SERVER_KEYS_MAP = "server_keys.map"
CERTIFICATE = "certificate.pem"
SECRET = (USERS_MAP, SERVER_KEYS_MAP, CERTIFICATE)
CURRENT = "current"
KEYS = "keys"
# Stands in the files for the folder that they are in, and for the name of it.
FOLDER_MARK = "@FOLDER@"
RELEASE_MARK = "@RELEASE@"
# Ends a line of the configuration with a number that stands for one that nobody measured.
UNMEASURED_MARK = "  # not measured"
# A key that was replaced stays valid until the next rotation.
KEPT_KEYS = 2
SHORTEST_KEY = 12

Files = t.Dict[str, str]

# The oldest HAProxy that knows every word of the configuration.
OLDEST = (2, 6)

_NUMBER = re.compile(r"(maxconn |int\()(\d+)")
_VERSION = re.compile(r"version (\d+)\.(\d+)\S*")


class ReleaseError(ValueError):
    """The files cannot be made or put in place; the text says why."""


def generate_key() -> str:
    """Return a new key with 192 bits of chance, with the prefix that OpenAI's clients expect."""
    return "sk-" + secrets.token_hex(24)


def user_keys(
    given: t.Mapping[str, t.Sequence[str]],
    kept: t.Mapping[str, t.Sequence[str]],
    rotate: t.Container[str] = (),
    generate: t.Callable[[], str] = generate_key,
) -> dict[str, list[str]]:
    """Return each user's keys, newest first: those given, or those kept, or a new one."""
    found: dict[str, list[str]] = {}
    for name in sorted(given):
        keys = [key.strip() for key in given[name]] or list(kept.get(name, ()))
        if not keys or (name in rotate and not given[name]):
            keys = [generate(), *keys][:KEPT_KEYS]
        found[name] = keys
    return found


def key_problems(given: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Say what is wrong with the keys that were given, without quoting one."""
    problems = []
    owners: dict[str, str] = {}
    for name in sorted(given):
        for index, key in enumerate(given[name]):
            where = f"key {index + 1} of {name} in gateway_users"
            problem = header_secret_problem(key.strip())
            if problem is None and len(key.strip()) < SHORTEST_KEY:
                problem = f"is shorter than {SHORTEST_KEY} characters, and could be guessed: give a longer one"
            if problem is not None:
                problems.append(f"{where} {problem}")
            elif owners.setdefault(key.strip(), name) != name:
                problems.append(f"{where} is also a key of {owners[key.strip()]}: give each user keys of their own")
    return problems


def secret_files(
    keys: t.Mapping[str, t.Sequence[str]],
    server_keys: t.Mapping[str, str | None],
    kept_server_keys: t.Mapping[str, str],
    certificate: str = "",
) -> Files:
    """Return the files that hold secrets. A server's key that is not known now is the one that was known before."""
    sums = sorted((hashlib.sha256(key.encode()).hexdigest(), name) for name, own in keys.items() for key in own)
    known = {name: key or kept_server_keys.get(name) for name, key in server_keys.items()}
    found = {
        USERS_MAP: "".join(f"{key} {name}\n" for key, name in sums),
        SERVER_KEYS_MAP: "".join(f"{name} {key}\n" for name, key in sorted(known.items()) if key),
    }
    if certificate:
        found[CERTIFICATE] = certificate
    return found


def age_problem(told: str) -> str:
    """Return what is wrong with the version that ``haproxy -v`` told; empty where it is new enough or not told.

    >>> age_problem("HAProxy version 3.0.11-1+deb13u3 2026/01/01 - https://haproxy.org/")
    ''
    """
    version = _VERSION.search(told)
    if version is None or tuple(int(part) for part in version.groups()) >= OLDEST:
        return ""
    return (
        f"HAProxy {version.group().split()[1]} is too old for a gateway, which needs {OLDEST[0]}.{OLDEST[1]} or newer; "
        "name a package that has one in gateway_packages"
    )


def measured(new: str, old: str) -> str:
    """Return a new configuration in which what nobody measured now is as it was before.

    A host that is left out of a run does not tell what its servers measured.
    """
    known = {key: line for key, line in _lines(old) if _NUMBER.search(line)}
    lines = []
    for key, line in _lines(new):
        before = _NUMBER.search(known.get(key, ""))
        if line.endswith(UNMEASURED_MARK) and before:
            mark = UNMEASURED_MARK if known[key].endswith(UNMEASURED_MARK) else ""
            lines.append(_NUMBER.sub(before.group(), line[: -len(UNMEASURED_MARK)], count=1) + mark)
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _lines(config: str) -> t.Iterator[tuple[tuple[str, ...], str]]:
    """Go through the lines of a configuration, each with its section and its first two words."""
    section = ""
    for line in config.splitlines():
        if line and not line.startswith(" "):
            section = line
        yield (section, *line.split()[:2]), line


def release_name(files: Files) -> str:
    """Return a name that changes with the files."""
    total = hashlib.sha256()
    for name in sorted(files):
        for part in (name, files[name]):
            encoded = part.encode()
            total.update(len(encoded).to_bytes(8, "big") + encoded)
    return total.hexdigest()[:16]


def placed(files: Files, folder: str) -> Files:
    """Return the files as they are in a folder."""
    name = os.path.basename(folder)
    return {
        path: text.replace(FOLDER_MARK, folder).replace(RELEASE_MARK, name) if path == CONFIG else text
        for path, text in files.items()
    }


def unplaced(files: Files, folder: str) -> Files:
    """Return the files of a folder as they would be anywhere."""
    name = os.path.basename(folder)
    return {
        path: text.replace(folder, FOLDER_MARK).replace(f"description {name}", f"description {RELEASE_MARK}")
        if path == CONFIG
        else text
        for path, text in files.items()
    }


def read_map(text: str) -> dict[str, str]:
    """Return the lines of a map that are whole."""
    words = (line.split() for line in text.splitlines())
    return {line[0]: line[1] for line in words if len(line) == 2}


# --- on the host ------------------------------------------------------------------------------------------------------


def read_files(folder: str) -> Files:
    """Return all files below a folder; empty where there is none."""
    found: Files = {}
    for parent, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(UnicodeDecodeError), open(path, encoding="utf-8", opener=regular) as stream:
                found[os.path.relpath(path, folder)] = stream.read()
    return found


def read_keys(directory: str) -> dict[str, list[str]]:
    """Return the keys that are kept for users, newest first."""
    return {name: text.split() for name, text in read_files(os.path.join(directory, KEYS)).items() if text.split()}


def current(directory: str) -> str:
    """Return the folder of the configuration in use; empty where there is none."""
    link = os.path.join(directory, CURRENT)
    if not os.path.islink(link):
        return ""
    folder = os.path.join(directory, os.path.basename(os.readlink(link)))
    return folder if os.path.isdir(folder) else ""


def free_folder(directory: str, name: str) -> str:
    """Return a folder for a new configuration, which nobody uses."""
    used = current(directory)
    folder = os.path.join(directory, name)
    # Somebody changed the files of this name that are in use.
    return f"{folder}-again" if folder == used else folder


def write_files(folder: str, files: Files) -> None:
    """Write files that only root can read into a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in sorted(files.items()):
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        write_private(target, text)


def write_private(path: str, text: str) -> None:
    """Write a file in one step; only its owner can read it."""
    # No user's name begins with a dot, so the draft of one key is not the file of another user.
    draft = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)


def use(directory: str, folder: str) -> None:
    """Put a configuration in use, and remove the others."""
    link = os.path.join(directory, CURRENT)
    draft = f"{link}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    os.symlink(os.path.basename(folder), draft)
    os.replace(draft, link)
    sweep(directory)


def sweep(directory: str) -> None:
    """Remove what is neither in use nor a user's key: older configurations, and what runs left that were killed."""
    kept = {CURRENT, KEYS, os.path.basename(current(directory))}
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if name in kept:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def write_keys(directory: str, keys: t.Mapping[str, t.Sequence[str]]) -> None:
    """Keep the users' keys, each in a file of its own, and remove those of users who are gone."""
    folder = os.path.join(directory, KEYS)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    present = read_files(folder)
    for name, own in keys.items():
        text = "".join(f"{key}\n" for key in own)
        if present.get(name) != text:
            write_private(os.path.join(folder, name), text)
    for name in os.listdir(folder):
        if name not in keys:
            os.unlink(os.path.join(folder, name))
