# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._timeouts import (
    ready_timeout_env,
    time_limit,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._release import Release

GB = 10**9


def test_the_time_grows_with_the_weights() -> None:
    assert time_limit(0) == 1200
    assert time_limit(140 * GB) == 1200 + 2800


@pytest.mark.parametrize(
    ("size", "release", "seconds"),
    [
        (0, (0, 32, 0), None),
        (15 * GB, (0, 32, 0), None),
        (16 * GB, (0, 32, 0), "1200"),
        (140 * GB, (0, 32, 0), "3600"),
        (140 * GB, None, "3600"),
        (140 * GB, (0, 13, 0), None),
    ],
)
def test_vllm_gets_more_time_for_what_takes_longer(size: int, release: Release | None, seconds: str | None) -> None:
    assert ready_timeout_env(size, release).get("VLLM_ENGINE_READY_TIMEOUT_S") == seconds
