# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet as one HTML page: what the info modules found, with charts that are drawn in place.

The page needs nothing from anywhere: no script, no font, no picture. It follows the reader's choice of light or dark,
and says everything that a color says in words as well. Pure functions, from what was found to text.
"""

from __future__ import annotations

import html
import typing as t

from ..module_utils import _units
from ..module_utils._endpoint import EndpointError, scheme_of
from ..module_utils._printable import printable
from ._fleet import (
    FAILURE,
    GROUPS,
    READY,
    WATCH,
    WEB,
    fall_of,
    grouped,
    watch_lines,
    web_url,
)
from ._host_vars import (
    LINE,
    NUMBER,
    TEXT,
    WHOLE,
    HostVars,
    conform,
    of_hosts,
    silent,
)

Mapping = t.Mapping[str, t.Any]

# A bar is drawn in these units and stretched to the width there is.
WIDTH = 1000
HEIGHT = 12

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #1a2129; --faint: #5b6673;
  --rail: #e8ebef; --use: #2563a8; --good: #1a7f45; --warn: #9a6000; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161b; --card: #1b2128; --line: #2d3641; --text: #e8ecf1;
  --faint: #9ba7b4; --rail: #2a323c; --use: #6aaef2; --good: #57c784; --warn: #e8b04a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 20px 48px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { margin: 0; font-size: 24px; } h2 { margin: 34px 0 12px; font-size: 18px; } h3 { margin: 0; font-size: 15px; }
p { margin: 4px 0; } .faint { color: var(--faint); } .number { font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 20px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: clamp(20px, 5vw, 26px); line-height: 1.25; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 12px;
  align-items: start; }
.scroll code { white-space: nowrap; } .scroll { overflow-x: auto; padding: 0; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 9px 14px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--faint); font-weight: 500; font-size: 13px; white-space: nowrap; }
a { color: var(--use); } td.number, th.number { text-align: right; white-space: nowrap; }
code { overflow-wrap: anywhere; font-size: 13px; }
.state { white-space: nowrap; font-weight: 600; } .state::before { content: "\\25CF"; margin-right: 6px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.problem { border-left: 4px solid var(--bad); margin-bottom: 8px; white-space: pre-line; overflow-wrap: anywhere; }
.chart { margin-top: 10px; } .chart p { display: flex; justify-content: space-between; gap: 12px; font-size: 13px; }
svg { display: block; width: 100%; height: 12px; } .rail { fill: var(--rail); } .use { fill: var(--use); }
svg .warn { fill: var(--warn); } svg .bad { fill: var(--bad); }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""

# What a status means to a reader at a glance.
TONES = {
    "ready": "good",
    "ok": "good",
    "loading": "warn",
    "starting": "warn",
    "restarting": "bad",
    "stopped": "warn",
    "no_gpu": "warn",
}


def text(value: object) -> str:
    """Return any value as text of the page."""
    return html.escape(printable(str(value), 50_000), quote=True)


def count(value: t.Any) -> str:
    """Return a number with separators; a dash where there is none."""
    if value in (None, ""):
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


def state(status: str) -> str:
    """Return a status with the color of its meaning."""
    return f'<span class="state {TONES.get(status, "bad")}">{text(status)}</span>'


def draw_bar(label: str, said: str, share: float, tone: str = "use") -> str:
    """Draw a chart of one bar: how much of something is in use, from 0 to 1; ``said`` says the same in words."""
    width = round(WIDTH * min(max(share, 0.0), 1.0))
    both = text(f"{label}: {said}")
    return (
        f'<div class="chart"><p><span>{text(label)}</span><span class="number faint">{text(said)}</span></p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{both}">'
        f'<rect class="rail" width="{WIDTH}" height="{HEIGHT}"/>'
        f'<rect class="{tone}" width="{width}" height="{HEIGHT}"/></svg></div>'
    )


def tile(value: str, label: str, tone: str = "") -> str:
    """Return one large number with its label."""
    return f'<div class="card tile"><b class="{tone}">{text(value)}</b><span class="faint">{text(label)}</span></div>'


GPU = {
    "status": LINE,
    "message": TEXT,
    "driver_version": LINE,
    "cuda_version": LINE,
    "gpus": [
        {
            "index": LINE,
            "uuid": LINE,
            "name": LINE,
            "memory": {"used": NUMBER, "total": NUMBER},
            "problem": LINE,
        }
    ],
}
SERVERS = {
    "servers": [
        {
            "name!": LINE,
            "status!": LINE,
            "message": TEXT,
            "models": [{"id!": LINE, "max_model_len": WHOLE}],
            "container": {"port": WHOLE, "gpus": [LINE], "engine": {"ssl_certfile": LINE}},
            "ready": READY,
            "measured": READY,
            "watch": WATCH,
            "load": {"running": WHOLE, "waiting": WHOLE, "kv_cache_usage": NUMBER},
        }
    ]
}
WEB_FOUND = {"status": LINE, "webui_version": LINE, "message": TEXT, "msg": TEXT}


def gather(groups: t.Any, hostvars: Mapping) -> dict[str, t.Any]:
    """Collect what the hosts told, as the page shows it; ``declared`` is the number of GPU hosts in the inventory."""
    members = conform(groups, GROUPS, "groups", silent)
    gpu_hosts, web_hosts = members.get("gpu_hosts") or [], members.get("webui_hosts") or []
    hosts = of_hosts(list(dict.fromkeys([*gpu_hosts, *web_hosts])), hostvars)
    found: dict[str, t.Any] = {"problems": [], "hosts": [], "webs": [], "declared": len(gpu_hosts)}
    for name, host in hosts.items():
        if host.has("fleet_failure"):
            failure = host.read("fleet_failure", FAILURE)
            found["problems"].append({"host": name, "what": failure.get("message") or "failed without a message"})
    for name in gpu_hosts:
        host = hosts[name]
        gpu, servers = host.read("fleet_gpu", GPU), host.read("fleet_found", SERVERS).get("servers") or []
        if gpu.get("status") not in (None, "ok", "no_gpu"):
            found["problems"].append({"host": name, "what": f"GPUs: {gpu['message']}"})
        found["problems"] += [
            {"host": name, "what": f"{server['name']}: {server['status']}: {server['message'] or ''}"}
            for server in servers
            if TONES.get(server["status"], "bad") == "bad"
        ]
        if gpu or servers:
            address = host.read("vllm_server_address", LINE) or host.address()
            urls = {str(one.get("name")): str(one["url"]) for one in host.instances() if one.get("url")}
            shown = {"name": name, "address": address, "urls": urls, "gpu": gpu, "servers": servers}
            found["hosts"].append(shown)
    for name in web_hosts:
        _gather_web(found, name, hosts[name])
    found["notes"] = grouped(note for host in hosts.values() for note in host.notes)
    return found


def _gather_web(found: dict[str, t.Any], name: str, host: HostVars) -> None:
    web, place = host.read("fleet_web_found", WEB_FOUND), host.read("open_webui_endpoint", WEB)
    if not web or not place:
        return
    try:
        url = web_url(place, host)
    except EndpointError as error:
        found["problems"].append({"host": name, "what": f"Open WebUI: {error}"})
        return
    status, version = web["status"] or "unreachable", web["webui_version"] or ""
    watch = watch_lines(host)
    found["webs"].append({"name": name, "url": url, "status": status, "version": version, "watch": watch})
    if status != "ready":
        found["problems"].append({"host": name, "what": f"Open WebUI: {web['message'] or web['msg'] or status}"})


def address_of(host: Mapping, server: Mapping) -> str:
    """Return where people reach a server; without TLS the scheme is left out."""
    declared = host.get("urls", {}).get(server["name"])
    if declared:
        return str(declared)
    container = server["container"]
    scheme = "https://" if scheme_of(container.get("engine") or {}) == "https" else ""
    return f"{scheme}{host['address']}" + (f":{container['port']}" if container.get("port") else "")


def server_row(host: Mapping, server: Mapping) -> str:
    """Return the row of a server in the table."""
    models = server["models"]
    ready, load, measured = server["ready"], server["load"], server["measured"]
    tokens = ready.get("kv_cache_tokens") or measured.get("kv_cache_tokens")
    at_once = ready.get("max_concurrency") or measured.get("max_concurrency")
    length = next((model["max_model_len"] for model in models if model.get("max_model_len")), None)
    names = ", ".join(dict.fromkeys(str(model["id"]) for model in models)) or server["name"]
    busy = f"{count(load.get('running'))} running, {count(load.get('waiting'))} waiting" if load else "–"
    cells = [
        f"<td>{text(host['name'])}<br><code>{text(address_of(host, server))}</code></td>",
        f"<td><b>{text(server['name'])}</b><br><span class='faint'>{text(names)}</span></td>",
        f"<td>{state(str(server['status']))}{fallen(server)}</td>",
        f'<td class="number">{count(length)}</td><td class="number">{count(tokens)}</td>',
        f'<td class="number">{count(at_once)}</td><td>{text(busy)}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def fallen(server: Mapping) -> str:
    """Return what there is to say of a server that hung or ended by itself; empty for one that did not."""
    fall = fall_of(str(server["name"]), server["watch"])
    return f"<br><span class='faint'>{text(fall)}</span>" if fall else ""


def servers_part(hosts: t.Sequence[Mapping]) -> str:
    """Return the table of all servers."""
    rows = [server_row(host, server) for host in hosts for server in host["servers"]]
    if not rows:
        return '<div class="card">No server was found.</div>'
    head = "<th>Host</th><th>Server</th><th>State</th>"
    head += "".join(f'<th class="number">{name}</th>' for name in ("Longest context", "KV tokens", "At once"))
    table = f"<table><thead><tr>{head}<th>Load</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="card scroll">{table}</div>'


def capacity_part(hosts: t.Sequence[Mapping]) -> str:
    """Return how much each server can hold beside the largest of them, and how much of that is in use."""
    found = []
    for host in hosts:
        for server in host["servers"]:
            ready, load = server["ready"], server["load"]
            if (ready.get("kv_cache_tokens") or 0) > 0:
                found.append((f"{server['name']} on {host['name']}", int(ready["kv_cache_tokens"]), load))
    if not found:
        return ""
    most = max(tokens for _label, tokens, _load in found)
    sizes = [draw_bar(label, f"{count(tokens)} tokens", tokens / most) for label, tokens, _load in found]
    uses = []
    for label, _tokens, load in found:
        share = float(load.get("kv_cache_usage") or 0)
        uses.append(draw_bar(label, f"{share:.0%} in use", share, tone_of(share)))
    return (
        '<h2>Capacity and load</h2><div class="cards">'
        f'<div class="card"><h3>Tokens that fit into the KV cache</h3>{"".join(sizes)}</div>'
        f'<div class="card"><h3>KV cache in use</h3>{"".join(uses)}</div></div>'
    )


def tone_of(share: float) -> str:
    """Return the color for how full something is."""
    return "bad" if share >= 0.95 else "warn" if share >= 0.8 else "use"


def gpu_card(host: Mapping) -> str:
    """Return the card of a host with its GPUs."""
    gpu = host["gpu"]
    holders: dict[str, list[str]] = {}
    for server in host["servers"]:
        for one in server["container"].get("gpus") or []:
            holders.setdefault(str(one), []).append(str(server["name"]))
    driver = gpu.get("driver_version")
    lines = [f"<h3>{text(host['name'])}</h3><p>{state(str(gpu.get('status') or 'unknown'))}</p>"]
    if driver:
        lines.append(f'<p class="faint">driver {text(driver)}, CUDA {text(gpu.get("cuda_version") or "–")}</p>')
    elif gpu.get("message"):
        lines.append(f'<p class="faint">{text(gpu["message"])}</p>')
    for one in gpu.get("gpus") or []:
        memory = one.get("memory") or {}
        used, total = float(memory.get("used") or 0), float(memory.get("total") or 0)
        label = f"{one['index']}  {one['name']}"
        said = (
            f"{_units.memory(used * 2**20)} of {_units.memory(total * 2**20)}"
            if total
            else str(one.get("problem") or "no memory told")
        )
        lines.append(draw_bar(label, said, used / total if total else 0.0))
        names = holders.get(str(one.get("uuid"))) or []
        if names:
            lines.append(f'<p class="faint">{text(", ".join(names))}</p>')
    return f'<div class="card">{"".join(lines)}</div>'


def web_card(web: Mapping) -> str:
    """Return the card of a host with Open WebUI."""
    version = f'<p class="faint">Open WebUI {text(web["version"])}</p>' if web["version"] else ""
    watch = "".join(f'<p class="faint">{text(line)}</p>' for line in web["watch"])
    return (
        f'<div class="card"><h3>{text(web["name"])}</h3><p>{state(web["status"])}</p>'
        f'<p><a href="{text(web["url"])}">{text(web["url"])}</a></p>{version}{watch}</div>'
    )


def tiles_part(found: Mapping) -> str:
    """Return the fleet in a few numbers."""
    servers = [server for host in found["hosts"] for server in host["servers"]]
    ready = sum(1 for server in servers if server["status"] == "ready")
    gpus = sum(len(host["gpu"].get("gpus") or []) for host in found["hosts"])
    tokens = sum(server["ready"].get("kv_cache_tokens") or 0 for server in servers)
    running = sum(server["load"].get("running") or 0 for server in servers)
    waiting = sum(server["load"].get("waiting") or 0 for server in servers)
    return "".join(
        [
            tile(f"{ready} of {len(servers)}", "servers ready", "" if ready == len(servers) else "bad"),
            tile(f"{len(found['hosts'])} of {found['declared']}", "GPU hosts that tell"),
            tile(count(gpus), "GPUs"),
            tile(count(tokens), "KV tokens"),
            tile(f"{count(running)} + {count(waiting)}", "requests running + waiting"),
            tile(count(len(found["problems"])), "problems", "bad" if found["problems"] else "good"),
        ]
    )


def page(groups: t.Mapping[str, t.Sequence[str]], hostvars: t.Any, when: t.Any) -> str:
    """Return the whole page. ``when`` says when the hosts were asked."""
    found = gather(groups, hostvars)
    when = conform(when, LINE, "when", silent) or "a time that was not told"
    problems = "".join(
        f'<div class="card problem"><b>{text(one["host"])}</b>\n{text(one["what"].strip())}</div>'
        for one in found["problems"]
    )
    notes = "".join(f'<p class="faint">{text(note)}</p>' for note in found["notes"])
    parts = [
        f'<h1>private_llm.fleet</h1><p class="faint">as the hosts told at {text(when)}</p>',
        f'<div class="tiles">{tiles_part(found)}</div>',
        f"<h2>Problems</h2>{problems}" if problems else "",
        f"<h2>Servers</h2>{servers_part(found['hosts'])}",
        capacity_part(found["hosts"]),
        f'<h2>GPUs</h2><div class="cards">{"".join(map(gpu_card, found["hosts"]))}</div>' if found["hosts"] else "",
        f'<h2>Open WebUI</h2><div class="cards">{"".join(map(web_card, found["webs"]))}</div>' if found["webs"] else "",
        f'<h2>Notes</h2><div class="card">{notes}</div>' if notes else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Fleet, {text(when)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )
