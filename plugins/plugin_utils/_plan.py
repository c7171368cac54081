# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: what will change on which server and why, what it costs, what it will hold, and what stands in its way.

Pure functions over what the hosts told; the filters are thin.
"""

from __future__ import annotations

import typing as t

from ..module_utils import _units
from ..module_utils._printable import printable
from ..module_utils._vllm.container._model_files import weight_bytes
from ..module_utils._vllm.container._spec import with_parallel_size
from ..module_utils._vllm.declaration._instances import VARIABLE, gpu_count
from ..module_utils._vllm.options._release import repository_of
from ..module_utils._vllm.options._suggestions import whole_number
from . import _plan_fit, _plan_gpus, _plan_model
from ._chain import IMAGES, lines_of, offers_of, over_the_line, releases_of
from ._fleet import (
    grouped,
    listed,
    table,
    unreachable_servers,
)
from ._host_vars import (
    ANY,
    FLAG,
    LINE,
    NUMBER,
    SHOWN,
    TEXT,
    WHOLE,
    HostVars,
    conform,
    of_hosts,
    silent,
)
from ._plan_images import web_images
from ._problem import (
    DOES_NOT_FIT,
    UNREADABLE,
    Problem,
    by_host,
    problem_of,
)
from .fit import _verdict
from .fit._layers import text_config
from .gateway._order import COLUMNS as STEP_COLUMNS
from .gateway._order import remarks_of, steps_of

Mapping = t.Mapping[str, t.Any]

# An image of vLLM with CUDA is unpacked to more than this many bytes; what is smaller cannot hold it.
IMAGE_BYTES = {"vllm-openai": 20 * 10**9, "vllm-openai-cpu": 3 * 10**9}


MEMORY = {"total": WHOLE, "used": WHOLE, "free": WHOLE}
GPUS = {
    "status": LINE,
    "message": TEXT,
    "driver_version": LINE,
    "gpus": [
        {
            "index!": WHOLE,
            "uuid!": LINE,
            "name": LINE,
            "memory": MEMORY,
            "compute_capability": LINE,
            "unified": FLAG,
            "problem": LINE,
            "mig": {"mode": LINE, "devices": [{"uuid!": LINE, "profile": LINE, "memory": MEMORY}]},
        }
    ],
    "processes": [{"gpu_uuid!": LINE, "container": LINE, "used_memory": WHOLE, "name": LINE, "pid": WHOLE}],
    "topology": [{"index!": WHOLE, "gpus": SHOWN}],
}
MEASURED = {
    "config_hash": LINE,
    "kv_cache_tokens": WHOLE,
    "max_concurrency": NUMBER,
    "max_model_len": WHOLE,
    "started_in_seconds": NUMBER,
}
CHANGE = {"option!": LINE, "before": SHOWN, "after": SHOWN}
RESULT = {
    "name": LINE,
    "item": {"name": LINE},
    "failed": FLAG,
    "actions": [LINE],
    "changes": [CHANGE],
    "container": {"status": LINE, "config_hash": LINE, "image": LINE, "engine": SHOWN},
}
TRIED = {
    "name!": LINE,
    "verdict!": LINE,
    "why": TEXT,
    "kv_cache_tokens": WHOLE,
    "max_concurrency": NUMBER,
    "max_model_len": WHOLE,
}
MODEL = {
    "config": SHOWN,
    "bytes_missing": WHOLE,
    "weight_bytes": WHOLE,
    "files": [{"path!": LINE, "size!": WHOLE}],
}


def _host_shape(instances: t.Sequence[Mapping], host: t.Any) -> dict[str, t.Any]:
    """Return the shape of what vllm_host_info returns, with the keys that follow from what it was asked."""
    folders = host.get("folders") if isinstance(host, t.Mapping) else None
    return {
        "gpu": GPUS,
        "models": {
            name: MODEL for one in instances for name in (str(one["model_path"]), _plan_fit.draft_of(one)) if name
        },
        "images": {str(one["image"]): FLAG for one in instances},
        "image_folder": {"path": LINE, "free": WHOLE, "device": WHOLE},
        "folders": {str(root): {"free": WHOLE, "device": WHOLE} for root in folders or ()}
        if isinstance(folders, t.Mapping)
        else {},
        "containers": [{"id!": LINE, "name": LINE, "server": LINE}],
        "measured": {str(one["name"]): MEASURED for one in instances},
    }


def host_plan(
    instances: t.Sequence[Mapping],
    looked: t.Any,
    host: t.Any,
    models: t.Any,
    archive: str = "",
    refused: t.Any = (),
    tried: t.Any = (),
) -> dict[str, t.Any]:
    """Return the plan of a host: ``servers``, a row for each, ``problems`` that stop it, ``notes`` that do not.

    ``instances`` are in their normal form, ``looked`` holds the results of vllm_server in check mode, ``host`` is what
    vllm_host_info returned, ``models`` what model_snapshot said of each repository in check mode, and ``refused`` why
    vllm_server refused. ``tried`` is what vllm_dry_fit
    found out. What the host told in another form than it should is a note, and counts as not told.
    """
    notes: list[Problem] = []

    def note(where: str, text: str) -> None:
        notes.append(Problem("", where, UNREADABLE, text))

    declared = [{**_effective(one), "where": _place(one, index)} for index, one in enumerate(instances)]
    host = conform(host, _host_shape(instances, host), "vllm_host_info", note)
    repos = [name for one in declared for name in (str(one["model_repo"]), _plan_fit.draft_of(one)) if name]
    models = conform(models, dict.fromkeys(repos, MODEL), "models", note)
    results = conform(looked, [RESULT], "vllm_server", note)
    dry = {one["name"]: one for one in conform(tried, [TRIED], "vllm_dry_fit", note)}
    seen = {str(result["name"] or result["item"].get("name") or ""): result for result in results}
    gpu = host.get("gpu") or {"gpus": [], "processes": [], "topology": [], "driver_version": None}
    started = [one for one in declared if one["state"] == "started" and one["gpus"]]
    given, not_given = _plan_gpus.assign(started, gpu["gpus"])
    by_uuid = _plan_gpus.devices(gpu["gpus"])

    def label(uuid: str) -> str:
        return str(by_uuid[uuid]["label"])

    why = "" if gpu["gpus"] else str(gpu.get("message") or "")
    problems = [Problem("", f"{_where(declared, name)}.gpus", "gpus", why or text) for name, text in not_given]
    problems += _plan_gpus.shared(started, given, label)
    problems += _room_problems(declared, host, models, archive)
    rows = []
    for server in declared:
        mine = [by_uuid[uuid] for uuid in given.get(server["name"], [])]
        model = _model(server, host, models)
        row = _row(server, seen.get(server["name"], {}), model, host)
        if server["state"] == "started":
            request = _plan_fit.request_of(server, model, mine, _draft(server, host, models))
            request = _plan_fit.calibrated(request, server, seen.get(server["name"], {}), host)
            _predict(row, request)
            problems += _plan_model.problems_of(server, model)
            if server["name"] in dry:
                problems += _tried(row, dry[server["name"]], notes)
            if _plan_fit.device_of(server) == "cuda":
                uuids = given.get(server["name"], [])
                problems += _plan_gpus.strangers(server, uuids, gpu, host.get("containers") or [], label)
                problems += _plan_gpus.capability(server, mine, *_nature(model))
                problems += _plan_gpus.driver(server, gpu.get("driver_version"))
                notes += _plan_gpus.links(server, uuids, gpu)
                notes += _idle(server, len(uuids))
            if request is not None and row["verdict"] == _verdict.DOES_NOT_FIT:
                others = {uuid for name, uuids in given.items() if name != server["name"] for uuid in uuids}
                whole = {str(one["uuid"]) for one in gpu["gpus"]}
                row["nearest"] = _plan_fit.nearest(request, len(whole - others))
                row["question"] = _plan_fit.question(request)
                problems.append(_refusal(row))
            if row["verdict"] != _verdict.DOES_NOT_FIT:
                notes += [
                    Problem("", server["where"], "fit", f"{server['name']}: {reason}") for reason in row["reasons"]
                ]
        rows.append(row)
    known = [text for _name, text in not_given] + [problem.text for problem in problems]
    problems += [
        Problem("", "", "vllm_server", text)
        for text in conform(refused, [TEXT], "refused", note)
        if not any(one in text for one in known)
    ]
    return {
        "servers": rows,
        "problems": [problem.as_result() for problem in sorted(problems, key=by_host)],
        "notes": [one.as_result() for one in sorted(notes, key=by_host)],
        "gpus": _plan_fit.kind_of(gpu["gpus"]),
    }


def _effective(instance: Mapping) -> dict[str, t.Any]:
    """Return the instance with the options that its container gets."""
    return {**instance, "engine": with_parallel_size(instance["engine"], gpu_count(instance["gpus"]))}


def _place(instance: Mapping, index: int) -> str:
    """Return where an instance is declared; the worker of a server over several hosts on the first of them."""
    member = instance.get("member") or {}
    if member.get("rank"):
        return f"{VARIABLE} of {member['nodes'][0]}, {instance['name']}"
    return f"{VARIABLE}[{index}]"


def _where(declared: t.Sequence[Mapping], name: str) -> str:
    return next(str(server["where"]) for server in declared if server["name"] == name)


def _refusal(row: Mapping, others: t.Sequence[str] = ()) -> Problem:
    reason = row["reasons"][-1] if row["reasons"] else "there is not enough memory"
    text = f"{row['name']} does not fit: {reason}{_plan_fit.said(row['nearest'], others)}"
    return Problem("", row["where"], DOES_NOT_FIT, text)


def _model(server: Mapping, host: Mapping, models: Mapping) -> Mapping:
    """Return what is known of a server's model: from the hub's listing when the hub has it, else from its folder."""
    there: Mapping = (host.get("models") or {}).get(server["model_path"]) or {}
    listed: Mapping = models.get(server["model_repo"]) or {}
    if not listed.get("config"):
        return {**there, **({"bytes_missing": listed["bytes_missing"]} if listed else {})}
    files = [(str(entry["path"]), int(entry["size"])) for entry in listed["files"]]
    return {**listed, "weight_bytes": weight_bytes(files)}


def _draft(server: Mapping, host: Mapping, models: Mapping) -> Mapping | None:
    """Return what is known of a server's draft model; None where the server has none, or its model is not known."""
    name = _plan_fit.draft_of(server)
    if not name:
        return None
    known = _model({"model_path": name, "model_repo": name}, host, models)
    return known if known.get("config") else None


def _nature(model: Mapping) -> tuple[str, str]:
    config = model.get("config")
    if not isinstance(config, t.Mapping):
        return "", ""
    inner = text_config(config)
    quantization = config.get("quantization_config") or inner.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, t.Mapping) else None
    return str(method or ""), str(inner.get("model_type") or "")


def _row(server: Mapping, looked: Mapping, model: Mapping, host: Mapping) -> dict[str, t.Any]:
    """Return a server's row as it is known before anything is predicted."""
    measured = (host.get("measured") or {}).get(server["name"])
    container = looked.get("container") or {}
    actions = list(looked.get("actions") or [])
    current = measured is not None and not actions and measured.get("config_hash") == container.get("config_hash")
    stops = bool(container.get("status") == "running" and actions)
    image_there = (host.get("images") or {}).get(server["image"])
    return {
        "name": server["name"],
        "where": server["where"],
        "state": server["state"],
        "model": server["model"],
        "image": server["image"],
        "actions": actions,
        "refused": bool(looked.get("failed")),
        "changes": list(looked.get("changes") or []),
        "image_missing": None if image_there is None else not image_there,
        "bytes_to_fetch": _to_fetch(model),
        "measured": measured if current else None,
        "outage_seconds": (measured or {}).get("started_in_seconds") if stops else 0,
        "verdict": None,
        "reasons": [],
        "kv_tokens": None,
        "max_concurrency": None,
        "max_model_len": None,
        "max_model_len_that_fits": None,
        "kv_bytes_per_token": None,
        "estimated": False,
        "dry_fit": None,
        "nearest": [],
        "question": None,
    }


def _to_fetch(model: Mapping) -> int | None:
    """Return the bytes that are missing; None where nothing is known of the model."""
    missing = model.get("bytes_missing")
    if missing is not None:
        return int(missing)
    return 0 if model.get("config") else None


_NO_CONFIG = (
    "what it will hold cannot be predicted, because the model's config.json is not known before the model is downloaded"
)


def _predict(row: dict[str, t.Any], request: _verdict.Request | None) -> None:
    """Fill in what the server will hold: as it measured itself, where nothing changes, else as reckoned."""
    if request is None:
        row.update(verdict=_verdict.CANNOT_PREDICT, reasons=[_NO_CONFIG])
    else:
        answer = _plan_fit.answer(request).as_result()
        answer["reasons"] = [printable(reason) for reason in answer["reasons"]]
        row.update({key: answer[key] for key in answer.keys() & row.keys()})
        row["estimated"] = answer["overhead_bytes"] is not None and "kv_cache_memory_bytes" not in request.engine
    measured = row["measured"]
    if measured and measured.get("kv_cache_tokens"):
        row.update(
            verdict=_verdict.FITS,
            reasons=[],
            estimated=False,
            kv_tokens=measured["kv_cache_tokens"],
            max_concurrency=measured["max_concurrency"],
            max_model_len=measured["max_model_len"],
        )


def _tried(row: dict[str, t.Any], tried: Mapping, notes: list[Problem]) -> list[Problem]:
    """Fill in what a start with made-up weights measured; return the problem where it failed."""
    row["dry_fit"] = tried["verdict"]
    where, why = row["where"], tried["why"]
    if tried["verdict"] == "does_not_start":
        row.update(kv_tokens=None, max_concurrency=None, max_model_len=None)
        row.update(verdict=_verdict.CANNOT_PREDICT, reasons=[])
        return [Problem("", where, "dry_fit", f"{row['name']} does not start with made-up weights: {why}")]
    if tried["verdict"] != "starts":
        notes.append(Problem("", where, "dry_fit", f"{row['name']} was not tried with made-up weights: {why}"))
        return []
    row.update(verdict=_verdict.FITS, reasons=[], estimated=False)
    row.update(kv_tokens=tried["kv_cache_tokens"], max_concurrency=tried["max_concurrency"])
    row["max_model_len"] = tried["max_model_len"] or row["max_model_len"]
    return []


def _idle(server: Mapping, count: int) -> list[Problem]:
    engine = server["engine"]
    used = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        used *= whole_number(engine.get(name)) or 1
    if used >= count or engine.get("nnodes") not in (None, 1):
        return []
    use = (
        f"gives {count} GPUs, and {server['name']} uses {used}; set engine.tensor_parallel_size: {count}, or give fewer"
    )
    return [Problem("", f"{server['where']}.gpus", "idle", use)]


def _room_problems(declared: t.Sequence[Mapping], host: Mapping, models: Mapping, archive: str) -> list[Problem]:
    """Find disks that cannot hold all that is missing."""
    problems = []
    folder = host.get("image_folder") or {}
    needs: dict[t.Any, list[tuple[str, int]]] = {}
    for image in dict.fromkeys(server["image"] for server in declared if server["state"] != "absent"):
        size = IMAGE_BYTES.get(repository_of(image).rpartition("/")[2], 0)
        if (host.get("images") or {}).get(image) is False and size and not archive:
            needs.setdefault(folder.get("device"), []).append((f"image {image}", size))
    rooms = {folder.get("device"): (folder.get("free"), folder.get("path"))}
    for root, told in (host.get("folders") or {}).items():
        if not told:
            continue
        rooms.setdefault(told["device"], (told["free"], root))
        for repo in dict.fromkeys(server["model_repo"] for server in declared if server["model_path"].startswith(root)):
            size = (models.get(repo) or {}).get("bytes_missing") or 0
            if size:
                needs.setdefault(told["device"], []).append((f"model {repo}", size))
    for device, wanted in needs.items():
        if not wanted[0][0].startswith("image "):
            continue  # models by themselves are the role model_download's to tell
        free, path = rooms.get(device, (None, ""))
        total = sum(size for _what, size in wanted)
        if free is not None and total > free:
            what = ", ".join(one[0] for one in wanted)
            text = (
                f"{path} has {_units.size(free)} free, and {_units.size(total)} are needed for {what}; make room"
                " there, or put models elsewhere with vllm_server_models_root and model_download_root"
            )
            problems.append(Problem("", "", "room", text))
    return problems


# --- the fleet --------------------------------------------------------------------------------------------------------


ROW = {
    "name!": LINE,
    "where!": LINE,
    "state": LINE,
    "model": LINE,
    "image": LINE,
    "actions": [LINE],
    "refused": FLAG,
    "changes": [CHANGE],
    "image_missing": FLAG,
    "bytes_to_fetch": WHOLE,
    "measured": MEASURED,
    "outage_seconds": NUMBER,
    "verdict": LINE,
    "reasons": [TEXT],
    "kv_tokens": WHOLE,
    "max_concurrency": NUMBER,
    "max_model_len": WHOLE,
    "max_model_len_that_fits": WHOLE,
    "kv_bytes_per_token": NUMBER,
    "estimated": FLAG,
    "dry_fit": LINE,
    "nearest": [{"engine": SHOWN, "kv_tokens": WHOLE, "max_concurrency": NUMBER}],
    "question": _plan_fit.QUESTION,
}
PLAN = {"servers": [ROW], "notes": [ANY], "gpus": _plan_fit.KIND}


def fleet_plan(
    hosts: t.Any,
    hostvars: t.Any,
    found: t.Any = (),
    web_hosts: t.Any = (),
    gateway_hosts: t.Any = (),
    unavailable: t.Any = 1,
    image_hosts: t.Any = (),
) -> dict[str, t.Any]:
    """Return a structure for programs and a table for people, from what each host told in ``vllm_server_plan``.

    ``found`` are problems noted so far, as data. A server that does not fit on its host is tried on the GPUs of the
    others: each kind of server once on each kind of GPU, however many hosts have them. Behind a gateway, never more
    replicas of a model than ``unavailable`` are away at once. Hosts of Open WebUI in ``image_hosts`` tell which image
    they lack.
    """
    read = of_hosts(hosts, hostvars)
    plans = {name: host.read("vllm_server_plan", PLAN) for name, host in read.items() if host.has("vllm_server_plan")}
    plans = {name: plan for name, plan in plans.items() if plan}
    rows = [{"host": name, **row} for name in sorted(plans) for row in plans[name]["servers"]]
    unfit = {(row["host"], row["where"]): row for row in rows if row["verdict"] == _verdict.DOES_NOT_FIT}
    elsewhere = _plan_fit.Elsewhere({name: plan["gpus"] for name, plan in plans.items() if plan["gpus"]}, listed)
    noted = [problem_of(problem) for problem in conform(found, [ANY], "problems", silent)]
    problems = [
        _refusal(unfit[one.host, one.where], elsewhere.hosts(unfit[one.host, one.where]))._replace(host=one.host)
        if one.kind == DOES_NOT_FIT and (one.host, one.where) in unfit
        else one
        for one in noted
    ]
    problems += unreachable_servers(read, web_hosts)
    problems += _twice(read)
    notes = [problem_of(note, name) for name, plan in plans.items() for note in plan["notes"]]
    notes += [note for host in read.values() for note in host.notes]
    told = grouped(notes)
    for row in rows:
        del row["question"]
    releases = releases_of(offers_of(hosts, hostvars))
    images = releases_of(offers_of(hosts, hostvars, IMAGES))
    line = over_the_line(hosts, hostvars)
    missing = web_images(image_hosts, hostvars)
    gateway = bool(conform(gateway_hosts, [LINE], "gateway_hosts", silent))
    steps = steps_of({name: host for name, host in read.items() if name in plans}, rows, unavailable) if gateway else []
    return {
        "servers": rows,
        "models": [release.as_result() for release in releases],
        "images": [image.as_result() for image in images],
        "downloads": [one.as_result() for one in line],
        "web_images": [one.as_result() for one in missing],
        "steps": [step.as_result() for step in steps],
        "problems": [problem.sentence for problem in sorted(problems, key=by_host)],
        "notes": told,
        "lines": _lines(rows)
        + (table([step.cells() for step in steps], STEP_COLUMNS) if steps else [])
        + lines_of([*releases, *images])
        + [image.sentence() for image in missing]
        + [one.sentence() for one in line]
        + [f"note: {note}" for note in [*remarks_of(rows, gateway), *told]],
    }


def _twice(hosts: t.Mapping[str, HostVars]) -> list[Problem]:
    """Find hosts of the inventory that are one machine: their servers share names, ports and GPUs unknowingly."""
    seen: dict[tuple[str, str], str] = {}
    problems = []
    for name, host in hosts.items():
        address = host.read("ansible_host", LINE)
        if not address or host.read("ansible_connection", LINE) in ("local", "docker", "community.docker.docker"):
            continue
        first = seen.setdefault((address, host.read("ansible_port", LINE) or "22"), name)
        if first != name:
            text = (
                f"ansible_host {address} is also that of {first}; one machine is in the inventory twice, and both "
                "names would claim its ports and GPUs: leave one of them"
            )
            problems.append(Problem(name, "", "twice", text))
    return problems


COLUMNS = ("host", "server", "does", "because of", "fetches", "KV tokens", "at once", "context", "down for")


def _lines(rows: t.Sequence[Mapping]) -> list[str]:
    if not rows:
        return []
    return table([_cells(row) for row in rows], COLUMNS)


def _cells(row: Mapping) -> dict[str, str]:
    options = [str(change["option"]) for change in row["changes"]]
    if len(options) > 3:
        options = [*options[:3], f"{len(options) - 3} more"]
    concurrency, length = row["max_concurrency"], row["max_model_len"]
    fetched = row["bytes_to_fetch"]
    return {
        "host": row["host"],
        "server": row["name"],
        "does": "?" if row["refused"] else ", ".join(row["actions"]) or "nothing",
        "because of": ", ".join(options),
        "fetches": "?" if fetched is None else _units.size(fetched) if fetched else "",
        "KV tokens": _tokens(row),
        "at once": f"{concurrency:.1f}" if concurrency else "",
        "context": f"{length:,}" if length else "",
        "down for": _outage(row),
    }


def _tokens(row: Mapping) -> str:
    if row["dry_fit"] == "does_not_start":
        return "does not start (tried)"
    if row["dry_fit"] == "starts" and row["kv_tokens"] is None:
        return "starts (tried)"  # it keeps no KV cache
    if row["kv_tokens"] is None:
        return "?" if row["verdict"] == _verdict.CANNOT_PREDICT else ""
    tried = " (tried)" if row["dry_fit"] == "starts" else ""
    return f"{'about ' if row['estimated'] else ''}{row['kv_tokens']:,}{tried}"


def _outage(row: Mapping) -> str:
    seconds = row["outage_seconds"]
    if seconds is None:
        return "not known"
    return f"about {_units.duration(seconds)}" if seconds else ""
