# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbooks derive from the inventory for the fleet as a whole. Pure functions; the filters are thin."""

from __future__ import annotations

import base64
import binascii
import collections
import datetime
import typing as t

from ..module_utils import _units
from ..module_utils._endpoint import (
    Endpoint,
    EndpointError,
    listening,
    parse,
)
from ..module_utils._printable import printable
from ..module_utils._vllm.declaration._checks import key_problem
from ..module_utils._vllm.declaration._rows import DOWNLOAD_KEYS
from ._host_vars import (
    ANY,
    FLAG,
    LINE,
    NUMBER,
    TEXT,
    WHOLE,
    HostVars,
    conform,
    of_hosts,
    one_line,
    silent,
)
from ._problem import UNREADABLE, Problem, by_host

HOST_GATEWAY = "host.docker.internal"  # the name that the role open_webui gives its container for the host it runs on

Mapping = t.Mapping[str, t.Any]

READY = {"seconds": NUMBER, "kv_cache_tokens": WHOLE, "max_concurrency": NUMBER, "max_model_len": WHOLE}
# What the role server_watch saw of a server.
WATCH = {
    "state": LINE,
    "falls": WHOLE,
    "given_up": FLAG,
    "last_fall": {"at": NUMBER, "text": LINE, "action": LINE},
}
# What it saw of Open WebUI and the gateway, as the module server_watch_info tells it.
WATCHED = {"watched": [{"name!": LINE, **WATCH}]}
# What the role vllm_server tells of each server in vllm_server_endpoints.
ENDPOINT = {
    "name!": LINE,
    "address!": LINE,
    "bind!": LINE,
    "port!": WHOLE,
    "scheme": LINE,
    "url": LINE,
    "state": LINE,
    "served_model_names": [LINE],
    "key_file": LINE,
    "status": LINE,
    "ready": READY,
    "watch": WATCH,
}
FAILURE = {"stage": LINE, "message": TEXT}
WEB = {"bind!": LINE, "port!": WHOLE, "public_url": LINE, "admin_email": LINE, "password_file": LINE}
ANSWERS = {"answers": [{"model!": LINE, "seconds": NUMBER, "answer": TEXT}]}


def instances_of(declared: t.Any) -> list[dict[str, t.Any]]:
    """Return the entries of a ``vllm_server_instances`` that are mappings, as far as they can be evaluated.

    What else there is, is a problem that the role vllm_server tells.
    """
    entries = conform(declared, [ANY], "vllm_server_instances", silent)
    return [entry for entry in entries if isinstance(entry, dict)]


def instance_models(instances: t.Any) -> list[dict[str, t.Any]]:
    """Return the models that a host's servers want from a hub, each once; keys that an instance leaves out stay out."""
    models: dict[str, dict[str, t.Any]] = {}
    for instance in instances_of(instances):
        repo = instance.get("model")
        if not isinstance(repo, str) or not repo or repo.startswith("/") or instance.get("state") == "absent":
            continue
        model = models.setdefault(repo, {"repo": repo})
        model.update({key: instance[key] for key in DOWNLOAD_KEYS if instance.get(key)})
        if model.get("archive"):
            model.setdefault("source", "archive")
    return list(models.values())


def wants_gpus(instances: t.Any) -> bool:
    """Say whether any server of a host is to run on GPUs."""
    return any(instance.get("gpus") and instance.get("state") != "absent" for instance in instances_of(instances))


def server_endpoint(server: Mapping, server_host: str, web_host: str) -> Endpoint:
    """Return where the API of a server is, for Open WebUI's container on ``web_host``.

    A server that declares a URL is reached there. One that is bound to one address is reached at that one; one bound to
    all of them by its host's address, or through the gateway to the host when both containers run on one machine. A
    certificate does not name that gateway, so a server with TLS is reached by its host's address from everywhere.
    """
    if server.get("url"):
        return parse(str(server["url"]))
    scheme = str(server.get("scheme") or "http")
    beside = server_host == web_host and scheme == "http"
    return listening(
        scheme, str(server["bind"]), int(server["port"]), HOST_GATEWAY if beside else str(server["address"])
    )


def server_url(server: Mapping, server_host: str, web_host: str) -> str:
    """Return the base URL of a server's API, as clients are told it."""
    return server_endpoint(server, server_host, web_host).api


def unreachable_servers(hosts: t.Mapping[str, HostVars], web_hosts: t.Any) -> list[Problem]:
    """Find servers that are declared so that no Open WebUI could reach them, not even one on their own host."""
    problems: list[Problem] = []
    webs = ", ".join(conform(web_hosts, [LINE], "web_hosts", silent))
    if not webs:
        return problems
    for name, host in hosts.items():
        common = str(host.read("vllm_server_bind", LINE) or "0.0.0.0")  # noqa: S104 - what the role itself takes
        for index, instance in enumerate(host.read("vllm_server_instances", [ANY])):
            if not isinstance(instance, dict) or instance.get("url") or instance.get("state", "started") != "started":
                continue
            bind = str(instance.get("bind") or common)
            if _is_loopback(bind):
                text = (
                    f"{bind} can be reached by programs of {name} itself alone, not by Open WebUI in its container on "
                    f"{webs}; bind to an address of the host or to 0.0.0.0, or say in url where a proxy of the host "
                    "serves it"
                )
                problems.append(Problem(name, f"vllm_server_instances[{index}].bind", "unreachable", text))
    return problems


def connection_problems(hosts: t.Any, hostvars: t.Any, web_hosts: t.Any) -> list[str]:
    """Return the problems of unreachable servers as sentences."""
    return [problem.sentence for problem in unreachable_servers(of_hosts(hosts, hostvars), web_hosts)]


def _is_loopback(bind: str) -> bool:
    try:
        return listening("http", bind, 1, "").host == "" and bind not in ("0.0.0.0", "::")  # noqa: S104
    except EndpointError:
        return False  # what is no address is a problem of its own, told by the role


def told_servers(host: HostVars) -> list[dict[str, t.Any]]:
    """Return what the role vllm_server told about the servers of a host; leave out what has another form."""
    found = []
    for index, server in enumerate(host.read("vllm_server_endpoints", [ENDPOINT])):
        try:
            server_endpoint(server, host.name, "")
        except EndpointError as error:
            where = f"vllm_server_endpoints[{index}]"
            host.notes.append(Problem(host.name, where, UNREADABLE, f"{server['name']}: {error}; it is left out"))
            continue
        found.append({**server, "served_model_names": server["served_model_names"] or [server["name"]]})
    return found


def connections(hosts: t.Any, hostvars: t.Any, web_host: t.Any) -> list[dict[str, t.Any]]:
    """Return one connection for each running server that told where it is, as Open WebUI on ``web_host`` is to have it.

    Servers that serve the same model name are told apart by a prefix; Open WebUI would otherwise show only the first of
    them. The prefix is the host's name, with the server's where one host has several. The declaration of all hosts
    decides, not what runs or answers today: a host that is left out of a run, or a server that is stopped for an hour,
    must not give the models of the others new names.
    """
    read = of_hosts(hosts, hostvars)
    web_host = conform(web_host, LINE, "web_host", silent)
    told = {name: told_servers(host) for name, host in read.items() if host.has("vllm_server_endpoints")}
    declared = {name: _declared_names(host, told.get(name)) for name, host in read.items()}
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
                    "key_file": server["key_file"] or "",
                    "prefix_id": prefix,
                    "served": served,
                    "models": [f"{prefix}.{name}" if prefix else name for name in served],
                }
            )
    return result


def _declared_names(host: HostVars, told: t.Sequence[Mapping] | None) -> list[str]:
    """Return the names that a host's servers serve, or would, once for each server: as told, or else as declared."""
    if told is not None:
        return [name for server in told for name in set(server["served_model_names"])]
    names = []
    for instance in host.instances():
        if instance.get("state") == "absent":
            continue
        served = instance.get("served_model_names")
        own = [one for one in served if isinstance(one, str)] if isinstance(served, list) else []
        if not own and isinstance(instance.get("name"), str):
            own = [instance["name"]]
        names += list(set(own))
    return names


READ_KEY = {
    "item": {"host!": LINE, "server!": LINE, "key_file": LINE},
    "content": TEXT,
    "failed": ANY,
    "unreachable": ANY,
    "msg": LINE,
}


class Keys(t.NamedTuple):
    """First keys by host and server, and why there is none of the others."""

    found: dict[tuple[str, str], str]
    problems: list[Problem]


def keys_in(read: t.Any) -> Keys:
    """Return the keys in the results of ansible.builtin.slurp over servers with a key file."""
    found: dict[tuple[str, str], str] = {}
    problems = []
    for result in conform(read, [READ_KEY], "keys", silent):
        item = result["item"]
        if not item:
            continue
        if result["content"] is None:
            if not (result["failed"] or result["unreachable"]):
                continue
            why = f"{item['key_file']} could not be read: {result['msg'] or 'no reason given'}"
        else:
            try:
                words = base64.b64decode(result["content"]).decode().split()
                unfit = "" if words and key_problem(words[0]) is None else "holds no key"
            except (binascii.Error, ValueError):
                words, unfit = [], "holds something that is not a text"
            if not unfit:
                found[item["host"], item["server"]] = words[0]
                continue
            why = (
                f"{item['key_file']} {unfit}; declare api_keys, or remove the file, and apply the role vllm_server, "
                "which writes it anew"
            )
        text = f"{item['server']}: {why}; Open WebUI keeps the key that it has for this server"
        problems.append(Problem(item["host"], "", "keys", text))
    return Keys(found, problems)


def key_problems(read: t.Any) -> list[str]:
    """Say of which servers no key could be read, and why, without quoting what is in a file."""
    return [problem.sentence for problem in keys_in(read).problems]


SERVER = {"host!": LINE, "server!": LINE, "url!": LINE, "prefix_id": LINE, "key_file": LINE, "served": [LINE]}


def with_keys(servers: t.Any, read: t.Any, static: t.Any = False) -> list[dict[str, t.Any]]:
    """Return the options of open_webui_connection for ``servers``, each with the first key of its key file.

    ``read`` holds the results of ansible.builtin.slurp over the servers that have a key file. A file that is not there
    yet, in check mode, leaves the key out, which means that the key in use stays. With ``static``, Open WebUI is told
    which models a server has, and need not ask it.
    """
    keys = keys_in(read).found
    static = bool(conform(static, FLAG, "static", silent))
    declared = []
    for server in conform(servers, [SERVER], "servers", silent):
        models = server["served"] if static else []
        connection = {"url": server["url"], "prefix_id": server["prefix_id"] or "", "model_ids": models}
        if not server["key_file"]:
            connection["key"] = ""
        elif (server["host"], server["server"]) in keys:
            connection["key"] = keys[server["host"], server["server"]]
        declared.append(connection)
    return declared


def table(rows: t.Sequence[Mapping], columns: t.Sequence[str]) -> list[str]:
    """Return the lines of a plain table: a head, then a line for each row; a missing value is a dash."""
    cells = [list(columns)] + [
        ["-" if row.get(column) in (None, "") else one_line(str(row[column])) for column in columns] for row in rows
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def grouped(notes: t.Iterable[Problem]) -> list[str]:
    """Return notes as lines; the same note on several hosts is one line."""
    hosts: dict[tuple[str, str], list[Problem]] = {}
    for note in sorted(notes, key=by_host):
        hosts.setdefault((note.where, note.text), []).append(note)
    return [note[0]._replace(host=listed(dict.fromkeys(one.host for one in note))).sentence for note in hosts.values()]


def listed(names: t.Iterable[str], most: int = 4) -> str:
    """Name hosts, and how many more there are."""
    every = list(names)
    if len(every) <= most:
        return ", ".join(every)
    return f"{', '.join(every[: most - 1])} and {len(every) - most + 1} more"


# --- the end of a run -------------------------------------------------------------------------------------------------

GROUPS = {"gpu_hosts": [LINE], "webui_hosts": [LINE], "gateway_hosts": [LINE], "monitoring_hosts": [LINE]}
# What the role monitoring tells in monitoring_endpoint.
MONITORING = {"url!": LINE, "loopback": FLAG}
# What the role gateway tells in gateway_endpoint.
GATEWAY = {"url!": LINE, "users": [LINE], "keys": LINE}


def report(groups: t.Any, hostvars: Mapping) -> dict[str, list[str]]:
    """Return the end of a run: ``lines`` to read, and in ``failed`` one for each host that did not come to its state.

    ``groups`` holds the names in gpu_hosts, webui_hosts, gateway_hosts and monitoring_hosts. What hosts told is in
    their variables: fleet_failure, vllm_server_endpoints, open_webui_endpoint, open_webui_answers, gateway_endpoint and
    monitoring_endpoint. A host that --limit leaves out has not failed.
    """
    members = conform(groups, GROUPS, "groups", silent)
    gpu_hosts, web_hosts = members.get("gpu_hosts") or [], members.get("webui_hosts") or []
    gateway_hosts = members.get("gateway_hosts") or []
    monitoring_hosts = members.get("monitoring_hosts") or []
    hosts = of_hosts(list(dict.fromkeys([*gpu_hosts, *web_hosts, *gateway_hosts, *monitoring_hosts])), hostvars)
    failed = []
    for name, host in hosts.items():
        expected = [
            key
            for key, group in (
                ("vllm_server_endpoints", gpu_hosts),
                ("open_webui_endpoint", web_hosts),
                ("gateway_endpoint", gateway_hosts),
                ("monitoring_endpoint", monitoring_hosts),
            )
            if name in group
        ]
        if host.has("fleet_failure"):
            failure = host.read("fleet_failure", FAILURE)
            stage, message = (
                failure.get("stage") or "unknown step",
                failure.get("message") or "failed without a message",
            )
            failed.append(Problem(name, stage, "failed", message))
        elif any(not host.has(key) for key in expected) and not _left_out(host):
            failed.append(
                Problem(name, "", "failed", "did not come to the end of its steps; its last task above says why")
            )
        failed += [Problem("", "", "keys", text) for text in host.read("fleet_keys_unread", [TEXT])]
    servers = [(name, server) for name in gpu_hosts for server in told_servers(hosts[name])]
    lines = table([_row(name, server) for name, server in servers], REPORT_COLUMNS) if servers else []
    falls = (fall_of(f"{server['name']} on {name}", server["watch"]) for name, server in servers)
    lines += [fall for fall in falls if fall]
    webs = {name: _web(hosts[name]) for name in web_hosts}
    gateways = {name: hosts[name].read("gateway_endpoint", GATEWAY) for name in gateway_hosts}
    for name, gateway in gateways.items():
        if gateway:
            users = f"keys of {', '.join(gateway['users'])} in {gateway['keys']} on {name}" if gateway["users"] else ""
            lines.append(f"Gateway: {gateway['url']}/v1  {users}".rstrip())
    for name in web_hosts:
        lines += _web_lines(hosts[name], webs[name])
    for name in dict.fromkeys([*web_hosts, *gateway_hosts]):
        lines += watch_lines(hosts[name])
    for name in monitoring_hosts:
        monitoring = hosts[name].read("monitoring_endpoint", MONITORING)
        if monitoring:
            where = f"on {name} itself alone" if monitoring["loopback"] else ""
            lines.append(f"Monitoring: {monitoring['url']}  {where}".rstrip())
    if not any(host.has("vllm_server_endpoints") for host in hosts.values()):
        for name in gpu_hosts:
            hosts[name].instances()
    notes = [f"note: {note}" for note in grouped(note for host in hosts.values() for note in host.notes)]
    lines += notes
    told = [gateway for gateway in gateways.values() if gateway]
    lines += _next_lines(servers, [web for web in webs.values() if web], told, bool(failed))
    return {
        "lines": lines or ["nothing is declared: no server in gpu_hosts, no host in webui_hosts"],
        "failed": [problem.sentence for problem in failed],
    }


def _left_out(host: HostVars) -> bool:
    """Say whether --limit leaves a host out of this run: nobody has tried to reach it."""
    return bool(host.read("ansible_limit", LINE)) and not host.has("fleet_reached")


def _next_lines(
    servers: t.Sequence[tuple[str, Mapping]], webs: t.Sequence[Mapping], gateways: t.Sequence[Mapping], failed: bool
) -> list[str]:
    """Return lines on what the reader can do next."""
    lines = []
    if webs:
        lines.append(f"  chat: open {webs[0]['url']} and choose a model")
    ready = next(((host, server) for host, server in servers if server["status"] == "ready"), None)
    if ready and gateways:
        name = ready[1]["served_model_names"][0]
        lines.append(f"  call: base URL {gateways[0]['url']}/v1, model {name}, the key of a user of the gateway")
    elif ready:
        host, one = ready
        key = f"a key from {one['key_file']} on {host}" if one["key_file"] else "no key"
        url = server_url(one, host, "")
        lines.append(f"  call: base URL {url}, model {one['served_model_names'][0]}, {key}")
    if failed:
        lines.append(
            "  mend: correct what is listed as failed and run the same command again; it goes on where it stopped"
        )
    if lines:
        lines.append("  look: ansible-playbook private_llm.fleet.report draws the fleet as a page")
    return ["Next:", *lines] if lines else []


def fall_of(server: str, watch: Mapping) -> str:
    """Return a sentence on how often a server hung or ended by itself, and why the last time; empty for never."""
    fall = watch.get("last_fall") or {}
    if not watch.get("falls") or fall.get("at") is None:
        return ""
    times = "once" if watch["falls"] == 1 else f"{watch['falls']} times"
    at = datetime.datetime.fromtimestamp(float(fall["at"]), datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    told = "; ".join(filter(None, [fall.get("text"), fall.get("action")]))
    left = "; it is not restarted any more" if watch.get("given_up") else ""
    return f"{server} fell {times}, last at {at}: {told}{left}"


def watch_lines(host: HostVars) -> list[str]:
    """Return how the watch last found Open WebUI and the gateway of a host, and how they fell; empty where none is."""
    watched = host.read("server_watch_seen", WATCHED).get("watched") or []
    states = ", ".join(f"{one['name']} {one['state']}" for one in watched)
    falls = (fall_of(f"{one['name']} on {host.name}", one) for one in watched)
    return [f"Watch of {host.name}: {states}", *(fall for fall in falls if fall)] if watched else []


REPORT_COLUMNS = ("host", "server", "serves", "address", "state", "KV tokens", "at once", "started in")


def _row(host: str, server: Mapping) -> dict[str, str]:
    ready = server["ready"]
    tokens, concurrency, seconds = (ready.get(key) for key in ("kv_cache_tokens", "max_concurrency", "seconds"))
    return {
        "host": host,
        "server": server["name"],
        "serves": ", ".join(server["served_model_names"]),
        "address": server_url(server, host, ""),
        "state": server["status"] or server["state"] or "",
        "KV tokens": f"{tokens:,}" if tokens else "",
        "at once": f"{concurrency:.1f}" if concurrency else "",
        "started in": _units.duration(seconds) if seconds else "",
    }


def _web(host: HostVars) -> dict[str, t.Any]:
    """Return what a host told of its Open WebUI, with the URL for a person's browser; empty when it told nothing."""
    web: dict[str, t.Any] = host.read("open_webui_endpoint", WEB)
    if not web:
        return {}
    try:
        return {**web, "url": web_url(web, host)}
    except EndpointError as error:
        host.notes.append(Problem(host.name, "open_webui_endpoint", UNREADABLE, str(error)))
        return {}


def web_url(web: Mapping, host: HostVars) -> str:
    """Return the URL of Open WebUI for a person's browser, from what its host told in open_webui_endpoint."""
    if web["public_url"]:
        return parse(str(web["public_url"])).url
    bind = str(web["bind"])
    fallback = bind if _is_loopback(bind) else host.address()
    return listening("http", bind, int(web["port"]), fallback).url


def _web_lines(host: HostVars, web: Mapping) -> list[str]:
    if not web:
        return []
    password = f"password in {web['password_file']} on {host.name}" if web["password_file"] else "password as declared"
    lines = [f"Open WebUI: {web['url']}  sign in as {web['admin_email'] or ''}, {password}"]
    for one in host.read("open_webui_answers", ANSWERS).get("answers") or []:
        seconds = f" in {one['seconds']:.1f} s" if one["seconds"] is not None else ""
        lines.append(f'{one["model"]} answered{seconds}: "{printable((one["answer"] or "").strip())}"')
    return lines
