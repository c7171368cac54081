# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The labels that mark a container as a vLLM server of this collection."""

from __future__ import annotations

import typing as t

LABEL_MANAGED_BY = "private_llm.fleet.managed-by"
LABEL_NAME = "private_llm.fleet.name"
LABEL_CONFIG = "private_llm.fleet.config"
LABEL_KEYS = "private_llm.fleet.keys"  # a salted hash of the keys that the container was made with
# One of several containers, each on a host of its own, that are one server: "RANK:NODE,NODE". Nobody starts one alone.
LABEL_MEMBER = "private_llm.fleet.member"
MANAGED_BY = "private_llm.fleet"
# Other containers of the collection carry the same managed-by label; this one says which of them are vLLM servers.
LABEL_KIND = "private_llm.fleet.kind"
KIND = "vllm_server"


def is_managed(inspect: t.Mapping[str, t.Any]) -> bool:
    """Say whether a container is a vLLM server that this collection made."""
    have = (inspect.get("Config") or {}).get("Labels") or {}
    return have.get(LABEL_MANAGED_BY) == MANAGED_BY and have.get(LABEL_KIND) == KIND
