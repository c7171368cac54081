# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Prometheus asks for metrics, from the inventory. Pure.

What is declared decides, not what runs or answers today: a server that is down has to be missed.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t

from ...module_utils._endpoint import Endpoint, EndpointError, parse
from .._host_vars import ANY, LINE, WHOLE, HostVars, conform, of_hosts, silent
from .._problem import Problem
from ..gateway import _derive

SERVER, GATEWAY, HOST, DCGM = "server", "gateway", "host", "dcgm"
KINDS = (SERVER, GATEWAY, HOST, DCGM)
EXPORTER_PORT = 9100  # the default of monitoring_exporter_port
DCGM_PORT = 9400  # the default of monitoring_dcgm_port
GATEWAY_PORT = 8405  # the default of gateway_metrics_port
LOOPBACK = "127.0.0.1"
METRICS = "/metrics"
TARGETS = "monitoring_targets"

TARGET = {
    "kind!": LINE,
    "name!": LINE,
    "url!": LINE,
    "host": LINE,
    "server": LINE,
    "model": LINE,
    "gpus": [LINE],
    "gpu_count": WHOLE,
    "unreachable": LINE,
}
GROUPS = {
    "gpu_hosts": [LINE],
    "webui_hosts": [LINE],
    "gateway_hosts": [LINE],
    "monitoring_hosts": [LINE],
}


def targets(groups: t.Any, hostvars: t.Any, monitoring_host: t.Any) -> list[dict[str, t.Any]]:
    """Return all that a Prometheus on ``monitoring_host`` asks, as ``monitoring_targets`` has them."""
    members = conform(groups, GROUPS, "groups", silent)
    here = conform(monitoring_host, LINE, "monitoring_host", silent) or ""
    names = list(dict.fromkeys(name for group in GROUPS for name in members.get(group) or []))
    hosts = of_hosts(names, hostvars)
    gpu_hosts = {name: hosts[name] for name in members.get("gpu_hosts") or []}
    return [
        *_servers(gpu_hosts, hostvars, here),
        *(_gateway(hosts[name], here) for name in members.get("gateway_hosts") or []),
        *(_host(host, here) for host in hosts.values()),
        *(_dcgm(host, here) for host in gpu_hosts.values() if host.read("monitoring_dcgm_image", LINE)),
    ]


def _servers(hosts: t.Mapping[str, HostVars], hostvars: t.Any, here: str) -> list[dict[str, t.Any]]:
    gpus = {
        (name, instance.get("name")): conform(instance.get("gpus"), ANY, "gpus", silent)
        for name, host in hosts.items()
        for instance in host.instances()
        if isinstance(instance.get("name"), str)
    }
    found = []
    for server in _derive.servers(list(hosts), hostvars, here):
        listed, count = _gpus(gpus.get((server["host"], server["server"])))
        found.append(
            {
                "kind": SERVER,
                "name": server["name"],
                "url": server["url"],
                "host": server["host"],
                "server": server["server"],
                "model": server["models"][0] if server["models"] else server["server"],
                "gpus": listed,
                "gpu_count": count,
                "unreachable": server["unreachable"],
            }
        )
    return found


def _gpus(declared: t.Any) -> tuple[list[str], int]:
    """Return the GPUs that a server names, and how many it has; a server that gives a number names none."""
    if isinstance(declared, (list, tuple)):
        named = conform(declared, [LINE], "gpus", silent)
        return named, len(named)
    if isinstance(declared, int) and not isinstance(declared, bool) and 0 < declared < 2**16:
        return [], declared
    return [], 0


def _gateway(host: HostVars, here: str) -> dict[str, t.Any]:
    port = host.read("gateway_metrics_port", WHOLE) or GATEWAY_PORT
    return _listener(GATEWAY, host, here, "gateway_metrics_bind", port)


def _host(host: HostVars, here: str) -> dict[str, t.Any]:
    port = host.read("monitoring_exporter_port", WHOLE) or EXPORTER_PORT
    return _listener(HOST, host, here, "monitoring_exporter_bind", port)


def _dcgm(host: HostVars, here: str) -> dict[str, t.Any]:
    port = host.read("monitoring_dcgm_port", WHOLE) or DCGM_PORT
    return _listener(DCGM, host, here, "monitoring_exporter_bind", port)


def _listener(kind: str, host: HostVars, here: str, variable: str, port: int) -> dict[str, t.Any]:
    """Return the target of what listens on an address of a host, which is the loopback unless somebody says else."""
    bind = host.read(variable, LINE) or LOOPBACK
    address, unreachable = bind, ""
    try:
        listening = ipaddress.ip_address(bind)
    except ValueError:
        unreachable = f"{variable} is {bind!r}, which is not an IP address"
    else:
        if host.name == here:
            address = LOOPBACK if listening.is_unspecified else bind
        elif listening.is_unspecified:
            address = host.address()
        elif listening.is_loopback:
            unreachable = (
                f"it listens for programs of {host.name} itself alone; set {variable} to an address of the host that "
                f"{here or 'the monitoring host'} reaches, or to 0.0.0.0"
            )
    return {
        "kind": kind,
        "name": host.name,
        "url": Endpoint("http", address, port).url,
        "host": host.name,
        "server": "",
        "model": "",
        "gpus": [],
        "gpu_count": 0,
        "unreachable": unreachable,
    }


def problems(given: t.Any, host: str = "") -> list[Problem]:
    """Return what is wrong with targets, each with its variable."""
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "monitoring", text))

    seen: dict[tuple[str, str], int] = {}
    for index, target in enumerate(conform(given, [TARGET], TARGETS, note)):
        where, name = f"{TARGETS}[{index}]", target["name"]
        if target["kind"] not in KINDS:
            note(f"{where}.kind", f"is {target['kind']!r}; it must be one of {', '.join(KINDS)}")
        other = seen.setdefault((target["kind"], name), index)
        if other != index:
            note(f"{where}.name", f"{name} is also {TARGETS}[{other}]; give each a name of its own")
        try:
            parse(target["url"])
        except EndpointError as error:
            note(f"{where}.url", f"{name}: {error}")
        if target["unreachable"]:
            note(f"{where}.url", f"the metrics of {target['kind']} {name} cannot be read: {target['unreachable']}")
    return found


def readable(given: t.Any) -> list[dict[str, t.Any]]:
    """Return the targets that can be asked, each with its ``endpoint``; what is wrong is told by ``problems``."""
    found = []
    for target in conform(given, [TARGET], TARGETS, silent):
        if target["kind"] not in KINDS:
            continue
        try:
            found.append({**target, "endpoint": parse(target["url"])})
        except EndpointError:
            continue
    return found


def file_sd(given: t.Any, kind: str) -> str:
    """Return the targets of one kind as a file of Prometheus' file_sd_configs."""
    entries = []
    for target in readable(given):
        if target["kind"] != kind:
            continue
        endpoint = target["endpoint"]
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        labels = {
            "instance": target["name"],
            "__scheme__": endpoint.scheme,
            "__metrics_path__": endpoint.path + METRICS,
            **{key: target[key] for key in ("host", "server", "model") if target[key]},
        }
        port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
        entries.append({"targets": [f"{host}:{port}"], "labels": labels})
    return json.dumps(entries, indent=1, sort_keys=True) + "\n"
