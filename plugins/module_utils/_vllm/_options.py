# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Whether a release of vLLM has an option, and whether a value can be right for it."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._argv import OWNED, name_problem, normal_name
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._option_table import (
    BEFORE,
    CHOICES,
    INSTEAD,
    NEWEST,
    OPTIONS,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import Release, as_text
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._text import did_you_mean, kind

# vLLM's own short forms, which are no names here.
SHORT = {
    "ac": "attention_config",
    "asc": "api_server_count",
    "cc": "compilation_config",
    "dcp": "decode_context_parallel_size",
    "dp": "data_parallel_size",
    "ep": "enable_expert_parallel",
    "O": "optimization_level",
    "pcp": "prefill_context_parallel_size",
    "pp": "pipeline_parallel_size",
    "q": "quantization",
    "sc": "speculative_config",
    "tp": "tensor_parallel_size",
}


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
            problem = _release_problem(name, release) or _value_problem(name, value)
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
                f"is no option of vLLM up to {_minor(NEWEST)} and is passed on as it is, {_why(release)}{hint}"
            )
        else:
            problems[name] = f"is no option of vLLM {_text(release)}{hint}"
    return Findings(problems, remarks)


def _beyond(release: Release | None) -> bool:
    """Whether the release may have what the table does not know of."""
    return release is None or release[:2] > NEWEST


def _why(release: Release | None) -> str:
    return "for " + ("this image's release is not known" if release is None else f"vLLM {as_text(release)} is newer")


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
    """Whether vLLM of this release has the option."""
    first, last, _kind = OPTIONS[name]
    return _parts(first) <= tuple(release[:2]) and (not last or tuple(release[:2]) <= _parts(last))


def _advice(table: t.Mapping[str, str], name: str, release: t.Sequence[int]) -> str:
    """What to do instead, as long as this release has the options that it names."""
    text = table.get(name, "")
    named = [word for word in _WORD.findall(text) if word in OPTIONS]
    return f"; {text}" if text and all(has(word, release) for word in named) else ""


def choices_of(name: str, release: Release | None) -> tuple[str, ...]:
    """What the option takes in this release, or in any where that is not known; empty where any text may be right."""
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
        return f"is {value!r}, which no release of vLLM up to {_minor(NEWEST)} takes, and is passed on, {_why(release)}"
    return f"is {value!r}, which vLLM {_text(release)} does not take; choose from {', '.join(choices)}" + did_you_mean(
        value, choices
    )


def _value_problem(name: str, value: t.Any) -> str | None:
    wanted = OPTIONS[name][2]
    if value is None or not wanted:
        return None
    if wanted in ("bool", "switch"):
        if isinstance(value, bool):
            return None
        said = f" {value!r}" if isinstance(value, (str, int)) else ""
        return f"must be true or false, not {kind(value)}{said}"
    if isinstance(value, t.Mapping) and wanted != "list":
        return f"must be {_ARTICLES[wanted]}, not a mapping"
    if wanted in ("int", "float"):
        if isinstance(value, (bool, list, tuple)):
            return f"must be {_ARTICLES[wanted]}, not {kind(value)}"
        try:
            (int if wanted == "int" else float)(str(value))
        except ValueError:
            return f"must be {_ARTICLES[wanted]}, not {value!r}"
    return None


_WORD = re.compile(r"[a-z][a-z0-9_]+")
_ARTICLES = {"int": "a whole number", "float": "a number", "list": "a list"}


def _parts(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def _minor(release: tuple[int, int]) -> str:
    return ".".join(str(part) for part in release)
