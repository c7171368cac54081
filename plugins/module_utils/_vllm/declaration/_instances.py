# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `vllm_server_instances` of one host may say: all problems at once, and one normal form with defaults filled.

The role, the plan and the whole-site playbook all use the normal form, so that none understands a host differently.
"""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
import typing as t

from ..._endpoint import EndpointError, parse, scheme_of
from ..._printable import printable
from ..options._argv import (
    argument_problem,
    name_problem,
    normal_name,
)
from ..options._options import check as check_engine
from ..options._release import release_of, repository_of
from ..options._suggestions import (
    did_you_mean,
    kind,
    shown,
    value_problem,
    whole_number,
)

VARIABLE = "vllm_server_instances"
SECRETS_ROOT = "/etc/private_llm/vllm_server"

# An instance says only what differs from these; the role's variables of the same meaning come in between.
DEFAULTS: dict[str, t.Any] = {
    "image": "vllm/vllm-openai:v0.32.0",
    "models_root": "/srv/models",
    "source": "modelscope",
    "revision": "",
    "gpus": [],
    "bind": "0.0.0.0",  # noqa: S104 - a server of a fleet is there to be reached; it has a key by default
    "engine": {},
    "env": {},
    "volumes": [],
    "shm_size": "",
    "ipc": "private",
    "restart_policy": "unless-stopped",
    "nodes": [],
    "state": "started",
}

KEYS = (
    "name",
    "model",
    "source",
    "revision",
    "image",
    "gpus",
    "port",
    "bind",
    "url",
    "share",
    "engine",
    "served_model_names",
    "api_keys",
    "env",
    "volumes",
    "shm_size",
    "ipc",
    "restart_policy",
    "nodes",
    "state",
)

CHOICES = {
    "source": ("modelscope", "huggingface", "git_lfs"),
    "ipc": ("private", "shareable", "host"),
    "restart_policy": ("no", "always", "on-failure", "unless-stopped"),
    "state": ("started", "stopped", "absent"),
}

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
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
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

# What a container of ours mounts by itself, and what no container can have mounted over.
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

Instance = t.Mapping[str, t.Any]


class InstanceError(ValueError):
    """Instances that have no normal form, because they are wrong."""


def is_path(model: str) -> bool:
    """Say whether the model is a path on the host, not a hub's ``organization/name``: a path begins with a slash."""
    return model.startswith("/")


def model_path(model: str, models_root: str) -> str:
    """Return where the model is or will be on the host: the path itself, or the store's link to the release in use."""
    return model if is_path(model) else f"{models_root.rstrip('/')}/{model}/current"


def secrets_directory(name: str) -> str:
    return f"{SECRETS_ROOT}/{name}"


def is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False


def normal_instances(
    instances: t.Sequence[Instance], defaults: t.Mapping[str, t.Any] | None = None
) -> list[dict[str, t.Any]]:
    """Return the instances with every key, and with `model_path`, `model_repo` and `key_file`, which follow from them.

    `engine` and `env` are laid over those of ``defaults`` key by key and `volumes` are appended; any other key replaces
    its default. `api_keys` stays null when it was left out: one key is then made on the host.
    """
    problems = defaults_problems(defaults)
    if not isinstance(instances, (list, tuple)):
        problems.append(f"{VARIABLE}: must be a list, not {kind(instances)}")
    else:
        for index, instance in enumerate(instances):
            problems.extend(shape_problems(f"{VARIABLE}[{index}]", instance))
    if problems:
        raise InstanceError("; ".join(_one_line(problem) for problem in problems))
    base = _plain({**DEFAULTS, **(defaults or {})})
    return [_normal(instance, base) for instance in instances]


_MAPPINGS = ("engine", "env")
_LISTS = ("served_model_names", "api_keys", "volumes", "nodes")


def shape_problems(where: str, instance: object) -> list[str]:
    """Return the problems that keep an instance from being brought into its normal form."""
    if not isinstance(instance, t.Mapping):
        return [f"{where}: must be a mapping, not {kind(instance)}"]
    problems = []
    for key, value in instance.items():
        if key not in KEYS or value is None:
            continue
        problem = value_problem(value)
        if problem:
            problems.append(f"{where}.{key}: {problem}")
        elif key in _MAPPINGS and not isinstance(value, t.Mapping):
            problems.append(f"{where}.{key}: must be a mapping, not {kind(value)}")
        elif key in _LISTS and not isinstance(value, (list, tuple)):
            problems.append(f"{where}.{key}: must be a list, not {kind(value)}")
        elif key not in (*_MAPPINGS, *_LISTS, "gpus") and isinstance(value, (t.Mapping, list, tuple)):
            problems.append(f"{where}.{key}: must be one value, not {kind(value)}")
        elif key == "gpus" and (isinstance(value, bool) or not isinstance(value, (int, list, tuple))):
            problems.append(f"{where}.gpus: must be a list of indices or UUIDs, or a count, not {kind(value)}")
    return problems


def _normal(instance: Instance, base: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    given = {str(key): _plain(value) for key, value in instance.items() if key in KEYS and value is not None}
    name = str(given.get("name", ""))
    model = str(given.get("model", ""))
    result = {key: given.get(key, base.get(key)) for key in KEYS}
    result["name"] = name
    result["model"] = model
    for key in ("engine", "env"):
        result[key] = {**base[key], **given.get(key, {})}
    result["volumes"] = list(base["volumes"]) + list(given.get("volumes", []))
    result["served_model_names"] = given.get("served_model_names") or ([name] if name else [])
    result["restart_policy"] = _restart_policy(result["restart_policy"])
    if _is_port(given.get("port")):
        result["port"] = whole_number(given["port"])
    result["url"] = str(given.get("url", ""))
    result["share"] = share_of(given.get("share"))
    result["shm_size"] = str(result["shm_size"])
    if isinstance(result["gpus"], list):
        result["gpus"] = [str(gpu) for gpu in result["gpus"]]
    result["model_repo"] = "" if is_path(model) else model
    result["model_path"] = model_path(model, str(base["models_root"])) if model else ""
    result["key_file"] = "" if result["api_keys"] == [] else f"{secrets_directory(name)}/api_keys"
    return result


# What a module for a server takes from an instance under the same name.
_OPTIONS = (*(key for key in KEYS if key not in ("model", "source", "revision", "url", "share", "nodes")), "member")


def server_options(
    instances: t.Sequence[t.Mapping[str, t.Any]], settings: t.Mapping[str, t.Any] | None = None
) -> list[dict[str, t.Any]]:
    """Return instances in their normal form as the options of the module that runs them.

    ``settings`` are options that are the same for all, and of `allow_unauthenticated` the names of the servers. What is
    null or empty where it means nothing is left out.
    """
    shared = dict(settings or {})
    allowed = shared.pop("allow_unauthenticated", [])
    return [_options(instance, shared, allowed) for instance in instances]


def _options(
    instance: t.Mapping[str, t.Any], settings: t.Mapping[str, t.Any], allowed: t.Sequence[str]
) -> dict[str, t.Any]:
    if instance["state"] == "absent":
        return {"name": instance["name"], "state": "absent"}
    options = {key: _plain(instance[key]) for key in _OPTIONS if instance.get(key) is not None}
    return {
        **options,
        **settings,
        "model": instance["model_path"],
        "allow_unauthenticated": instance["name"] in allowed,
    }


def endpoints(
    instances: t.Sequence[Instance], servers: t.Sequence[t.Mapping[str, t.Any]], address: str
) -> list[dict[str, t.Any]]:
    """Return what others need to know to use the servers of a host; it holds no secret.

    ``instances`` are in their normal form, ``servers`` is what was found on the host, and ``address`` is where other
    hosts reach this one.
    """
    found = {str(server["name"]): server for server in servers}
    return [
        {
            "name": instance["name"],
            "where": f"{VARIABLE}[{index}]",
            "address": address,
            "bind": instance["bind"],
            "port": instance["port"],
            "scheme": scheme_of(instance["engine"]),
            "url": instance["url"],
            "state": instance["state"],
            "served_model_names": list(instance["served_model_names"]),
            "key_file": instance["key_file"],
            "status": found.get(instance["name"], {}).get("status", "absent"),
            "ready": found.get(instance["name"], {}).get("ready", {}),
            "watch": found.get(instance["name"], {}).get("watch", {}),
        }
        for index, instance in enumerate(instances)
        if instance["state"] != "absent"
    ]


def defaults_problems(defaults: t.Mapping[str, t.Any] | None) -> list[str]:
    """Return what is wrong with a set of defaults laid over ours."""
    if defaults is None:
        return []
    if not isinstance(defaults, t.Mapping):
        return [f"the defaults must be a mapping, not {kind(defaults)}"]
    problems = [
        f"the defaults hold {key}, which is none of {', '.join(sorted(DEFAULTS))}{did_you_mean(str(key), DEFAULTS)}"
        for key in defaults
        if key not in DEFAULTS
    ]
    for key in DEFAULTS:
        if key in defaults:
            value = defaults[key]
            found = value_problem(value)
            texts = [f": {found}"] if found else _CHECKS[key](value)
            problems += [f"vllm_server_{key}{text}" for text in texts]
    return problems


def instance_problems(
    instances: object,
    host: str = "",
    allow_unauthenticated: object = (),
    defaults: t.Mapping[str, t.Any] | None = None,
) -> list[str]:
    """Return all that is wrong with the instances of one host; each sentence names the key to change."""
    prefix = f"{host}: " if host else ""
    return [_one_line(prefix + problem) for problem in _problems(instances, allow_unauthenticated, defaults)]


def _one_line(problem: str) -> str:
    return printable(problem).replace("\n", "\\n")


def _problems(instances: object, allow_unauthenticated: object, defaults: t.Mapping[str, t.Any] | None) -> list[str]:
    problems = defaults_problems(defaults)
    if not isinstance(allow_unauthenticated, (list, tuple)):
        problems.append(f"vllm_server_allow_unauthenticated: must be a list, not {kind(allow_unauthenticated)}")
        allow_unauthenticated = ()
    if problems:
        return problems
    if not isinstance(instances, (list, tuple)):
        return [f"{VARIABLE}: must be a list, not {kind(instances)}"]
    usable: dict[int, dict[str, t.Any]] = {}
    base = _plain({**DEFAULTS, **(defaults or {})})
    for index, instance in enumerate(instances):
        where = f"{VARIABLE}[{index}]"
        if not isinstance(instance, t.Mapping):
            problems.append(f"{where}: must be a mapping, not {kind(instance)}")
            continue
        own = _own_problems(where, instance)
        if not own:
            usable[index] = _normal(instance, base)
            own = _meaning_problems(where, instance, usable[index], allow_unauthenticated)
        problems.extend(own)
    problems.extend(_between_problems(usable))
    return problems


# --- one key at a time ------------------------------------------------------------------------------------------------


def _own_problems(where: str, instance: Instance) -> list[str]:
    required = ("name",) if instance.get("state") == "absent" else ("name", "model", "port")
    problems = [
        f"{where}.{key}: is not a key of an instance{did_you_mean(str(key), KEYS)}"
        for key in instance
        if key not in KEYS
    ]
    problems.extend(f"{where}.{key}: is required" for key in required if instance.get(key) is None)
    for key, check in _CHECKS.items():
        if instance.get(key) is not None:
            # What an option of vLLM holds is told with its name.
            problem = None if key == "engine" else value_problem(instance[key])
            problems.extend(f"{where}.{key}{text}" for text in ([f": {problem}"] if problem else check(instance[key])))
    return problems


def option_problems(options: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with one server's options by themselves, for a module that was given them as such."""
    problems = [
        f"{key}{text}" for key, check in _CHECKS.items() if options.get(key) is not None for text in check(options[key])
    ]
    if not problems and options.get("image"):
        # An image whose tag does not tell its release is asked later, by whoever can.
        release = release_of(options["image"])
        found = check_engine(options.get("engine") or {}, release)
        problems.extend(f"engine.{name}: {text}" for name, text in found.problems.items() if release is not None)
        problem = image_problem(options["image"], options.get("gpus") or [])
        if problem:
            problems.append(f"image: {problem}")
        problems.extend(_mount_problems("volumes", str(options.get("model") or ""), options.get("volumes") or []))
    if options.get("state") != "absent" and options.get("api_keys") == [] and not options.get("allow_unauthenticated"):
        bind = options.get("bind", DEFAULTS["bind"])
        if not is_loopback(bind):
            problems.append(
                f"api_keys: is empty, so anyone who reaches {bind}:{options.get('port')} may use the model; leave it "
                "out to have a key made, bind to 127.0.0.1, or set allow_unauthenticated: true"
            )
    model = options.get("model")
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        problems.append(f"model: {shown(model)} is a hub id; download it first, and name the absolute path on the host")
    return problems


def _check_name(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if not _NAME.fullmatch(value):
        return [f": {shown(value)} cannot name a container; use 2 to 100 letters, digits, dots, dashes or underscores"]
    if value.endswith(PREVIOUS_SUFFIX):
        return [f": {shown(value)} ends in {PREVIOUS_SUFFIX}, which is kept for a container that is being replaced"]
    return []


def _check_model(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if is_path(value):
        problem = path_problem(value)
        return [f": {shown(value)} {problem}"] if problem else []
    if _HUB_ID.fullmatch(value):
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


def _check_image(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if _IMAGE.fullmatch(value) and len(repository_of(value)) <= 255:
        return []
    return [f": {shown(value)} is not an image reference"]


def _check_root(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}"]
    if not value.startswith("/"):
        return [f": {shown(value)} is not an absolute path on the host"]
    problem = path_problem(value)
    return [f": {shown(value)} {problem}"] if problem else []


def _check_revision(value: object) -> list[str]:
    if not isinstance(value, str):
        return [f": must be a string, not {kind(value)}; quote it"]
    if not value or (_REVISION.fullmatch(value) and value.isprintable()):
        return []
    return [f": {shown(value)} is not a branch, a tag or a commit"]


def _check_choice(key: str) -> t.Callable[[object], list[str]]:
    def check(value: object) -> list[str]:
        if key == "restart_policy":
            value = _restart_policy(value)
        if isinstance(value, str) and value in CHOICES[key]:
            return []
        hint = did_you_mean(value, CHOICES[key]) if isinstance(value, str) else ""
        return [f": {shown(value)} is none of {', '.join(CHOICES[key])}{hint}"]

    return check


def _check_gpus(value: object) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
        return [f": must be a list of indices or UUIDs, or a count, not {kind(value)}; [] is CPU"]
    if isinstance(value, int):
        return [] if 0 <= value <= _MOST_GPUS else [f": {shown(value)} is no count of GPUs"]
    problems = []
    seen: set[str] = set()
    for index, gpu in enumerate(value):
        usable = not isinstance(gpu, bool) and isinstance(gpu, (int, str)) and value_problem(gpu) is None
        text = str(gpu).lower() if usable else ""
        if not usable or not _GPU_ID.fullmatch(str(gpu)):
            problems.append(f"[{index}]: {shown(gpu)} is no GPU index, no GPU-… UUID and no MIG-… UUID")
            continue
        text = str(int(text)) if text.isdecimal() else text
        if text in seen:
            problems.append(f"[{index}]: {gpu} is named twice")
        seen.add(text)
    return problems


def _is_port(value: object) -> bool:
    port = whole_number(value) if isinstance(value, (int, str)) else None
    return port is not None and 1 <= port <= 65535


def _check_port(value: object) -> list[str]:
    return [] if _is_port(value) else [f": {shown(value)} is not a TCP port (1 to 65535)"]


def _check_bind(value: object) -> list[str]:
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


def _check_url(value: object) -> list[str]:
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


def _check_share(value: object) -> list[str]:
    if share_of(value) is not None:
        return []
    return [f": {shown(value)} is no share of a model's requests; give a number above 0 and up to 1, such as 0.1"]


def _check_engine(value: object) -> list[str]:
    if not isinstance(value, t.Mapping):
        return [f": must be a mapping of vLLM's option names to values, not {kind(value)}"]
    problems = []
    for name in value:
        # A value that nothing can carry is told in any case, and first.
        problem = name_problem(name) or argument_problem(str(name), value[name])
        if problem:
            problems.append(f".{name}: {problem}")
    return problems


def _check_names(value: object) -> list[str]:
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


def _check_api_keys(value: object) -> list[str]:
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


def _check_env(value: object) -> list[str]:
    if not isinstance(value, t.Mapping):
        return [f": must be a mapping, not {kind(value)}"]
    problems = []
    for name, content in value.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            problems.append(f".{name}: is no name of an environment variable")
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


def _check_volumes(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        return [f": must be a list, not {kind(value)}"]
    found = ((index, volume_problem(volume)) for index, volume in enumerate(value))
    return [f"[{index}]: {problem}" for index, problem in found if problem]


def _check_nodes(value: object) -> list[str]:
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


def _check_size(value: object) -> list[str]:
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


_CHECKS: dict[str, t.Callable[[object], list[str]]] = {
    "name": _check_name,
    "model": _check_model,
    "source": _check_choice("source"),
    "revision": _check_revision,
    "models_root": _check_root,
    "image": _check_image,
    "gpus": _check_gpus,
    "port": _check_port,
    "bind": _check_bind,
    "url": _check_url,
    "share": _check_share,
    "engine": _check_engine,
    "served_model_names": _check_names,
    "api_keys": _check_api_keys,
    "env": _check_env,
    "volumes": _check_volumes,
    "shm_size": _check_size,
    "ipc": _check_choice("ipc"),
    "restart_policy": _check_choice("restart_policy"),
    "nodes": _check_nodes,
    "state": _check_choice("state"),
}


# --- what keys mean together ------------------------------------------------------------------------------------------


def _meaning_problems(
    where: str, given: Instance, instance: t.Mapping[str, t.Any], allow_unauthenticated: t.Sequence[str]
) -> list[str]:
    if instance["state"] == "absent":
        return []
    problems: list[str] = _mount_problems(f"{where}.volumes", instance["model_path"], instance["volumes"])
    if is_path(instance["model"]):
        problems.extend(
            f"{where}.{key}: has no meaning beside a model that is a path; leave it out"
            for key in ("source", "revision")
            if given.get(key)
        )
    if (
        instance["api_keys"] == []
        and not is_loopback(instance["bind"])
        and instance["name"] not in allow_unauthenticated
    ):
        problems.append(
            f"{where}.api_keys: is empty, so anyone who reaches {instance['bind']}:{instance['port']} may use the "
            f"model; leave it out to have a key made, bind to 127.0.0.1, or name {instance['name']} in "
            "vllm_server_allow_unauthenticated"
        )
    if instance["shm_size"] and instance["ipc"] == "host":
        problems.append(f"{where}.shm_size: has no effect with ipc: host; leave one of the two out")
    problem = image_problem(instance["image"], instance["gpus"])
    if problem:
        problems.append(f"{where}.image: {problem}")
    found = check_engine(instance["engine"], release_of(instance["image"]))
    problems.extend(f"{where}.engine.{name}: {text}" for name, text in found.problems.items())
    if not found.problems:
        problems.extend(_parallel_problems(where, instance))
    return problems


def _mount_problems(where: str, model_path: str, volumes: t.Sequence[str]) -> list[str]:
    """Find two mounts on one place: Docker would refuse the container, after the old server was stopped."""
    targets = {posixpath.normpath("/" + model_path.lstrip("/")): "the model"}
    problems = []
    for volume in volumes:
        target = mount_target(volume)
        if target in targets:
            problems.append(f"{where}: {volume} is mounted where {targets[target]} is; choose another place")
        targets.setdefault(target, volume)
    return problems


def gpu_count(gpus: int | t.Sequence[str]) -> int:
    return gpus if isinstance(gpus, int) else len(gpus)


def image_problem(image: str, gpus: int | t.Sequence[t.Any]) -> str | None:
    """Return why the image cannot run without GPUs: vLLM's image for NVIDIA GPUs ends at once where it sees none."""
    if gpus or repository_of(image).rpartition("/")[2] != "vllm-openai":
        return None
    return f"{image} runs on GPUs alone; name some in gpus, or use vllm/vllm-openai-cpu"


def _parallel_problems(where: str, instance: t.Mapping[str, t.Any]) -> list[str]:
    """Find a server that spreads over more GPUs than it is given."""
    engine = {normal_name(str(name)): value for name, value in instance["engine"].items()}
    if engine.get("nnodes") not in (None, 1):
        return []
    names = ["tensor_parallel_size", "pipeline_parallel_size"]
    # Replicas on other hosts, or started by themselves, take no GPUs of this server.
    apart = ("data_parallel_external_lb", "data_parallel_hybrid_lb", "data_parallel_rank", "data_parallel_start_rank")
    elsewhere = any(engine.get(name) for name in (*apart, "data_parallel_address", "headless"))
    if not elsewhere and engine.get("data_parallel_backend") in (None, "mp"):
        local = engine.get("data_parallel_size_local") is not None
        names.append("data_parallel_size_local" if local else "data_parallel_size")
    sizes = {}
    for name in names:
        size = engine.get(name)
        if size is None:
            continue
        number = whole_number(size)
        if number is None or number < 1:
            return [f"{where}.engine.{name}: {shown(size)} is no count of GPUs"]
        sizes[name] = number
    wanted = 1
    for number in sizes.values():
        wanted *= number
    nodes = len(instance["nodes"]) or 1
    given = gpu_count(instance["gpus"]) * nodes
    if given and sizes and wanted > given:
        formula = " x ".join(f"{name} {number}" for name, number in sizes.items())
        over = f" on {nodes} hosts" if nodes > 1 else ""
        return [f"{where}.gpus: gives {given} GPU(s){over}, but {formula} needs {wanted}"]
    return []


# --- two instances of one host ----------------------------------------------------------------------------------------


def _between_problems(usable: t.Mapping[int, t.Mapping[str, t.Any]]) -> list[str]:
    problems = []
    names: dict[str, int] = {}
    for index, instance in usable.items():
        first = names.setdefault(instance["name"], index)
        if first != index:
            problems.append(
                f"{VARIABLE}[{index}].name: {instance['name']} is already the name of {VARIABLE}[{first}]; "
                "a name is a container of the host"
            )
    present = {index: instance for index, instance in usable.items() if instance["state"] != "absent"}
    running = [index for index, instance in present.items() if instance["state"] == "started"]
    for position, second in enumerate(running):
        for first in running[:position]:
            problems.extend(_port_problems(first, second, present))
    problems.extend(_revision_problems(present))
    problems.extend(_gpu_problems(running, present))
    return problems


def _port_problems(first: int, second: int, usable: t.Mapping[int, t.Mapping[str, t.Any]]) -> list[str]:
    one, two = usable[first], usable[second]
    if one["port"] != two["port"] or not _addresses_meet(one["bind"], two["bind"]):
        return []
    return [
        (
            f"{VARIABLE}[{second}].port: {two['port']} is already the port of {VARIABLE}[{first}] ({one['name']}); "
            "change one of the two"
        )
    ]


def _addresses_meet(one: str, two: str) -> bool:
    return one == two or any(ipaddress.ip_address(address).is_unspecified for address in (one, two))


def _revision_problems(present: t.Mapping[int, t.Mapping[str, t.Any]]) -> list[str]:
    problems: list[str] = []
    seen: dict[str, int] = {}
    for index, instance in present.items():
        if not instance["model_repo"]:
            continue
        first = seen.setdefault(instance["model_repo"], index)
        problems.extend(
            f"{VARIABLE}[{index}].{key}: {shown(instance[key])} differs from {VARIABLE}[{first}], which serves the "
            f"same model {instance['model_repo']}; a host keeps one release of a model in use"
            for key in ("source", "revision")
            if instance[key] != present[first][key]
        )
    return problems


def memory_share(instance: t.Mapping[str, t.Any]) -> float | None:
    """Return the part of each of its GPUs that a server takes; None when it is no share, or is not known yet."""
    engine = instance["engine"]
    if engine.get("kv_cache_memory_bytes") is not None:
        return None
    stated = engine.get("gpu_memory_utilization", engine.get("device_memory_utilization"))
    if stated is not None:
        try:
            share = float(stated)
        except (OverflowError, TypeError, ValueError):
            return None
        return share if math.isfinite(share) else None
    release = release_of(instance["image"])
    return 0.9 if release is not None and release < (0, 20, 0) else 0.92


def _gpu_problems(running: t.Sequence[int], usable: t.Mapping[int, t.Mapping[str, t.Any]]) -> list[str]:
    users: dict[str, list[int]] = {}
    for index in running:
        if isinstance(usable[index]["gpus"], list):
            for gpu in usable[index]["gpus"]:
                users.setdefault(gpu, []).append(index)
    problems = []
    for gpu, indices in users.items():
        shares = [memory_share(usable[index]) for index in indices]
        total = sum(share for share in shares if share is not None)
        if len(indices) > 1 and total > 1.0:
            names = " and ".join(
                f"{usable[index]['name']} ({'a fixed amount' if share is None else f'{share:g}'})"
                for index, share in zip(indices, shares)
            )
            problems.append(
                f"{VARIABLE}[{indices[-1]}].gpus: GPU {gpu} is shared by {names}, together {total:g} of its memory; "
                "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
            )
    return problems


# --- small helpers ----------------------------------------------------------------------------------------------------


def _restart_policy(value: object) -> object:
    return "no" if value is False else value


def _plain(value: t.Any) -> t.Any:
    """Return the value made of fresh built-in containers, so that a result never shares structure with its input."""
    if isinstance(value, t.Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
