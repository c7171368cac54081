# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a declared server fits, from what is known of its model and its GPUs, and what would fit in its place."""

from __future__ import annotations

import json
import typing as t

from ..module_utils._vllm.options._release import release_of, repository_of
from ..module_utils._vllm.options._suggestions import whole_number
from ._host_vars import FLAG, LINE, NUMBER, SHOWN, WHOLE
from .fit import _verdict

Mapping = t.Mapping[str, t.Any]
MIB = 2**20
FP8_KV_CACHE = 8.9


def device_of(server: Mapping) -> str:
    """Return the device that the image computes on; vLLM's image for CPUs uses the CPU whatever GPUs it is given."""
    return "cpu" if not server["gpus"] or "cpu" in repository_of(server["image"]).rpartition("/")[2] else "cuda"


def gpu_of(gpus: t.Sequence[Mapping]) -> _verdict.Gpu | None:
    """Return the smallest of a server's GPUs; None when it has none, or the driver does not tell."""
    sized = [(_memory_of(one), one) for one in gpus]
    if not sized or not all(memory for memory, _gpu in sized):
        return None
    memory, least = min(sized, key=lambda pair: pair[0])
    return _verdict.Gpu(memory * MIB, str(least["name"]), capability_of(least), bool(least.get("unified")))


def capability_of(gpu: Mapping) -> float:
    """Return the compute capability of a GPU as a number; 0 where it is not known."""
    major, _dot, minor = str(gpu.get("compute_capability") or "").partition(".")
    known = whole_number(major) is not None and whole_number(minor or "0") is not None
    return float(f"{major}.{minor or 0}") if known else 0.0


def _memory_of(gpu: Mapping) -> int:
    """Return the MiB that CUDA sees, 0 where the driver does not tell.

    The driver keeps a part of the total for itself, which is neither used nor free. Unified memory is told as the
    host's, all of which CUDA sees.
    """
    memory = gpu.get("memory") or {}
    used, free = memory.get("used"), memory.get("free")
    return int(used) + int(free) if used is not None and free else int(memory.get("total") or 0)


def draft_of(server: Mapping) -> str:
    """Return the draft model of a server: a path, or a name at the hub; empty for none."""
    stated = server["engine"].get("speculative_config")
    return str(stated.get("model") or "") if isinstance(stated, t.Mapping) else ""


def request_of(
    server: Mapping, model: Mapping, gpus: t.Sequence[Mapping], draft: Mapping | None = None
) -> _verdict.Request | None:
    """Return the request to judge; None without a configuration of the model. ``draft`` is the draft model."""
    if not isinstance(model.get("config"), t.Mapping) or not model["config"]:
        return None
    device = device_of(server)
    space = whole_number(server["env"].get("VLLM_CPU_KVCACHE_SPACE")) or 0
    return _verdict.Request(
        config=model["config"],
        engine=server["engine"],
        release=release_of(server["image"]),
        device=device,
        gpu=gpu_of(gpus) if device == "cuda" else None,
        weight_bytes=model.get("weight_bytes"),
        kv_cache_memory_bytes=space * 2**30 if device == "cpu" and space > 0 else None,
        draft_config=draft.get("config") if draft else None,
        draft_weight_bytes=draft.get("weight_bytes") if draft else None,
    )


def calibrated(
    request: _verdict.Request | None, server: Mapping, looked: Mapping, host: Mapping
) -> _verdict.Request | None:
    """Return the request with what the server's last start tells of the memory that is needed besides.

    It tells that only of the same image and model on as many GPUs.
    """
    measured = (host.get("measured") or {}).get(server["name"]) or {}
    container = looked.get("container") or {}
    before = container.get("engine")
    tokens = measured.get("kv_cache_tokens")
    if (
        request is None
        or not isinstance(before, t.Mapping)
        or not tokens
        or measured.get("config_hash") != container.get("config_hash")
    ):
        return request
    alike = all(
        before.get(name) == request.engine.get(name) for name in ("tensor_parallel_size", "pipeline_parallel_size")
    )
    if not alike or container.get("image") != server["image"]:
        return request
    earlier = request._replace(engine=before, max_model_len=measured.get("max_model_len"))
    concurrency = measured.get("max_concurrency")
    return request._replace(overhead_bytes=_verdict.overhead_behind(earlier, int(tokens), concurrency))


# What was reckoned, by what was asked. Most servers of a fleet are alike, and so are its GPUs.
_ANSWERS: dict[str, _verdict.Fit] = {}
_MOST_ANSWERS = 4096


def answer(request: _verdict.Request) -> _verdict.Fit:
    """Predict what a server will hold.

    Each request is computed once; one that cannot be computed cannot be predicted.
    """
    asked = json.dumps(request, sort_keys=True, default=str)
    found = _ANSWERS.get(asked)
    if found is None:
        try:
            found = _verdict.fit(request)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            why = "the model's config.json, or an option that it is read with, has a form that is not understood"
            found = _verdict.Fit(_verdict.CANNOT_PREDICT, (why,))
        if len(_ANSWERS) >= _MOST_ANSWERS:
            _ANSWERS.clear()
        _ANSWERS[asked] = found
    return found


def nearest(request: _verdict.Request, free_gpus: int) -> list[dict[str, t.Any]]:
    """Return the smallest changes of the options that make it fit, each by itself: what to set, and what that gives.

    ``free_gpus`` is how many GPUs of the host the server could have.
    """
    found: list[dict[str, t.Any]] = []
    now = answer(request)
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        value = now._asdict()[f"{name}_that_fits"]
        if value:
            found.append({name: value})
    length = now.max_model_len_that_fits or 0
    rounded = length // 1024 * 1024 if length >= 2048 else length // 128 * 128
    if rounded:
        found.append({"max_model_len": rounded})
    if request.device == "cuda" and request.gpu and request.gpu.compute_capability >= FP8_KV_CACHE:
        found.append({"kv_cache_dtype": "fp8"})
    if request.device == "cuda":
        size = max(1, whole_number(request.engine.get("tensor_parallel_size")) or 1)
        while 2 * size <= free_gpus:
            size *= 2
            found.append({"tensor_parallel_size": size})
    result: list[dict[str, t.Any]] = []
    for change in found:
        if any(set(change) == set(earlier["engine"]) for earlier in result):
            continue  # a smaller change of the same option does already
        then = answer(request._replace(engine={**request.engine, **change}))
        if then.verdict == _verdict.FITS:
            result.append({"engine": change, "kv_tokens": then.kv_tokens, "max_concurrency": then.max_concurrency})
    return result


# --- on other hosts ---------------------------------------------------------------------------------------------------

# The question of a server that does not fit, as its host's plan hands it on, and the kind of GPUs a host has.
QUESTION = {"config": SHOWN, "engine": SHOWN, "release": [WHOLE], "weight_bytes": WHOLE}
KIND = {"name": LINE, "memory": WHOLE, "compute_capability": NUMBER, "unified": FLAG, "count": WHOLE}

# GPUs of one kind do not tell the same memory to the last byte.
_MEMORY_STEP = 512 * MIB


def question(request: _verdict.Request) -> dict[str, t.Any] | None:
    """Return what another host has to be asked for a server; None for one that runs on the processor."""
    if request.device != "cuda":
        return None
    return {
        "config": request.config,
        "engine": dict(request.engine),
        "release": list(request.release or ()),
        "weight_bytes": request.weight_bytes,
    }


def kind_of(gpus: t.Sequence[Mapping]) -> dict[str, t.Any]:
    """Return the GPUs of a host as they count for other hosts' servers: the least, and how many; empty for none."""
    sound = [one for one in gpus if not one.get("problem")]
    least = gpu_of(sound)
    return {**least._asdict(), "count": len(sound)} if least is not None else {}


class Elsewhere:
    """The hosts on which a server would fit."""

    def __init__(self, kinds: t.Mapping[str, Mapping], listed: t.Callable[[t.Iterable[str], int], str]) -> None:
        self._groups: dict[tuple[t.Any, ...], list[str]] = {}
        self._least: dict[tuple[t.Any, ...], _verdict.Gpu] = {}
        self._listed = listed
        self._asked: dict[str, list[tuple[tuple[t.Any, ...], int]]] = {}
        for host, kind in sorted(kinds.items()):
            capability = float(kind["compute_capability"] or 0)
            gpu = _verdict.Gpu(kind["memory"] or 0, str(kind["name"] or "GPU"), capability, bool(kind["unified"]))
            key = (gpu.name, gpu.memory // _MEMORY_STEP, gpu.compute_capability, kind["count"] or 0)
            self._groups.setdefault(key, []).append(host)
            known = self._least.get(key)
            self._least[key] = gpu if known is None or gpu.memory < known.memory else known

    def hosts(self, row: Mapping) -> list[str]:
        """Name the hosts other than its own that have room for a row of the plan, by kind of GPU."""
        if not row["question"]:
            return []
        found = []
        for key, size in self._fitting(row["question"]):
            group = self._groups[key]
            # A few are named, and the rest counted; the list of a whole fleet helps nobody.
            named = [host for host in group[:5] if host != row["host"]]
            # Its own host may stand further behind.
            more = len(group) - len(named) - (1 if row["host"] in self._members(key) else 0)
            if not named:
                continue
            names = self._listed(named + [""] * more, 4)
            one = len(named) + more == 1
            found.append(f"{'host' if one else 'hosts'} {names} with {size} x {key[0]}")
        return found

    def _members(self, key: tuple[t.Any, ...]) -> frozenset[str]:
        if not hasattr(self, "_sets"):
            self._sets = {one: frozenset(hosts) for one, hosts in self._groups.items()}
        return self._sets[key]

    def _fitting(self, asked: Mapping) -> list[tuple[tuple[t.Any, ...], int]]:
        """Return the kinds of GPU on which a server fits, each with how many of them it needs; each is judged once."""
        text = json.dumps(asked, sort_keys=True, default=str)
        if text not in self._asked:
            sizes = ((key, self._size(asked, key)) for key in self._groups)
            self._asked[text] = [(key, size) for key, size in sizes if size]
        return self._asked[text]

    def _size(self, asked: Mapping, key: tuple[t.Any, ...]) -> int | None:
        config, engine = asked["config"], asked["engine"]
        if not isinstance(config, t.Mapping) or not isinstance(engine, t.Mapping):
            return None
        release = tuple(asked["release"])
        request = _verdict.Request(
            config=config,
            engine=engine,
            release=t.cast("t.Any", release) if len(release) == 3 else None,
            device="cuda",
            gpu=self._least[key],
            weight_bytes=asked["weight_bytes"],
        )
        size = max(1, whole_number(engine.get("tensor_parallel_size")) or 1)
        while size <= key[3]:
            if answer(request._replace(engine={**engine, "tensor_parallel_size": size})).verdict == _verdict.FITS:
                return size
            size *= 2
        return None


def said(changes: t.Sequence[Mapping], others: t.Sequence[str] = ()) -> str:
    """Return the end of a refusal, which says what would fit."""
    texts = [
        ", ".join(f"engine.{name}: {value}" for name, value in change["engine"].items())
        + (
            f" with {change['engine']['tensor_parallel_size']} GPUs"
            if "tensor_parallel_size" in change["engine"]
            else ""
        )
        for change in changes
        if isinstance(change["engine"], t.Mapping)
    ]
    texts += others
    return (
        f"; what fits: {'; or '.join(texts)}" if texts else "; no smaller context, KV cache or number of GPUs here fits"
    )
