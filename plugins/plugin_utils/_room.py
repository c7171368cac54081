# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Whether all models of a host fit on its file systems together."""

from __future__ import annotations

import typing as t

from ..module_utils._units import size
from ._host_vars import LINE, WHOLE

RESULT = {
    "item!": {"repo!": LINE},
    "file_system": LINE,
    "bytes_needed": WHOLE,
    "bytes_free": WHOLE,
}


def room_problems(looked: t.Sequence[t.Mapping[str, t.Any]], spare: int) -> list[str]:
    """Say for each file system that is too small what its models need, with ``spare`` bytes left to others."""
    needing = [result for result in looked if result["bytes_needed"] and result["bytes_free"] is not None]
    problems = []
    for file_system in dict.fromkeys(result["file_system"] for result in needing):
        there = [result for result in needing if result["file_system"] == file_system]
        needed = sum(result["bytes_needed"] for result in there)
        free = min(result["bytes_free"] for result in there)
        if needed + spare < free:
            continue
        models = ", ".join(f"{result['item']['repo']} {size(result['bytes_needed'])}" for result in there)
        problems.append(
            f"The models still need {size(needed)} on {file_system}, which has {size(free)} free: {models}. "
            "Make room, leave out a model or some of its files, or set model_download_root to a larger file system"
        )
    return problems
