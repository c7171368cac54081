# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a release of vLLM has an option, and whether a value can be right for it."""

from __future__ import annotations

import json
import math
import re
import typing as t

from ._argv import (
    OWNED,
    SHORT,
    name_problem,
    normal_name,
)
from ._option_table import (
    BEFORE,
    CHOICES,
    INSTEAD,
    NEWEST,
    OPTIONS,
)
from ._release import Release, as_text
from ._suggestions import (
    did_you_mean,
    kind,
    shown,
    whole_number,
)


class Findings(t.NamedTuple):
    """What is wrong with options, by option, and what cannot be told."""

    problems: dict[str, str]
    remarks: dict[str, str]


def check(engine: t.Mapping[str, t.Any], release: Release | None) -> Findings:
    """Hold options against the release; None is a release that is not known.

    An option, or a choice, that no known release has is a problem where the release is known to the table. Otherwise it
    may be new, or belong to a plugin, and is passed on with a remark.
    """
    problems: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for name, value in engine.items():
        if name_problem(name) is not None or normal_name(name) in OWNED:
            continue  # said elsewhere, without regard to the release
        if name in OPTIONS:
            problem = _release_problem(name, release) or _value_problem(name, value, release)
            if problem:
                problems[name] = problem
                continue
            problem = _choice_problem(name, value, release)
            if problem:
                (remarks if _beyond(release) else problems)[name] = problem
            continue
        hint = f"; did you mean {SHORT[name]}?" if name in SHORT else did_you_mean(name, OPTIONS)
        if _beyond(release):
            remarks[name] = (
                f"is not an option of vLLM up to {_minor(NEWEST)} and is passed on as it is, {_why(release)}{hint}"
            )
        else:
            problems[name] = f"is not an option of vLLM {_text(release)}{hint}"
    return Findings(problems, remarks)


def _beyond(release: Release | None) -> bool:
    """Say whether the release may have options that the table does not hold."""
    return release is None or release[:2] > NEWEST


def _why(release: Release | None) -> str:
    reason = "this image's release is not known" if release is None else f"vLLM {as_text(release)} is newer"
    return f"because {reason}"


def _text(release: Release | None) -> str:
    return "" if release is None else as_text(release)


def _release_problem(name: str, release: Release | None) -> str | None:
    first, last, _kind = OPTIONS[name]
    if release is None:
        if last:
            return f"was removed after vLLM {last}{_advice(INSTEAD, name, NEWEST) or '; leave it out'}"
        return None
    if release[:2] < _parts(first):
        advice = _advice(BEFORE, name, release) or "; use a newer image, or leave it out"
        return f"came with vLLM {first}, and the image holds {as_text(release)}{advice}"
    if last and release[:2] > _parts(last):
        advice = _advice(INSTEAD, name, release) or "; leave it out"
        return f"was removed after vLLM {last}, and the image holds {as_text(release)}{advice}"
    return None


def has(name: str, release: t.Sequence[int]) -> bool:
    """Say whether vLLM of this release has the option."""
    first, last, _kind = OPTIONS[name]
    return _parts(first) <= tuple(release[:2]) and (not last or tuple(release[:2]) <= _parts(last))


def _advice(table: t.Mapping[str, str], name: str, release: t.Sequence[int]) -> str:
    """Return what to do instead, as long as this release has the options that the advice names."""
    text = table.get(name, "")
    named = [word for word in _WORD.findall(text) if word in OPTIONS]
    return f"; {text}" if text and all(has(word, release) for word in named) else ""


def choices_of(name: str, release: Release | None) -> tuple[str, ...]:
    """Return what the option takes in this release, or in any where it is None; empty where any text may be right."""
    rows = [
        (choice, first, last)
        for choice, first, last in CHOICES.get(name, ())
        if release is None
        or release[:2] > NEWEST
        or (_parts(first) <= release[:2] and (not last or release[:2] <= _parts(last)))
    ]
    return () if any(choice == "*" for choice, _first, _last in rows) else tuple(choice for choice, _f, _l in rows)


def _choice_problem(name: str, value: t.Any, release: Release | None) -> str | None:
    choices = choices_of(name, release)
    if value is None or not choices or value in choices:
        return None
    if not isinstance(value, str):
        return f"must be one of {', '.join(choices)}, not {kind(value)}"
    if _beyond(release):
        known = f"no release of vLLM up to {_minor(NEWEST)} takes"
        return f"is {shown(value)}, which {known}, and is passed on, {_why(release)}"
    return (
        f"is {shown(value)}, which vLLM {_text(release)} does not take; choose from {', '.join(choices)}"
        + did_you_mean(value, choices)
    )


def _value_problem(name: str, value: t.Any, release: Release | None) -> str | None:
    wanted = OPTIONS[name][2]
    if value is None or not wanted:
        return None
    if wanted in ("bool", "switch"):
        if isinstance(value, bool):
            return None
        said = f" {shown(value)}" if isinstance(value, (str, int)) else ""
        return f"must be true or false, not {kind(value)}{said}"
    if wanted == "mapping":
        return _mapping_problem(name, value, release)
    if isinstance(value, t.Mapping) and wanted != "list":
        return f"must be {_ARTICLES[wanted]}, not a mapping"
    if wanted == "list":
        return None
    if isinstance(value, (bool, list, tuple)):
        return f"must be {_ARTICLES[wanted]}, not {kind(value)}"
    number = _number(value, wanted)
    if number is None:
        return f"must be {_ARTICLES[wanted]}, not {shown(value)}"
    return _range_problem(name, value, number)


# How vLLM reads "32k" and "1.5M": small letters are powers of ten, capital ones powers of two.
_HUMAN = re.compile(r"([0-9]+)(?:\.([0-9]+))?([kmgtKMGT])")
_POWERS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
AUTOMATIC = ("auto", "-1", -1)


def _number(value: t.Any, wanted: str) -> float | None:
    """Return the number that vLLM would read, None where it reads none. What vLLM chooses by itself is infinite."""
    if wanted == "length" and value in AUTOMATIC:
        return math.inf
    if wanted in ("count", "length") and isinstance(value, str):
        human = _HUMAN.fullmatch(value)
        if human and len(value) <= 20:
            return float(f"{human.group(1)}.{human.group(2) or 0}") * _POWERS[human.group(3)]
    if wanted != "float":
        if isinstance(value, float):
            return None
        return whole_number(value)
    try:
        number = float(value if isinstance(value, (int, float)) else str(value).strip())
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) and str(value).isascii() else None


# The least and the most that make sense; beyond them no vLLM starts. A share of a GPU's memory is more than nothing.
_RANGES: dict[str, tuple[float, float]] = {
    "api_server_count": (1, 1024),
    "block_size": (1, 1 << 20),
    "cpu_offload_gb": (0, 1 << 20),
    "data_parallel_size": (1, 1 << 16),
    "decode_context_parallel_size": (1, 1 << 16),
    "device_memory_utilization": (0.01, 1),
    "gpu_memory_utilization": (0.01, 1),
    "kv_cache_memory_bytes": (1, 1 << 50),
    "kv_offloading_size": (0, 1 << 20),
    "max_logprobs": (-1, 1 << 30),
    "max_lora_rank": (1, 1 << 16),
    "max_loras": (1, 1 << 16),
    "max_model_len": (1, 1 << 40),
    "max_num_batched_tokens": (1, 1 << 40),
    "max_num_seqs": (1, 1 << 24),
    "num_gpu_blocks_override": (1, 1 << 40),
    "pipeline_parallel_size": (1, 1 << 16),
    "swap_space": (0, 1 << 20),
    "tensor_parallel_size": (1, 1 << 16),
}


def _range_problem(name: str, value: t.Any, number: float) -> str | None:
    if name not in _RANGES or number == math.inf:
        return None
    least, most = _RANGES[name]
    if number < least:
        return f"is {shown(value)}; the least is {least:g}"
    return f"is {shown(value)}; the most is {most:g}" if number > most else None


# Until then limits on items of a prompt were one text, such as image=5,video=1.
_MAPPING_LIMITS = (0, 8, 5)
_LIMITS = re.compile(r"[a-z_]+=[0-9]+(?:,[a-z_]+=[0-9]+)*")


def _mapping_problem(name: str, value: t.Any, release: Release | None) -> str | None:
    if isinstance(value, t.Mapping):
        if name == "limit_mm_per_prompt" and _takes_limits_as_text(release):
            odd = next((key for key, limit in value.items() if whole_number(limit) is None), None)
            return None if odd is None else f"holds {odd}, which must be a whole number for vLLM {_text(release)}"
        return None
    if isinstance(value, str):
        if name == "limit_mm_per_prompt" and _LIMITS.fullmatch(value):
            if _takes_limits_as_text(release):
                return None
            pairs = ", ".join(": ".join(pair.split("=")) for pair in value.split(","))
            return f"must be a mapping, not {shown(value)}; write {name}: {{{pairs}}}"
        try:
            if isinstance(json.loads(value), dict):
                return None
        except (ValueError, RecursionError):
            pass
        return f"must be a mapping, or one as JSON, not {shown(value)}"
    if name == "compilation_config" and (release is None or not has("optimization_level", release)):
        level = whole_number(value)
        if level is not None and 0 <= level <= 3:
            return None
    return f"must be a mapping, not {kind(value)}"


def _takes_limits_as_text(release: Release | None) -> bool:
    return release is not None and release < _MAPPING_LIMITS


def in_form_of(engine: t.Mapping[str, t.Any], release: Release | None) -> dict[str, t.Any]:
    """Return the options as the release reads them; an old release wants another form for some."""
    limits = engine.get("limit_mm_per_prompt")
    if isinstance(limits, t.Mapping) and limits and _takes_limits_as_text(release):
        return {**engine, "limit_mm_per_prompt": ",".join(f"{key}={limit}" for key, limit in sorted(limits.items()))}
    return dict(engine)


_WORD = re.compile(r"[a-z][a-z0-9_]+")
_ARTICLES = {
    "int": "a whole number",
    "float": "a number",
    "count": "a whole number, or one such as 32k",
    "length": "a whole number, one such as 32k, or auto",
}


def _parts(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def _minor(release: tuple[int, int]) -> str:
    return ".".join(str(part) for part in release)
