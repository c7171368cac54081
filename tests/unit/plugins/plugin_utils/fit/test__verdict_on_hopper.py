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
# vLLM prints memory with two digits, up to 0.02 % of these caches.
EXACT = 0.0002
# The furthest that the cache was off where the overhead is estimated, in GiB: what is estimated less what was measured.
TOO_SMALL, TOO_LARGE, TOO_LARGE_SPREAD = -0.85, 2.5, 3.1


def predict(
    name: str, release: tuple[int, int, int] = (0, 23, 0), engine: dict[str, t.Any] | None = None, **known: t.Any
) -> _verdict.Fit:
    case = CASES[name]
    gpu = RECORDED["gpus"][case["gpu"]]
    request = _verdict.Request(
        config=case["config"],
        # 0.23.0 counts one step's tokens in flight, as later releases do without async scheduling. What weights need
        # that are quantized while they are loaded is measured here, and not to be estimated.
        engine={"async_scheduling": False, **case["engine"], "quantization": None, **(engine or {})},
        release=release,
        gpu=_verdict.Gpu(gpu["free_mib"] * 2**20, gpu["name"], gpu["compute_capability"]),
        **known,
    )
    return _verdict.fit(request)


@pytest.mark.parametrize("name", sorted(CASES))
def test_tokens_for_the_memory_that_there_was(name: str) -> None:
    case = CASES[name]
    found = predict(name, kv_cache_memory_bytes=int(case["kv_cache_gib"] * GIB))
    assert found.kv_tokens == pytest.approx(case["kv_cache_tokens"], rel=EXACT)
    assert found.max_concurrency == pytest.approx(case["max_concurrency"], abs=0.011)


@pytest.mark.parametrize("name", sorted(CASES))
def test_memory_that_is_left_for_the_cache(name: str) -> None:
    case = CASES[name]
    weights = int(case["weights_gib"] * GIB) * int(case["engine"].get("tensor_parallel_size", 1))
    found = predict(name, weight_bytes=weights)
    assert found.verdict == "fits"
    assert found.kv_cache_bytes is not None
    spread = "num_experts" in case["config"] and "tensor_parallel_size" in case["engine"]
    too_large = TOO_LARGE_SPREAD if spread else TOO_LARGE
    assert TOO_SMALL <= found.kv_cache_bytes / GIB - case["kv_cache_gib"] <= too_large
    # With the most that is expected to be needed there is less room than there was.
    assert found.kv_tokens_least is not None
    assert found.kv_tokens_least <= case["kv_cache_tokens"] * (1 + EXACT)


def at_once(name: str, release: tuple[int, int, int], **engine: t.Any) -> float | None:
    return predict(name, release, engine, kv_cache_memory_bytes=64 * GIB).max_concurrency


@pytest.mark.parametrize("name", ["hybrid_12_layers", "granite_4_h_small_eager"])
def test_a_state_is_kept_once_where_no_prefixes_are_cached(name: str) -> None:
    """Up to 0.25 vLLM caches none of models with states unless it is told to, and from 0.26 on it does."""
    once = at_once(name, (0, 25, 0))
    assert once == at_once(name, (0, 25, 0), enable_prefix_caching=False)
    assert once == at_once(name, (0, 32, 0), enable_prefix_caching=False)
    asked = at_once(name, (0, 25, 0), enable_prefix_caching=True, mamba_cache_mode="align")
    assert asked == at_once(name, (0, 28, 0))
    assert once is not None
    assert asked is not None
    assert once > asked


@pytest.mark.parametrize(
    ("release", "engine"), [((0, 25, 0), {"enable_prefix_caching": True}), ((0, 26, 0), {}), ((0, 27, 1), {})]
)
def test_states_of_mamba_at_each_block_are_not_known(release: tuple[int, int, int], engine: dict[str, t.Any]) -> None:
    found = predict("granite_4_h_small_eager", release, engine, kv_cache_memory_bytes=64 * GIB)
    assert found.verdict == "cannot_predict"
    assert "enable_prefix_caching" in found.reasons[-1]
    # Other states are kept where they end alone.
    assert predict("hybrid_12_layers", release, engine, kv_cache_memory_bytes=64 * GIB).verdict == "fits"
