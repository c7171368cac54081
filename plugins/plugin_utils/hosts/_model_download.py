# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge the models that are declared for a host, for the role model_download, before a hub is asked for one."""

from __future__ import annotations

import re
import typing as t
from collections import Counter

from .._host_vars import LINE, MAPPING, conform, silent

DEFAULTS = {
    "source!": LINE,
    "sources": [MAPPING],
    "token": LINE,
    "proxy": LINE,
    "packages": {"modelscope": [LINE], "huggingface": [LINE]},
}
_REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*")

Told = t.Mapping[str, t.Any]


def needs_of(models: t.Sequence[Told], defaults: Told) -> dict[str, t.Any]:
    """Return which models are to be there, what they need on the host, and what is wrong with them."""
    present = [model for model in models if model.get("state") != "absent"]
    kinds = sorted({kind for model in present for kind in _kinds(model, defaults)})
    return {
        "present": present,
        "kinds": kinds,
        "packages": [package for kind, named in defaults["packages"].items() if kind in kinds for package in named],
        "secret": _has_secret(models, defaults),
        "problems": _problems([str(model.get("repo", "")) for model in models]),
    }


def _kinds(model: Told, defaults: Told) -> list[str]:
    """Return the kinds of the sources that a model may come from."""
    if "sources" not in model and "source" in model:
        return [str(model["source"])]
    sources = _sources(model) if "sources" in model else defaults["sources"] or [{"source": defaults["source"]}]
    return [str(source.get("source")) for source in sources]


def _sources(model: Told) -> list[Told]:
    found: list[Told] = conform(model.get("sources"), [MAPPING], "sources", silent)
    return found


def _has_secret(models: t.Sequence[Told], defaults: Told) -> bool:
    named = (source for model in models for source in _sources(model))
    places = (*models, *named, *defaults["sources"])
    return bool(defaults["token"] or defaults["proxy"] or any("token" in place for place in places))


def _problems(repos: t.Sequence[str]) -> list[str]:
    problems = []
    unnamed = [repo for repo in repos if not _REPO.fullmatch(repo)]
    if unnamed:
        problems.append(
            f"repo of model_download_models is {', '.join(unnamed)}, which is not organization/name such as "
            "Qwen/Qwen3-8B"
        )
    twice = sorted(repo for repo, count in Counter(repos).items() if count > 1)
    if twice:
        problems.append(
            f"model_download_models names {', '.join(twice)} more than once, and a host has one release of a model in "
            "use; leave one entry for each, or put the other into another model_download_root"
        )
    return problems
