# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers behind a gateway, from the inventory. Pure.

What is declared decides, not what runs or answers today: a host that is left out of a run keeps its place behind the
gateway. What a server measured of itself is added where it is known.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ...module_utils._endpoint import Endpoint, EndpointError, listening, parse, scheme_of
from ...module_utils._vllm.declaration._instances import InstanceError, normal_instances
from .._fleet import ENDPOINT, connections, keys_in
from .._host_vars import FLAG, LINE, MAPPING, WHOLE, HostVars, conform, of_hosts, silent

HERE = "127.0.0.1"
PORT = 8000  # the default of gateway_port
KEYS = "/etc/private_llm/gateway/keys"
WEB_USER = "open-webui"


def servers(hosts: t.Any, hostvars: t.Any, gateway_host: t.Any) -> list[dict[str, t.Any]]:
    """Return the servers that a gateway on ``gateway_host`` stands in front of, as ``gateway_servers`` has them."""
    here = conform(gateway_host, LINE, "gateway_host", silent) or ""
    found = []
    for name, host in of_hosts(hosts, hostvars).items():
        told = {one["name"]: one for one in host.read("vllm_server_endpoints", [ENDPOINT])}
        for instance in declared(host):
            try:
                endpoint = _endpoint(instance, host, here)
            except EndpointError:
                continue  # the role vllm_server tells it
            ready = told.get(instance["name"], {}).get("ready") or {}
            found.append(
                {
                    "name": f"{name}:{instance['name']}",
                    "host": name,
                    "server": instance["name"],
                    "url": endpoint.url,
                    "models": instance["served_model_names"],
                    "model": instance["model"],
                    "key_file": instance["key_file"],
                    "max_concurrency": ready.get("max_concurrency"),
                    "start_seconds": ready.get("seconds"),
                    "share": instance["share"],
                    "unreachable": _unreachable(instance, name, here),
                }
            )
    return found


def declared(host: HostVars) -> list[dict[str, t.Any]]:
    """Return the servers of a host that are to run, with every key that a gateway needs."""
    common = {
        "bind": host.read("vllm_server_bind", LINE) or "0.0.0.0",  # noqa: S104 - what the role itself takes
        "engine": host.read("vllm_server_engine", MAPPING) or {},
    }
    found = []
    for instance in host.instances():
        try:
            normal = normal_instances([instance], common)[0]
        except InstanceError:
            continue  # the role vllm_server tells it
        if normal["state"] == "started" and _named(normal) and isinstance(normal["port"], int):
            found.append(normal)
    return found


def _named(instance: t.Mapping[str, t.Any]) -> bool:
    """Say whether a server and what it serves have names that can be shown; else the role vllm_server tells it."""
    names = [instance["name"], instance["model"], *instance["served_model_names"]]
    return all(isinstance(name, str) and name.isprintable() for name in names) and bool(instance["name"])


def with_keys(derived: t.Any, read: t.Any) -> list[dict[str, t.Any]]:
    """Return the servers with the keys that they ask for; one whose key could not be read keeps the one it had.

    ``read`` holds the results of ansible.builtin.slurp over the servers that have a key file.
    """
    keys = keys_in(read).found
    return [
        {**server, "keyed": bool(server.get("key_file")), "key": keys.get((server["host"], server["server"]))}
        for server in conform(derived, [MAPPING], "servers", silent)
        if isinstance(server.get("host"), str) and isinstance(server.get("server"), str)
    ]


def _endpoint(instance: t.Mapping[str, t.Any], host: HostVars, here: str) -> Endpoint:
    if instance["url"]:
        return parse(instance["url"])
    address = HERE
    if host.name != here:
        address = host.read("vllm_server_address", LINE) or host.address()
    return listening(scheme_of(instance["engine"]), str(instance["bind"]), instance["port"], address)


def _unreachable(instance: t.Mapping[str, t.Any], host: str, here: str) -> str:
    """Return why the gateway could not reach a server; empty where it can."""
    try:
        local = ipaddress.ip_address(str(instance["bind"])).is_loopback
    except ValueError:
        return ""
    if instance["url"] or host == here or not local:
        return ""
    return (
        f"bind {instance['bind']} lets programs of {host} itself alone reach it; bind to an address of the host or to "
        "0.0.0.0 (vllm_server_instances)"
    )


def endpoint_of(host: HostVars) -> Endpoint:
    """Return where a gateway is for others."""
    public = host.read("gateway_public_url", LINE)
    if public:
        return parse(public)
    address = host.read("gateway_address", LINE) or host.address()
    tls = any(
        (
            host.read("gateway_certificate_files", [LINE]),
            host.read("gateway_internal_ca", FLAG),
            host.read("gateway_acme", FLAG),
        )
    )
    scheme = "https" if tls else "http"
    bind = host.read("gateway_bind", LINE) or "0.0.0.0"  # noqa: S104 - what the role itself takes
    return listening(scheme, bind, host.read("gateway_port", WHOLE) or PORT, address)


def fleet_connections(
    hosts: t.Any, hostvars: t.Any, web_host: t.Any, gateway_hosts: t.Any = ()
) -> list[dict[str, t.Any]]:
    """Return the connections of an Open WebUI: to the gateway, or to each server where there is none."""
    if conform(gateway_hosts, [LINE], "gateway_hosts", silent):
        return connection(hosts, hostvars, gateway_hosts)
    return connections(hosts, hostvars, web_host)


def connection(hosts: t.Any, hostvars: t.Any, gateway_hosts: t.Any) -> list[dict[str, t.Any]]:
    """Return the one connection of an Open WebUI that stands behind a gateway, as ``fleet_connections`` has them."""
    gateways = of_hosts(gateway_hosts, hostvars)
    for name, gateway in gateways.items():
        try:
            endpoint = endpoint_of(gateway)
        except EndpointError:
            continue  # the role gateway tells it
        served = sorted({model for server in servers(hosts, hostvars, name) for model in server["models"]})
        if not served:
            return []
        return [
            {
                "host": name,
                "server": "gateway",
                "url": endpoint.api,
                "key_file": f"{KEYS}/{WEB_USER}",
                "prefix_id": "",
                "served": served,
                "models": served,
            }
        ]
    return []
