# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is predicted, held against servers on H200 and on four H100: tensor parallel, states, experts, MLA."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.fit import _verdict

RECORDED = json.loads(
    (pathlib.Path(__file__).parents[3] / "fixtures/vllm/gpu_0.23.0_hopper.json").read_text(encoding="utf-8")
)
CASES = RECORDED["cases"]
GIB = 2**30
# vLLM prints memory with two digits, up to 0.02 % of these caches. 0.23.0 counts the blocks of states in another way.
EXACT, WITH_STATES = 0.0002, 0.007
# The furthest that the cache was off where the overhead is estimated, in GiB: what is estimated less what was measured.
TOO_SMALL, TOO_LARGE = -0.85, 1.7


def predict(name: str, **known: t.Any) -> _verdict.Fit:
    case = CASES[name]
    gpu = RECORDED["gpus"][case["gpu"]]
    request = _verdict.Request(
        config=case["config"],
        # 0.23.0 counts one step's tokens in flight, as later releases do without async scheduling. What weights need
        # that are quantized while they are loaded is measured here, and not to be estimated.
        engine={"async_scheduling": False, **case["engine"], "quantization": None},
        release=(0, 23, 0),
        gpu=_verdict.Gpu(gpu["free_mib"] * 2**20, gpu["name"], gpu["compute_capability"]),
        **known,
    )
    return _verdict.fit(request)


@pytest.mark.parametrize("name", sorted(CASES))
def test_tokens_for_the_memory_that_there_was(name: str) -> None:
    case = CASES[name]
    found = predict(name, kv_cache_memory_bytes=int(case["kv_cache_gib"] * GIB))
    off = WITH_STATES if name.startswith("hybrid") else EXACT
    assert found.kv_tokens == pytest.approx(case["kv_cache_tokens"], rel=off)
    assert found.max_concurrency == pytest.approx(case["max_concurrency"], rel=off + 0.001)


@pytest.mark.parametrize("name", sorted(CASES))
def test_memory_that_is_left_for_the_cache(name: str) -> None:
    case = CASES[name]
    weights = int(case["weights_gib"] * GIB) * int(case["engine"].get("tensor_parallel_size", 1))
    found = predict(name, weight_bytes=weights)
    assert found.verdict == "fits"
    assert found.kv_cache_bytes is not None
    assert TOO_SMALL <= found.kv_cache_bytes / GIB - case["kv_cache_gib"] <= TOO_LARGE
    # With the most that is expected to be needed there is less room than there was.
    assert found.kv_tokens_least is not None
    assert found.kv_tokens_least <= case["kv_cache_tokens"] * (1 + WITH_STATES)
