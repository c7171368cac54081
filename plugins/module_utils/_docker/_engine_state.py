# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running engine says of itself, and what of daemon.json it has not taken up."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import typing as t

from .._secret_env import is_secret
from ._dockerd import added_runtimes
from ._needs import RELOAD, RESTART

Info = t.Mapping[str, t.Any]

# The user and password of an address, up to its last "@", for a password may hold anything. Dockerd takes addresses
# without a scheme, too.
_USER_INFO = re.compile(
    r"://(?:[^\s\"]*:[^\s\"]*|[^/\s\"@]+)@|(?<![^\s\"=,])[^\s\"/:@=,]+:(?!//)[^\s\"@]+@(?=[^\s\"@]*[:.\"])"
)
# A setting with its value, in the file and on a command line; log drivers have tokens, such as "splunk-token".
_NAMED = re.compile(
    r"(?P<file>\"(?P<key>(?:[^\"\\\n]|\\.)*)\"\s*:\s*\")(?P<value>(?:[^\"\\\n]|\\.)+)(?=\")"
    r"|(?P<flag>(?<![\w\"-])(?:--[a-z-]*-opts?=)?(?P<name>[\w-]+)=)(?P<word>[^\s\",]+)"
)
MASKED = "********"


def mask(text: str) -> str:
    """Mask users and passwords in addresses, such as those of proxies, and what is named a secret."""
    found = _USER_INFO.sub(lambda match: ("://" if match.group().startswith("://") else "") + f"{MASKED}@", text)
    return _NAMED.sub(_masked, found)


def _masked(match: re.Match[str]) -> str:
    name, value = match["key"] or match["name"] or "", match["value"] or match["word"]
    return (match["file"] or match["flag"]) + MASKED if _is_named_secret(name, value) else match.group()


def _is_named_secret(name: str, value: str) -> bool:
    """Return whether a setting's name says that its value is a secret; the path of a key's file is not."""
    return is_secret(name.replace("-", "_"), "") and not value.startswith("/")


def holds_secret(text: str) -> bool:
    """Return whether a text holds an address with a user and password."""
    return bool(_USER_INFO.search(text))


def secrets_in(value: t.Any) -> set[str]:
    """Return what must not be shown of a setting: in each address, all that stands before its last "@", and what is
    named a secret."""
    if isinstance(value, dict):
        named = {one for key, one in value.items() if isinstance(one, str) and _is_named_secret(str(key), one)}
        # A short one would be found, and blotted out, in words that are no secret.
        return {one for one in named if len(one) > 3} | {found for one in value.values() for found in secrets_in(one)}
    if isinstance(value, (list, tuple)):
        return {found for one in value for found in secrets_in(one)}
    if not isinstance(value, str) or not holds_secret(value):
        return set()
    user = value.rpartition("@")[0].rpartition("://")[2]
    # A short part would be found, and blotted out, in words that are no secret.
    return {part for part in (user, user.partition(":")[2]) if len(part) > 3}


def _list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _dict(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: t.Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def describe_engine(
    info: Info | None,
    gpu_containers: t.Sequence[str] = (),
    command_line: t.Sequence[str] = (),
    held_ports: t.Sequence[str] = (),
    network_problem: str | None = None,
) -> dict[str, t.Any]:
    """Describe the engine as the modules return it; every key is there for an engine that does not run, too."""
    data: Info = info or {}
    security = [str(option) for option in _list(data.get("SecurityOptions"))]
    return {
        "running": info is not None,
        "version": data.get("ServerVersion"),
        "runtimes": sorted(map(str, _dict(data.get("Runtimes")))),
        "default_runtime": data.get("DefaultRuntime"),
        "live_restore": bool(data.get("LiveRestoreEnabled")),
        "cgroup_driver": data.get("CgroupDriver"),
        "cgroup_version": data.get("CgroupVersion"),
        "data_root": data.get("DockerRootDir"),
        "cdi_spec_dirs": [str(folder) for folder in _list(data.get("CDISpecDirs"))],
        "containers_running": _whole(data.get("ContainersRunning")),
        "gpu_containers": sorted(gpu_containers),
        "command_line": [mask(argument) for argument in command_line],
        "stale_ports": list(held_ports),
        "network_problem": network_problem,
        "rootless": any("name=rootless" in option for option in security),
        "swarm": _dict(data.get("Swarm")).get("LocalNodeState") == "active",
    }


def uses_gpu(container: t.Mapping[str, t.Any]) -> bool:
    """Say whether a container, as the engine describes it, was given NVIDIA GPUs, in any of the ways to give them."""
    host = _dict(container.get("HostConfig"))
    runtime = host.get("Runtime")
    if isinstance(runtime, str) and runtime.startswith("nvidia"):
        return True
    for request in map(_dict, _list(host.get("DeviceRequests"))):
        driver = str(request.get("Driver") or "")
        wanted = [capability for group in _list(request.get("Capabilities")) for capability in _list(group)]
        if driver.startswith("nvidia") or "gpu" in wanted:
            return True
        if any(str(device).startswith("nvidia.com/gpu") for device in _list(request.get("DeviceIDs"))):
            return True
    devices = map(_dict, _list(host.get("Devices")))
    return any(str(device.get("PathOnHost", "")).startswith("/dev/nvidia") for device in devices)


def pending(
    configuration: t.Mapping[str, t.Any],
    info: Info,
    realpath: t.Callable[[str], str] = posixpath.normpath,
    command_line: t.Sequence[str] | None = None,
    taken_out: t.Collection[str] = (),
) -> dict[str, str]:
    """Return the keys of the file that the engine has not taken up, with what it needs for that, as its /info tells.

    This finds out a run that stopped between writing the file and restarting the engine, and a change made by hand.
    ``command_line`` is that of the engine, None where it is not known: runtimes that it adds are no news. ``taken_out``
    are runtimes that must be gone.
    """
    found = {}
    for key, (need, holds) in _CHECKS.items():
        value = configuration.get(key)
        if value is not None and not holds(value, info, realpath):
            found[key] = need
    if _left_runtimes(configuration.get("runtimes"), info, command_line, taken_out):
        found["runtimes"] = RELOAD
    return found


def _left_runtimes(
    value: t.Any, info: Info, command_line: t.Sequence[str] | None, taken_out: t.Collection[str]
) -> set[str]:
    """Return the runtimes that the engine has and the file no longer has.

    Others may give it runtimes, too: only where its command line is known can one tell theirs from those of the file.
    """
    has = info.get("Runtimes")
    if not isinstance(has, dict) or not (value is None or isinstance(value, dict)):
        return set()
    added = added_runtimes(command_line or ())
    # Names with dots are the engine's own.
    foreign = {
        str(name) for name in has if name not in (value or {}) and name != "runc" and "." not in str(name)
    } - added
    return foreign if command_line and isinstance(value, dict) else foreign.intersection(taken_out)


_Holds = t.Callable[[t.Any, Info, t.Callable[[str], str]], bool]


def _runtimes(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    has = info.get("Runtimes")
    if not isinstance(value, dict) or not isinstance(has, dict):
        return True
    for name, entry in value.items():
        if name not in has:
            return False
        path = entry.get("path") if isinstance(entry, dict) else None
        known = has[name] if isinstance(has[name], dict) else {}
        if path and known.get("path", path) != path:
            return False
    return True


def _default_runtime(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    return value == "" or info.get("DefaultRuntime") in (None, value)


def _live_restore(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    return info.get("LiveRestoreEnabled") in (None, value)


def _mirrors(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    registries = info.get("RegistryConfig")
    # dockerd does not start with anything but a list, so there is nothing to wait for.
    if not isinstance(registries, dict) or not isinstance(value, list):
        return True
    return {str(mirror).rstrip("/") for mirror in _list(registries.get("Mirrors"))} == {
        str(mirror).rstrip("/") for mirror in value
    }


def _insecure(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    registries = info.get("RegistryConfig")
    if not isinstance(registries, dict) or not isinstance(value, list):
        return True
    indexes = registries.get("IndexConfigs")
    has = {
        _registry(name)
        for name, index in (indexes if isinstance(indexes, dict) else {}).items()
        if isinstance(index, dict) and not index.get("Secure", True)
    }
    has.update(_registry(network) for network in _list(registries.get("InsecureRegistryCIDRs")))
    return all(_registry(registry) in has for registry in value)


def _registry(written: t.Any) -> str:
    """Return a registry's host, or a network of registries, as the engine writes it."""
    host = str(written).split("://", 1)[-1]
    try:
        return str(ipaddress.ip_network(host, strict=False)) if "/" in host else host
    except ValueError:
        return host


def _data_root(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    has = info.get("DockerRootDir")
    # With user namespaces, the engine's root is a folder in it.
    return (
        not isinstance(has, str)
        or not isinstance(value, str)
        or "\0" in value
        or (has + "/").startswith(realpath(value).rstrip("/") + "/")
    )


def _log_driver(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    return info.get("LoggingDriver") in (None, value)


def _features(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    if not isinstance(value, dict) or "cdi" not in value or "CDISpecDirs" not in info:
        return True
    return bool(info["CDISpecDirs"]) == bool(value["cdi"])


def _exec_opts(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    for option in value if isinstance(value, list) else []:
        name, _equals, driver = str(option).partition("=")
        if name == "native.cgroupdriver" and info.get("CgroupDriver") not in (None, driver):
            return False
    return True


def _proxies(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    if not isinstance(value, dict) or "HttpProxy" not in info:
        return True
    for key, field in (("http-proxy", "HttpProxy"), ("https-proxy", "HttpsProxy"), ("no-proxy", "NoProxy")):
        wanted = value.get(key)
        # The engine masks a user and password, so such an address cannot be compared.
        if wanted is not None and "@" not in str(wanted) and info.get(field) != wanted:
            return False
    return True


_CHECKS: dict[str, tuple[str, _Holds]] = {
    "runtimes": (RELOAD, _runtimes),
    "default-runtime": (RELOAD, _default_runtime),
    "live-restore": (RELOAD, _live_restore),
    "registry-mirrors": (RELOAD, _mirrors),
    "insecure-registries": (RELOAD, _insecure),
    "data-root": (RESTART, _data_root),
    "log-driver": (RESTART, _log_driver),
    "features": (RESTART, _features),
    "exec-opts": (RESTART, _exec_opts),
    "proxies": (RESTART, _proxies),
}
