# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a server may take to start; it grows with what there is to read."""

from __future__ import annotations

import math

from ..options._release import Release

# What does not depend on the model's size: processes, compilation, graphs.
BASE_SECONDS = 1200
# A slow disk. Local ones read ten times as fast; over network file systems, starts of more than an hour are known.
BYTES_PER_SECOND = 50e6

# vLLM gives its engine this long to load the model, from 0.14 on, and ends when it takes longer.
READY_TIMEOUT_ENV = "VLLM_ENGINE_READY_TIMEOUT_S"
READY_TIMEOUT = 600
_READY_TIMEOUT_SINCE = (0, 14)


def time_limit(weight_bytes: int) -> int:
    """Return how many seconds to wait for a server that loads this many bytes."""
    return BASE_SECONDS + int(weight_bytes / BYTES_PER_SECOND)


def ready_timeout_env(weight_bytes: int, release: Release | None) -> dict[str, str]:
    """Return more time, in steps of ten minutes, for a model that a slow disk does not give in vLLM's own ten minutes.

    It is part of the key of vLLM's compile cache, so it must not change without need: small models leave it alone.
    """
    seconds = READY_TIMEOUT / 2 + weight_bytes / BYTES_PER_SECOND
    if seconds <= READY_TIMEOUT or (release is not None and release[:2] < _READY_TIMEOUT_SINCE):
        return {}
    return {READY_TIMEOUT_ENV: str(math.ceil(seconds / READY_TIMEOUT) * READY_TIMEOUT)}
