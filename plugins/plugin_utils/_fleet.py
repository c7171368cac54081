# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""What the playbooks derive from the inventory for the fleet as a whole. Pure functions; the filters are thin."""

from __future__ import annotations

import base64
import collections
import ipaddress
import typing as t

HOST_GATEWAY = "host.docker.internal"  # the name that the role open_webui gives its container for the host it runs on

Mapping = t.Mapping[str, t.Any]


def instance_models(instances: t.Sequence[Mapping]) -> list[dict[str, t.Any]]:
    """The models that a host's servers want from a hub, each once; keys that an instance leaves out stay out."""
    models: dict[str, dict[str, t.Any]] = {}
    for instance in instances:
        if not isinstance(instance, t.Mapping):
            continue  # a problem that the role vllm_server tells
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
    fallback = HOST_GATEWAY if server_host == web_host else str(endpoint["address"])
    return f"http://{server_address(str(endpoint['bind']), fallback)}:{endpoint['port']}/v1"


def server_address(bind: str, fallback: str) -> str:
    """The address in a URL of what listens on ``bind``: that one, or ``fallback`` when it listens on all of them."""
    address = ipaddress.ip_address(bind)
    host = fallback if address.is_unspecified or address.is_loopback else str(address)
    return f"[{host}]" if ":" in host else host


def connection_problems(hosts: t.Sequence[str], hostvars: Mapping, web_hosts: t.Sequence[str]) -> list[str]:
    """Servers that are declared so that no Open WebUI could reach them, not even one on their own host."""
    problems: list[str] = []
    if not web_hosts:
        return problems
    for host in hosts:
        common = str(hostvars[host].get("vllm_server_bind") or "0.0.0.0")  # noqa: S104 - what the role itself takes
        for index, instance in enumerate(hostvars[host].get("vllm_server_instances") or []):
            bind = str(instance.get("bind") or common)
            if instance.get("state", "started") == "started" and _is_loopback(bind):
                problems.append(
                    f"{host}: vllm_server_instances[{index}].bind: {bind} can be reached by programs of {host} itself "
                    f"alone, not by Open WebUI in its container on {', '.join(web_hosts)}; bind to an address of the "
                    "host or to 0.0.0.0"
                )
    return problems


def _is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False  # what is no address is a problem of its own, told by the role


def told_endpoints(hosts: t.Sequence[str], hostvars: Mapping) -> dict[str, list[dict[str, t.Any]]]:
    """What the role vllm_server told about the servers of each host; a host that failed before, or that is not part of
    this run, told nothing."""
    return {
        host: hostvars[host]["vllm_server_endpoints"] for host in hosts if "vllm_server_endpoints" in hostvars[host]
    }


def connections(hosts: t.Sequence[str], hostvars: Mapping, web_host: str) -> list[dict[str, t.Any]]:
    """One connection for each running server that told where it is, as Open WebUI on ``web_host`` is to have it.

    Servers that serve the same model name are told apart by a prefix; Open WebUI would otherwise show only the first of
    them. The prefix is the host's name, with the server's where one host has several. The declaration of all hosts
    decides, not what runs or answers today: a host that is left out of a run, or a server that is stopped for an hour,
    must not give the models of the others new names.
    """
    told = told_endpoints(hosts, hostvars)
    declared = {host: _declared_names(hostvars[host], told.get(host)) for host in hosts}
    on_host = {host: collections.Counter(names) for host, names in declared.items()}
    in_fleet = sum(on_host.values(), collections.Counter())
    result = []
    for host, servers in told.items():
        for server in servers:
            if server["state"] != "started":
                continue
            served = list(server["served_model_names"])
            prefix = ""
            if any(on_host[host][name] > 1 for name in served):
                prefix = f"{host}-{server['name']}"
            elif any(in_fleet[name] > 1 for name in served):
                prefix = host
            result.append(
                {
                    "host": host,
                    "server": server["name"],
                    "url": server_url(server, host, web_host),
                    "key_file": server["key_file"],
                    "prefix_id": prefix,
                    "served": served,
                    "models": [f"{prefix}.{name}" if prefix else name for name in served],
                }
            )
    return result


def _declared_names(host: Mapping, told: t.Sequence[Mapping] | None) -> list[str]:
    """The names that the servers of a host serve, or would, once for each server: as told, or else as declared."""
    if told is not None:
        return [name for server in told for name in set(server["served_model_names"])]
    return [
        str(name)
        for instance in host.get("vllm_server_instances") or []
        if isinstance(instance, t.Mapping) and instance.get("state") != "absent"
        for name in set(instance.get("served_model_names") or [instance.get("name")])
    ]


def with_keys(servers: t.Sequence[Mapping], read: t.Sequence[Mapping], static: bool = False) -> list[dict[str, t.Any]]:
    """The options of open_webui_connection for ``servers``, each with the first key of its key file.

    ``read`` holds the results of ansible.builtin.slurp over the servers that have a key file. A file that is not there
    yet, in check mode, leaves the key out, which means that the key in use stays. With ``static``, Open WebUI is told
    which models a server has, and need not ask it.
    """
    keys = {
        (result["item"]["host"], result["item"]["server"]): base64.b64decode(result["content"]).decode().split()[0]
        for result in read
        if result.get("content")
    }
    declared = []
    for server in servers:
        models = server["served"] if static else []
        connection = {"url": server["url"], "prefix_id": server["prefix_id"], "model_ids": models}
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


def report(groups: t.Mapping[str, t.Sequence[str]], hostvars: Mapping) -> dict[str, list[str]]:
    """The end of a run: ``lines`` to read, and one line in ``failed`` for each host that did not come to its state.

    ``groups`` holds the names in gpu_hosts and webui_hosts. What hosts told is in their variables: fleet_failure,
    vllm_server_endpoints, open_webui_endpoint and open_webui_answers. A host that --limit leaves out has not failed.
    """
    rows = []
    lines = []
    failed = []
    for host in dict.fromkeys([*groups["gpu_hosts"], *groups["webui_hosts"]]):
        told = hostvars[host]
        expected = [
            key
            for key, group in (("vllm_server_endpoints", "gpu_hosts"), ("open_webui_endpoint", "webui_hosts"))
            if host in groups[group]
        ]
        if "fleet_failure" in told:
            failed.append(f"{host}: {told['fleet_failure']['stage']}: {told['fleet_failure']['message']}")
        elif any(key not in told for key in expected) and not _left_out(told):
            failed.append(f"{host}: did not come to the end of its steps; its last task above says why")
    for host in groups["gpu_hosts"]:
        rows += [_row(host, server) for server in hostvars[host].get("vllm_server_endpoints") or []]
    if rows:
        lines += table(rows, REPORT_COLUMNS)
    for host in groups["webui_hosts"]:
        lines += _web_lines(host, hostvars[host])
    lines += _next_lines(groups, hostvars, bool(failed))
    return {"lines": lines or ["nothing is declared: no server in gpu_hosts, no host in webui_hosts"], "failed": failed}


def _left_out(told: Mapping) -> bool:
    """Whether --limit leaves a host out of this run: nobody has tried to reach it."""
    return bool(told.get("ansible_limit")) and "fleet_reached" not in told


def _next_lines(groups: t.Mapping[str, t.Sequence[str]], hostvars: Mapping, failed: bool) -> list[str]:
    """What one can do now."""
    lines = []
    web = next((host for host in groups["webui_hosts"] if hostvars[host].get("open_webui_endpoint")), None)
    if web:
        lines.append(f"  chat: open {web_url(web, hostvars[web])} and choose a model")
    for host in groups["gpu_hosts"]:
        ready = [one for one in hostvars[host].get("vllm_server_endpoints") or [] if one.get("status") == "ready"]
        if ready:
            one = ready[0]
            key = f"a key from {one['key_file']} on {host}" if one["key_file"] else "no key"
            names = one["served_model_names"]
            lines.append(f"  call: base URL {server_url(one, host, '')}, model {names[0]}, {key}")
            break
    if failed:
        lines.append(
            "  mend: correct what is listed as failed and run the same command again; it goes on where it stopped"
        )
    if lines:
        lines.append("  look: ansible-playbook private_llm.fleet.report draws the fleet as a page")
    return ["Next:", *lines] if lines else []


REPORT_COLUMNS = ("host", "server", "serves", "address", "state", "KV tokens", "at once", "started in")


def _row(host: str, server: Mapping) -> dict[str, str]:
    ready = server.get("ready") or {}
    tokens, concurrency, seconds = (ready.get(key) for key in ("kv_cache_tokens", "max_concurrency", "seconds"))
    return {
        "host": host,
        "server": str(server["name"]),
        "serves": ", ".join(server["served_model_names"]),
        "address": server_url(server, host, ""),
        "state": str(server.get("status") or server["state"]),
        "KV tokens": f"{tokens:,}" if tokens else "",
        "at once": f"{concurrency:.1f}" if concurrency else "",
        "started in": f"{seconds:.0f} s" if seconds else "",
    }


def web_url(host: str, told: Mapping) -> str:
    """The address of Open WebUI for a person's browser, from what its host told in open_webui_endpoint."""
    web = told["open_webui_endpoint"]
    bind = str(web["bind"])
    loopback = ipaddress.ip_address(bind).is_loopback
    address = bind if loopback else server_address(bind, str(told.get("ansible_host") or host))
    return f"http://{address}:{web['port']}"


def _web_lines(host: str, told: Mapping) -> list[str]:
    web = told.get("open_webui_endpoint")
    if not web:
        return []
    password = f"password in {web['password_file']} on {host}" if web["password_file"] else "password as declared"
    lines = [f"Open WebUI: {web_url(host, told)}  sign in as {web['admin_email']}, {password}"]
    answers = (told.get("open_webui_answers") or {}).get("answers") or []
    lines += [f'{one["model"]} answered in {one["seconds"]:.1f} s: "{one["answer"].strip()}"' for one in answers]
    return lines
