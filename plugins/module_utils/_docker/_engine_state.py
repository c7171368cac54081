# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running engine says of itself, and what of daemon.json it has not taken up."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._needs import NONE, RELOAD, RESTART, strongest

Info = t.Mapping[str, t.Any]

_USER_INFO = re.compile(r"://[^/@\s\"]+@")


def mask(text: str) -> str:
    """Users and passwords in addresses, such as those of proxies, are nobody's business."""
    return _USER_INFO.sub("://********@", text)


def describe_engine(
    info: Info | None,
    gpu_containers: t.Sequence[str] = (),
    command_line: t.Sequence[str] = (),
    held_ports: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """The engine as the modules return it; every key is there for an engine that does not run, too."""
    data: Info = info or {}
    security = [str(option) for option in data.get("SecurityOptions") or []]
    return {
        "running": info is not None,
        "version": data.get("ServerVersion"),
        "runtimes": sorted(data.get("Runtimes") or {}),
        "default_runtime": data.get("DefaultRuntime"),
        "live_restore": bool(data.get("LiveRestoreEnabled")),
        "cgroup_driver": data.get("CgroupDriver"),
        "cgroup_version": data.get("CgroupVersion"),
        "data_root": data.get("DockerRootDir"),
        "cdi_spec_dirs": list(data.get("CDISpecDirs") or []),
        "containers_running": int(data.get("ContainersRunning") or 0),
        "gpu_containers": sorted(gpu_containers),
        "command_line": [mask(argument) for argument in command_line],
        "stale_ports": list(held_ports),
        "rootless": any("name=rootless" in option for option in security),
        "swarm": (data.get("Swarm") or {}).get("LocalNodeState") == "active",
    }


def uses_gpu(container: t.Mapping[str, t.Any]) -> bool:
    """Whether a container, as the engine describes it, was given NVIDIA GPUs, in any of the ways there are."""
    host = container.get("HostConfig") or {}
    if str(host.get("Runtime") or "").startswith("nvidia"):
        return True
    for request in host.get("DeviceRequests") or []:
        driver = request.get("Driver") or ""
        wanted = [capability for group in request.get("Capabilities") or [] for capability in group]
        if driver.startswith("nvidia") or "gpu" in wanted:
            return True
        if any(str(device).startswith("nvidia.com/gpu") for device in request.get("DeviceIDs") or []):
            return True
    return any(str(device.get("PathOnHost", "")).startswith("/dev/nvidia") for device in host.get("Devices") or [])


def pending(
    configuration: t.Mapping[str, t.Any], info: Info, realpath: t.Callable[[str], str] = posixpath.normpath
) -> dict[str, str]:
    """Keys of the file that the engine has not taken up, with what it needs for that, as far as its /info tells.

    This finds out a run that stopped between writing the file and restarting the engine, and a change made by hand.
    """
    found = {}
    for key, (need, holds) in _CHECKS.items():
        value = configuration.get(key)
        if value is not None and not holds(value, info, realpath):
            found[key] = need
    return found


def pending_need(
    configuration: t.Mapping[str, t.Any], info: Info, realpath: t.Callable[[str], str] = posixpath.normpath
) -> str:
    return strongest(*pending(configuration, info, realpath).values()) if configuration else NONE


_Holds = t.Callable[[t.Any, Info, t.Callable[[str], str]], bool]


def _runtimes(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    has = info.get("Runtimes")
    if not isinstance(value, dict) or not isinstance(has, dict):
        return True
    for name, entry in value.items():
        if name not in has:
            return False
        path = entry.get("path") if isinstance(entry, dict) else None
        if path and (has[name] or {}).get("path", path) != path:
            return False
    # A runtime that the file no longer has. Names with dots are the engine's own.
    return not any(name not in value and name != "runc" and "." not in name for name in has)


def _default_runtime(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    return value == "" or info.get("DefaultRuntime") in (None, value)


def _live_restore(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    return info.get("LiveRestoreEnabled") in (None, value)


def _mirrors(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    has = (info.get("RegistryConfig") or {}).get("Mirrors")
    if has is None and "RegistryConfig" not in info:
        return True
    return {str(mirror).rstrip("/") for mirror in has or []} == {str(mirror).rstrip("/") for mirror in value}


def _insecure(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    registries = info.get("RegistryConfig")
    if not isinstance(registries, dict):
        return True
    has = {
        _registry(name)
        for name, index in (registries.get("IndexConfigs") or {}).items()
        if not (index or {}).get("Secure", True)
    }
    has.update(_registry(network) for network in registries.get("InsecureRegistryCIDRs") or [])
    return all(_registry(registry) in has for registry in value)


def _registry(written: t.Any) -> str:
    """A registry's host, or a network of registries, as the engine writes it."""
    host = str(written).split("://", 1)[-1]
    try:
        return str(ipaddress.ip_network(host, strict=False)) if "/" in host else host
    except ValueError:
        return host


def _data_root(value: t.Any, info: Info, realpath: t.Callable[[str], str]) -> bool:
    has = info.get("DockerRootDir")
    # With user namespaces, the engine's root is a folder in it.
    return has is None or not isinstance(value, str) or (has + "/").startswith(realpath(value).rstrip("/") + "/")


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
