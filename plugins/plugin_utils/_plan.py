# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""The plan: what will change on which server and why, what it costs, what it will hold, and what stands in its way.

Pure functions over what the hosts told; the filters are thin.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._container import with_parallel_size
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._instances import VARIABLE, gpu_count
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._model_files import weight_bytes
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import repository_of
from ansible_collections.private_llm.fleet.plugins.plugin_utils import _plan_fit, _plan_gpus
from ansible_collections.private_llm.fleet.plugins.plugin_utils._fleet import table
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict
from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit._layers import text_config

Mapping = t.Mapping[str, t.Any]

# An image of vLLM with CUDA is unpacked to more than this many bytes; what is smaller cannot hold it.
IMAGE_BYTES = {"vllm-openai": 20 * 10**9, "vllm-openai-cpu": 3 * 10**9}


def host_plan(
    instances: t.Sequence[Mapping], looked: t.Sequence[Mapping], host: Mapping, models: Mapping, archive: str = ""
) -> dict[str, list[t.Any]]:
    """The plan of one host: ``servers``, a row for each, ``problems`` that stop it, and ``notes`` that do not.

    ``instances`` are in their normal form, ``looked`` holds the results of vllm_server in check mode, ``host`` is what
    vllm_host_info returned, ``models`` what model_snapshot said of each repository in check mode.
    """
    declared = [{**_effective(instance), "where": f"{VARIABLE}[{index}]"} for index, instance in enumerate(instances)]
    seen = {str(result.get("name") or result["item"]["name"]): result for result in looked}
    gpu = host.get("gpu") or {"gpus": [], "processes": [], "topology": [], "driver_version": None}
    started = [one for one in declared if one["state"] == "started" and one["gpus"]]
    given, refused = _plan_gpus.assign(started, gpu["gpus"])
    by_uuid = _plan_gpus.devices(gpu["gpus"])

    def label(uuid: str) -> str:
        return str(by_uuid[uuid]["label"])

    why = "" if gpu["gpus"] else str(gpu.get("message") or "")
    problems = [f"{_where(declared, name)}.gpus: {why or text}" for name, text in refused]
    problems += _plan_gpus.shared(started, given, label)
    problems += _room_problems(declared, host, models, archive)
    rows = []
    notes = []
    for server in declared:
        mine = [by_uuid[uuid] for uuid in given.get(server["name"], [])]
        model = _model(server, host, models)
        row = _row(server, seen.get(server["name"], {}), model, host)
        if server["state"] == "started":
            request = _plan_fit.request_of(server, model, mine)
            request = _plan_fit.calibrated(request, server, seen.get(server["name"], {}), host)
            _predict(row, request)
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
                problems.append(f"{server['where']}: {_refusal(row)}{_plan_fit.said(row['nearest'])}")
            if row["verdict"] != _verdict.DOES_NOT_FIT:
                notes += [f"{server['where']}: {server['name']}: {reason}" for reason in row["reasons"]]
        rows.append(row)
    return {"servers": rows, "problems": sorted(problems), "notes": sorted(notes)}


def _effective(instance: Mapping) -> dict[str, t.Any]:
    """The instance with the options that its container gets."""
    return {**instance, "engine": with_parallel_size(instance["engine"], gpu_count(instance["gpus"]))}


def _where(declared: t.Sequence[Mapping], name: str) -> str:
    return next(str(server["where"]) for server in declared if server["name"] == name)


def _refusal(row: Mapping) -> str:
    return f"{row['name']} does not fit: {row['reasons'][-1]}"


def _model(server: Mapping, host: Mapping, models: Mapping) -> Mapping:
    """What is known of a server's model: from the hub's listing when it comes from there, else from its folder."""
    there: Mapping = (host.get("models") or {}).get(server["model_path"]) or {}
    listed: Mapping = models.get(server["model_repo"]) or {}
    if not listed.get("config"):
        return {**there, **{key: listed[key] for key in ("bytes_missing",) if key in listed}}
    files = [(str(entry["path"]), int(entry["size"])) for entry in listed.get("files") or []]
    return {**listed, "weight_bytes": weight_bytes(files)}


def _nature(model: Mapping) -> tuple[str, str]:
    config = model.get("config") or {}
    inner = text_config(config)
    quantization = config.get("quantization_config") or inner.get("quantization_config") or {}
    return str(quantization.get("quant_method") or ""), str(inner.get("model_type") or "")


def _row(server: Mapping, looked: Mapping, model: Mapping, host: Mapping) -> dict[str, t.Any]:
    """What is known before anything is predicted."""
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
        "bytes_to_fetch": model.get("bytes_missing", 0 if model.get("config") else None),
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
        "nearest": [],
    }


_NO_CONFIG = "what it will hold cannot be predicted, for the model's config.json is not known before the model has come"


def _predict(row: dict[str, t.Any], request: _verdict.Request | None) -> None:
    """Fill in what the server will hold: as it measured itself, where nothing changes, else as reckoned."""
    if request is None:
        row.update(verdict=_verdict.CANNOT_PREDICT, reasons=[_NO_CONFIG])
    else:
        answer = _verdict.fit(request).as_result()
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


def _idle(server: Mapping, count: int) -> list[str]:
    engine = server["engine"]
    used = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        size = engine.get(name)
        used *= int(size) if str(size).isdigit() else 1
    if used >= count or engine.get("nnodes") not in (None, 1):
        return []
    use = (
        f"gives {count} GPUs, and {server['name']} uses {used}; set engine.tensor_parallel_size: {count}, or give fewer"
    )
    return [f"{server['where']}.gpus: {use}"]


def _room_problems(declared: t.Sequence[Mapping], host: Mapping, models: Mapping, archive: str) -> list[str]:
    """Disks that cannot hold what is missing, all of it together."""
    problems = []
    folder = host.get("image_folder") or {}
    needs: dict[t.Any, list[tuple[str, int]]] = {}
    for image in dict.fromkeys(server["image"] for server in declared if server["state"] != "absent"):
        size = IMAGE_BYTES.get(repository_of(image).rpartition("/")[2], 0)
        if (host.get("images") or {}).get(image) is False and size and not archive:
            needs.setdefault(folder.get("device"), []).append((f"image {image}", size))
    rooms = {folder.get("device"): (folder.get("free"), folder.get("path"))}
    for root, told in (host.get("folders") or {}).items():
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
            problems.append(
                f"{path} has {_size(free)} free, and {_size(total)} are needed for {what}; make room there, "
                "or put models elsewhere with vllm_server_models_root and model_download_root"
            )
    return problems


def _size(count: int) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**8 else f"{count / 10**6:.1f} MB"


# --- the fleet --------------------------------------------------------------------------------------------------------


def fleet_plan(hosts: t.Sequence[str], hostvars: Mapping, found: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """One structure for programs and one table for people, from what each host's role told in ``vllm_server_plan``.

    ``found`` are the problems noted so far, each beginning with its host. A server that does not fit on its host is
    tried on the GPUs of the others.
    """
    plans = {host: hostvars[host]["vllm_server_plan"] for host in hosts if "vllm_server_plan" in hostvars[host]}
    problems = [_elsewhere(problem, plans, hostvars) for problem in found]
    problems += _twice(hosts, hostvars)
    rows = [{"host": host, **row} for host in sorted(plans) for row in plans[host]["servers"]]
    notes = sorted(f"{host}: {note}" for host in plans for note in plans[host]["notes"])
    return {
        "servers": rows,
        "problems": sorted(problems, key=_natural),
        "notes": notes,
        "lines": _lines(rows) + [f"note: {note}" for note in notes],
    }


def _natural(text: str) -> list[t.Any]:
    """gpu-2 before gpu-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _elsewhere(problem: str, plans: Mapping, hostvars: Mapping) -> str:
    """The same problem, with the other hosts on which a server that does not fit would."""
    for host, plan in plans.items():
        for row in plan["servers"]:
            if problem.startswith(f"{host}: {row['where']}: {row['name']} does not fit"):
                others = _hosts_for(row["name"], host, plans, hostvars)
                return f"{host}: {row['where']}: {_refusal(row)}{_plan_fit.said(row['nearest'], others)}"
    return problem


def _hosts_for(name: str, host: str, plans: Mapping, hostvars: Mapping) -> list[str]:
    inputs = hostvars[host]["vllm_server_plan_inputs"]
    server = next(_effective(instance) for instance in inputs["instances"] if instance["name"] == name)
    request = _plan_fit.request_of(server, _model(server, inputs["host"], inputs["models"]), [])
    found = []
    for other in plans:
        gpus = (hostvars[other]["vllm_server_plan_inputs"]["host"].get("gpu") or {}).get("gpus") or []
        count = _plan_fit.fits_on(request, gpus) if request is not None and other != host else None
        if count:
            found.append(f"host {other} with {count} x {gpus[0]['name']}")
    return found


def _twice(hosts: t.Sequence[str], hostvars: Mapping) -> list[str]:
    """Hosts of the inventory that are one machine: their servers share names, ports and GPUs without knowing it."""
    seen: dict[tuple[str, str], str] = {}
    problems = []
    for host in hosts:
        told = hostvars[host]
        address = str(told.get("ansible_host") or "")
        if not address or told.get("ansible_connection") in ("local", "docker", "community.docker.docker"):
            continue
        first = seen.setdefault((address, str(told.get("ansible_port") or 22)), host)
        if first != host:
            problems.append(
                f"{host}: ansible_host {address} is also that of {first}; one machine is in the inventory twice, and "
                "both names would claim its ports and GPUs: leave one of them"
            )
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
        "fetches": "?" if fetched is None else _size(fetched) if fetched else "",
        "KV tokens": _tokens(row),
        "at once": f"{concurrency:.1f}" if concurrency else "",
        "context": f"{length:,}" if length else "",
        "down for": _outage(row),
    }


def _tokens(row: Mapping) -> str:
    if row["kv_tokens"] is None:
        return "?" if row["verdict"] == _verdict.CANNOT_PREDICT else ""
    return f"{'about ' if row['estimated'] else ''}{row['kv_tokens']:,}"


def _outage(row: Mapping) -> str:
    seconds = row["outage_seconds"]
    if seconds is None:
        return "not known"
    return f"about {seconds:.0f} s" if seconds else ""
