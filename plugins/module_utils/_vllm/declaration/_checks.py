# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of one key of an instance by itself. Each returns what is wrong, as text that follows the key's name."""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
import typing as t

from ..._endpoint import EndpointError, parse
from ..._secret import header_secret_problem
from ..options._argv import argument_problem, name_problem
from ..options._release import repository_of
from ..options._suggestions import did_you_mean, kind, shown, value_problem, whole_number

Check = t.Callable[[object], t.List[str]]


# Environment variables that would quietly fight with a key of the instance.
_OWNED_ENV = {
    "VLLM_API_KEY": "api_keys",
    "NVIDIA_VISIBLE_DEVICES": "gpus",
    "CUDA_VISIBLE_DEVICES": "gpus",
    "VLLM_PORT": "port",
}

PREVIOUS_SUFFIX = ".previous"

# All of these are for fullmatch: "$" would let a newline at the end pass.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,99}")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_GPU_ID = re.compile(r"(?:[0-9]{1,4}|GPU-[0-9A-Fa-f-]+|MIG-(?:GPU-)?[0-9A-Fa-f-]+(?:/[0-9]+/[0-9]+)?)")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
# The grammar of https://github.com/distribution/reference: [registry[:port]/]path[:tag][@digest]
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_IMAGE = re.compile(
    rf"(?:(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,})?"
)
_REVISION = re.compile(r"[^\s:~^?*\[\\-][^\s:~^?*\[\\]*")

# Mounts of every container of ours, and paths over which no container can have anything mounted.
_MOUNTS = {
    "/run/private_llm": "the server's keys",
    "/var/cache/vllm": "compiled kernels",
    "/": "the container itself",
    "/dev": "the container's devices",
    "/proc": "the container's processes",
    "/sys": "the container's system files",
}
# Shared memory below and beyond these is a slip of the pen; Docker takes 0 for its own default of 64 MiB.
_LEAST_SHM = 2**20
_MOST_SHM = 2**42
_LEAST_KEY = 6
_MOST_GPUS = 1024


def is_path(model: str) -> bool:
    """Say whether the model is a path on the host, not a hub's ``organization/name``: a path begins with a slash."""
    return model.startswith("/")


def check_name(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if not _NAME.fullmatch(value):
        return [f": {shown(value)} cannot name a container; use 2 to 100 letters, digits, dots, dashes or underscores"]
    if value.endswith(PREVIOUS_SUFFIX):
        return [f": {shown(value)} ends in {PREVIOUS_SUFFIX}, which is kept for a container that is being replaced"]
    return []


def check_model(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if is_path(value):
        problem = path_problem(value)
        return [f": {shown(value)} {problem}"] if problem else []
    if HUB_ID.fullmatch(value):
        return []
    return [f": {shown(value)} is neither a hub id (organization/name) nor an absolute path on the host"]


def path_problem(path: str) -> str | None:
    """Return why a container cannot have this path mounted at the same place, or None when it can."""
    if not path.isprintable() or ":" in path:
        return "holds a colon, a newline or another character that Docker cannot mount"
    target = posixpath.normpath("/" + path.lstrip("/"))
    if target in _MOUNTS or target.startswith("/proc/"):
        return f"is where a container has {_MOUNTS.get(target, 'its processes')}; name a folder of its own"
    return None


def check_image(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if _IMAGE.fullmatch(value) and len(repository_of(value)) <= 255:
        return []
    return [f": {shown(value)} is not an image reference"]


def check_root(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if not value.startswith("/"):
        return [f": {shown(value)} is not an absolute path on the host"]
    problem = path_problem(value)
    return [f": {shown(value)} {problem}"] if problem else []


def check_revision(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}; quote it"]
    if not value or (_REVISION.fullmatch(value) and value.isprintable()):
        return []
    return [f": {shown(value)} is not a branch, a tag or a commit"]


def check_choice(choices: t.Sequence[str]) -> Check:
    """Return the check of a key that is one of these words."""

    def check(value: object) -> list[str]:
        if isinstance(value, str) and value in choices:
            return []
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return [f": {shown(value)} is none of {', '.join(choices)}{hint}"]

    return check


def check_restart_policy(choices: t.Sequence[str]) -> Check:
    """Return the check of Docker's restart policies; YAML reads a bare ``no`` as false."""
    check = check_choice(choices)
    return lambda value: check(restart_policy(value))


def check_gpus(value: object) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
        return [f": must be a list of indices or UUIDs, or a count, not {kind(value)}; [] is CPU"]
    if isinstance(value, int):
        return [] if 0 <= value <= _MOST_GPUS else [f": {shown(value)} is not a count of GPUs"]
    problems = []
    seen: set[str] = set()
    for index, gpu in enumerate(value):
        usable = not isinstance(gpu, bool) and isinstance(gpu, (int, str)) and value_problem(gpu) is None
        text = str(gpu).lower() if usable else ""
        if not usable or not _GPU_ID.fullmatch(str(gpu)):
            problems.append(f"[{index}]: {shown(gpu)} is not a GPU index, a GPU-… UUID or a MIG-… UUID")
            continue
        text = str(int(text)) if text.isdecimal() else text
        if text in seen:
            problems.append(f"[{index}]: {gpu} is named twice")
        seen.add(text)
    return problems


def is_port(value: object) -> bool:
    port = whole_number(value) if isinstance(value, (int, str)) else None
    return port is not None and 1 <= port <= 65535


def check_port(value: object) -> list[str]:
    return [] if is_port(value) else [f": {shown(value)} is not a TCP port (1 to 65535)"]


def check_bind(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return [f": {shown(value)} is not an IP address of the host (0.0.0.0 is all of them)"]
    if "%" in value:
        return [f": {shown(value)} names an interface, which Docker cannot listen on; use an address without one"]
    v4 = address.version == 4 and not address.is_unspecified
    if address.is_multicast or (v4 and (address.is_reserved or value.startswith("0."))):
        return [f": {shown(value)} is not an address that a host can listen on (0.0.0.0 is all of them)"]
    if address.version == 6 and address.is_link_local:
        return [f": {shown(value)} needs an interface, which Docker cannot listen on; use another address of the host"]
    return []


def check_url(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    try:
        parse(value)
    except EndpointError as error:
        return [f": {error}"]
    return []


def share_of(value: object) -> float | None:
    """Return a share of a model's requests; None where none is given, or where this is no share."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        share = float(value)
    except (ValueError, OverflowError):
        return None
    return share if 0 < share <= 1 else None


def check_share(value: object) -> list[str]:
    if share_of(value) is not None:
        return []
    return [f": {shown(value)} is not a share of a model's requests; give a number above 0 and up to 1, such as 0.1"]


def check_engine(value: object) -> list[str]:
    if not isinstance(value, t.Mapping):
        return [f": must be a mapping of vLLM's option names to values, not {kind(value)}"]
    problems = []
    for name in value:
        # A value that nothing can carry is told in any case, and first.
        problem = name_problem(name) or argument_problem(str(name), value[name])
        if problem:
            problems.append(f".{name}: {problem}")
    return problems


def check_names(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return [f": must be a list, not {kind(value)}"]
    problems = []
    for index, name in enumerate(value):
        usable = isinstance(name, str) and name == name.strip() and name.isprintable() and 0 < len(name) <= 300
        if not usable or name.startswith("-"):
            problems.append(f"[{index}]: {shown(name)} is not a served model name")
        elif name in value[:index]:
            problems.append(f"[{index}]: {shown(name)} is named twice")
    return problems


def key_problem(key: object) -> str | None:
    """Return why this is not an API key, never quoting it; None when it is one."""
    if not isinstance(key, str):
        return f"must be a string, not {kind(key)}"
    if not key:
        return "is empty"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "holds a blank or a character that no HTTP header can carry"
    if key.startswith("-"):
        return "begins with a dash; vLLM would take it for an option"
    return None


def check_api_keys(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return [f": must be a list, not {kind(value)}; leave it out to have one key made on the host"]
    problems = []
    for index, key in enumerate(value):
        problem = key_problem(key)
        if problem:
            problems.append(f"[{index}]: {problem}")
        elif len(key) < _LEAST_KEY:
            problems.append(f"[{index}]: has fewer than {_LEAST_KEY} characters, which is guessed in no time")
        elif key in value[:index]:
            problems.append(f"[{index}]: repeats another key")
    return problems


def check_env(value: object) -> list[str]:
    if not isinstance(value, t.Mapping):
        return [f": must be a mapping, not {kind(value)}"]
    problems = []
    for name, content in value.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            problems.append(f".{name}: is not the name of an environment variable")
        elif name in _OWNED_ENV:
            problems.append(f".{name}: is not set here; use {_OWNED_ENV[name]}")
        elif isinstance(content, bool) or not isinstance(content, (str, int, float)):
            problems.append(f".{name}: must be a string or a number, not {kind(content)}; quote it")
        elif isinstance(content, float) and not math.isfinite(content):
            problems.append(f".{name}: must be a string or a number; quote it")
    return problems


def volume_problem(value: object) -> str | None:
    """Return why this is not a bind mount in the form ``/on/the/host:/in/the/container[:ro|rw]``, or None."""
    if not isinstance(value, str):
        return f"must be a string, not {kind(value)}"
    if not value.isprintable():
        return f"{shown(value)} holds a newline or another character that cannot be printed"
    parts = value.split(":")
    if len(parts) not in (2, 3) or not all(part.startswith("/") for part in parts[:2]):
        return f"{shown(value)} is not /on/the/host:/in/the/container, with :ro or :rw at the end if you like"
    if len(parts) == 3 and parts[2] not in ("ro", "rw"):
        return f"{shown(value)} ends in {shown(parts[2])}, which is neither ro nor rw"
    target = mount_target(value)
    if target in _MOUNTS or target.startswith("/proc/"):
        return f"{shown(value)} hides {_MOUNTS.get(target, 'the processes of the container')}; mount it elsewhere"
    return None


def mount_target(volume: str) -> str:
    """Return where a bind mount is in the container, in its normal form."""
    return posixpath.normpath("/" + volume.split(":")[1].lstrip("/"))


def check_volumes(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return [f": must be a list, not {kind(value)}"]
    found = ((index, volume_problem(volume)) for index, volume in enumerate(value))
    return [f"[{index}]: {problem}" for index, problem in found if problem]


def check_nodes(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return [f": must be a list of hosts of the inventory, not {kind(value)}"]
    problems = []
    for index, node in enumerate(value):
        if not isinstance(node, str) or not node or not node.isprintable():
            problems.append(f"[{index}]: {shown(node)} is not the name of a host of the inventory")
        elif node in value[:index]:
            problems.append(f"[{index}]: {node} is named twice; a host is one node of a server")
    if len(value) == 1 and not problems:
        problems.append(": names one host; leave it out for a server of one host")
    return problems


def check_size(value: object) -> list[str]:
    if value == "":
        return []
    match = None
    if not isinstance(value, bool) and isinstance(value, (str, int)) and value_problem(value) is None:
        match = _SIZE.fullmatch(str(value))
    if match is None:
        return [f": {shown(value)} is not a size such as 16g"]
    size = float(match.group(1)) * 1024.0 ** " kmgt".index(match.group(2).lower().replace("b", "") or " ")
    if size < _LEAST_SHM:
        return [f": {shown(value)} is less than 1m; leave it out to have as much as vLLM needs"]
    return [f": {shown(value)} is more than any host has"] if size > _MOST_SHM else []


def restart_policy(value: object) -> object:
    return "no" if value is False else value


def check_endpoint(value: object) -> list[str]:
    """Check the base URL of a hub or git server; a password has no place in it."""
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if "@" in value:
        return [": holds a user or a password; give the token in token, where it stays secret"]
    try:
        parse(value)
    except EndpointError as error:
        return [f": {error}"]
    return []


def check_token(value: object) -> list[str]:
    """Check an access token, which is never quoted."""
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    problem = header_secret_problem(value.strip())
    return [f": {problem}"] if problem else []


def check_absolute(value: object) -> list[str]:
    """Check an absolute path of a host or of the controller that no container mounts."""
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if not value.startswith("/") or not value.isprintable():
        return [f": {shown(value)} is not an absolute path"]
    return []


def check_patterns(value: object) -> list[str]:
    """Check a list of shell patterns of files."""
    if not isinstance(value, (list, tuple)):
        return [f": must be a list of shell patterns, not {kind(value)}"]
    return [
        f"[{index}]: {shown(one)} is not a shell pattern such as *.safetensors"
        for index, one in enumerate(value)
        if not isinstance(one, str) or not one or not one.isprintable()
    ]
