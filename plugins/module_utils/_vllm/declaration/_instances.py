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
import typing as t

from ... import _paths
from ..._endpoint import scheme_of
from ..._printable import printable
from ..options._argv import normal_name
from ..options._options import check as check_engine
from ..options._release import release_of, repository_of
from ..options._suggestions import did_you_mean, kind, shown, value_problem, whole_number
from ._checks import HUB_ID, is_path, is_port, mount_target, restart_policy, share_of
from ._rows import CHECKS, DEFAULTS, DOWNLOAD_KEYS, KEYS, LISTS, MAPPINGS, OPTIONS

VARIABLE = "vllm_server_instances"
SECRETS_ROOT = _paths.SERVER_SECRETS

Instance = t.Mapping[str, t.Any]


class InstanceError(ValueError):
    """Instances that have no normal form, because they are wrong."""


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
        elif key in MAPPINGS and not isinstance(value, t.Mapping):
            problems.append(f"{where}.{key}: must be a mapping, not {kind(value)}")
        elif key in LISTS and not isinstance(value, (list, tuple)):
            problems.append(f"{where}.{key}: must be a list, not {kind(value)}")
        elif key not in (*MAPPINGS, *LISTS, "gpus") and isinstance(value, (t.Mapping, list, tuple)):
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
    # Nobody but the download needs it, and it takes it from the declaration.
    result["token"] = None
    for key in MAPPINGS:
        result[key] = {**base[key], **given.get(key, {})}
    result["volumes"] = list(base["volumes"]) + list(given.get("volumes", []))
    result["served_model_names"] = given.get("served_model_names") or ([name] if name else [])
    result["restart_policy"] = restart_policy(result["restart_policy"])
    if is_port(given.get("port")):
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
    options = {key: _plain(instance[key]) for key in OPTIONS if instance.get(key) is not None}
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
            texts = [f": {found}"] if found else CHECKS[key](value)
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
    for key, check in CHECKS.items():
        if instance.get(key) is not None:
            # What an option of vLLM holds is told with its name.
            problem = None if key == "engine" else value_problem(instance[key])
            problems.extend(f"{where}.{key}{text}" for text in ([f": {problem}"] if problem else check(instance[key])))
    return problems


def option_problems(options: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with one server's options by themselves, for a module that was given them as such."""
    problems = [
        f"{key}{text}" for key, check in CHECKS.items() if options.get(key) is not None for text in check(options[key])
    ]
    if not problems and options.get("image") and options.get("state") != "absent":
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
    if isinstance(model, str) and HUB_ID.fullmatch(model):
        problems.append(f"model: {shown(model)} is a hub id; download it first, and name the absolute path on the host")
    return problems


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
            for key in DOWNLOAD_KEYS
            if given.get(key)
        )
    problems.extend(_archive_problems(where, given))
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


def _archive_problems(where: str, given: Instance) -> list[str]:
    """Find an archive that is not named, and keys that say nothing because of the source that was chosen."""
    source = given.get("source") or ("archive" if given.get("archive") else "")
    if source == "archive":
        if not given.get("archive"):
            return [f"{where}.archive: is required with source: archive; name the folder or tar file with the model"]
        unused = [key for key in ("endpoint", "token") if given.get(key)]
    else:
        unused = [key for key in ("archive", "archive_on") if given.get(key)]
    return [
        f"{where}.{key}: has no meaning with source: {source or 'a hub'}; leave one of the two out" for key in unused
    ]


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
            return [f"{where}.engine.{name}: {shown(size)} is not a count of GPUs"]
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
            for key in DOWNLOAD_KEYS
            if instance[key] != present[first][key]
        )
    return problems


def memory_share(instance: t.Mapping[str, t.Any]) -> float | None:
    """Return the part of each of its GPUs that a server takes; None when what is stated is not a share.

    vLLM wants this much of a GPU free when it starts, also where kv_cache_memory_bytes says what the KV cache takes
    (request_memory in vllm/v1/worker/utils.py of 0.23.0 and 0.32.0).
    """
    engine = instance["engine"]
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
                f"{usable[index]['name']} ({'not known' if share is None else f'{share:g}'})"
                for index, share in zip(indices, shares)
            )
            problems.append(
                f"{VARIABLE}[{indices[-1]}].gpus: GPU {gpu} is shared by {names}, together {total:g} of its memory; "
                "give them different GPUs, or set engine.gpu_memory_utilization of each so that the sum is at most 1"
            )
    return problems


# --- small helpers ----------------------------------------------------------------------------------------------------


def _plain(value: t.Any) -> t.Any:
    """Return the value made of fresh built-in containers, so that a result never shares structure with its input."""
    if isinstance(value, t.Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
