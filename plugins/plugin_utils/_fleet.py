# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""What the playbooks derive from the inventory for the fleet as a whole. Pure functions; the filters are thin."""

from __future__ import annotations

import base64
import ipaddress
import typing as t

HOST_GATEWAY = "host.docker.internal"  # the name that the role open_webui gives its container for the host it runs on

Mapping = t.Mapping[str, t.Any]


def instance_models(instances: t.Sequence[Mapping]) -> list[dict[str, t.Any]]:
    """The models that a host's servers want from a hub, each once; keys that an instance leaves out stay out."""
    models: dict[str, dict[str, t.Any]] = {}
    for instance in instances:
        repo = str(instance.get("model") or "")
        if not repo or repo.startswith("/") or instance.get("state") == "absent":
            continue
        model = models.setdefault(repo, {"repo": repo})
        model.update({key: instance[key] for key in ("source", "revision") if instance.get(key)})
    return list(models.values())


def wants_gpus(instances: t.Sequence[Mapping]) -> bool:
    """Whether any server of a host is to run on GPUs."""
    return any(instance.get("gpus") and instance.get("state") != "absent" for instance in instances)


def server_url(endpoint: Mapping, server_host: str, web_host: str) -> str:
    """Base URL of a server's API as Open WebUI's container on ``web_host`` reaches it.

    A server bound to one address is reached there. One bound to all is reached by its host's address, or through the
    gateway to the host when both containers run on one machine.
    """
    bind = ipaddress.ip_address(str(endpoint["bind"]))
    if not bind.is_unspecified and not bind.is_loopback:
        host = str(bind)
    else:
        host = HOST_GATEWAY if server_host == web_host else str(endpoint["address"])
    return f"http://[{host}]:{endpoint['port']}/v1" if ":" in host else f"http://{host}:{endpoint['port']}/v1"


def connection_problems(endpoints: Mapping, web_hosts: t.Sequence[str]) -> list[str]:
    """Servers that no Open WebUI of the fleet could reach."""
    problems = []
    for host, servers in endpoints.items():
        for server in servers:
            if not ipaddress.ip_address(str(server["bind"])).is_loopback:
                continue
            problems.extend(
                f"{host}: {server['where']}.bind: {server['bind']} can be reached from {host} alone, "
                f"so Open WebUI on {web_host} cannot connect; bind to an address of the host or to 0.0.0.0"
                for web_host in web_hosts
            )
    return problems


def told_endpoints(hosts: t.Sequence[str], hostvars: Mapping) -> dict[str, list[dict[str, t.Any]]]:
    """What the role vllm_server told about the servers of each host; a host that failed before told nothing."""
    return {
        host: hostvars[host]["vllm_server_endpoints"] for host in hosts if "vllm_server_endpoints" in hostvars[host]
    }


def connections(endpoints: Mapping, web_host: str) -> list[dict[str, t.Any]]:
    """One connection for each running server of the fleet, as Open WebUI on ``web_host`` is to have it.

    ``endpoints`` maps a host to its servers. Servers of different hosts that serve the same model name are told apart
    by a prefix, the host's name; Open WebUI would otherwise show only the first of them.
    """
    running = [
        (host, server) for host, servers in endpoints.items() for server in servers if server["state"] == "started"
    ]
    holders: dict[str, set[str]] = {}
    for host, server in running:
        for name in server["served_model_names"]:
            holders.setdefault(name, set()).add(f"{host}/{server['name']}")
    result = []
    for host, server in running:
        shared = any(len(holders[name]) > 1 for name in server["served_model_names"])
        prefix = host if shared else ""
        result.append(
            {
                "host": host,
                "server": server["name"],
                "url": server_url(server, host, web_host),
                "key_file": server["key_file"],
                "prefix_id": prefix,
                "models": [f"{prefix}.{name}" if prefix else name for name in server["served_model_names"]],
            }
        )
    return result


def with_keys(servers: t.Sequence[Mapping], read: t.Sequence[Mapping]) -> list[dict[str, t.Any]]:
    """The options of open_webui_connection for ``servers``, each with the first key of its key file.

    ``read`` holds the results of ansible.builtin.slurp over the servers that have a key file. A file that is not there
    yet, in check mode, leaves the key out, which means that the key in use stays.
    """
    keys = {
        (result["item"]["host"], result["item"]["server"]): base64.b64decode(result["content"]).decode().split()[0]
        for result in read
        if result.get("content")
    }
    declared = []
    for server in servers:
        connection = {"url": server["url"], "prefix_id": server["prefix_id"]}
        if not server["key_file"]:
            connection["key"] = ""
        elif (server["host"], server["server"]) in keys:
            connection["key"] = keys[server["host"], server["server"]]
        declared.append(connection)
    return declared


def table(rows: t.Sequence[Mapping], columns: t.Sequence[str]) -> list[str]:
    """Lines of a plain table: a head, then a line for each row; a missing value is a dash."""
    cells = [list(columns)] + [
        ["-" if row.get(column) in (None, "") else str(row[column]) for column in columns] for row in rows
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
