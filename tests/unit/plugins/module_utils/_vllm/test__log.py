# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm import _log

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "vllm"


@pytest.mark.parametrize(
    ("raw", "level", "text"),
    [
        ("(EngineCore pid=24) INFO 11-23 12:00:53 [core.py:133] Initializing", "INFO", "Initializing"),
        ("(EngineCore_DP0 pid=24) ERROR 11-23 12:00:53 [core.py:1510]     raise X", "ERROR", "    raise X"),
        ("INFO 11-23 12:00:53 [__init__.py:1] text", "INFO", "text"),
        ("(Worker_TP0 pid=9) \x1b[32mtext\x1b[0m", "", "text"),
        ("Loading: 0%\rLoading: 50%\rLoading: 100%", "", "Loading: 100%"),
        ("plain", "", "plain"),
        ("", "", ""),
    ],
)
def test_parse_line(raw: str, level: str, text: str) -> None:
    assert _log.parse_line(raw) == _log.Line(level, text)


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (
            "Loading safetensors checkpoint shards:  35% Completed | 7/20 [00:01<?, ?it/s]",
            "loading weights, file 7 of 20",
        ),
        ("(Worker pid=9) INFO 11-23 12:00:53 [x.py:1] Loading weights took 3.20 seconds", "measuring memory"),
        ("INFO 11-23 12:00:53 [x.py:1] Model loading took 61.03 GiB and 12.3 seconds", "measuring memory"),
        ("Capturing CUDA graphs (PIECEWISE):  43%|####      | 29/67 [00:03<00:04]", "capturing CUDA graphs, 43 %"),
        ("INFO 11-23 12:00:53 [x.py:1] Dynamo bytecode transform time: 5.2 s", "compiling the model"),
        ("INFO:     Application startup complete.", "answering"),
        ("WARNING 11-23 12:00:53 [x.py:1] disabling torch.compile, CUDAGraphs, and JIT kernel warmup.", None),
        ("nothing of interest", None),
    ],
)
def test_phase(line: str, phase: str | None) -> None:
    assert _log.phase(line) == phase


def test_a_real_start_from_first_to_last_phase() -> None:
    phases: list[str] = []
    for line in (FIXTURES / "start_0.32.0.log").read_text().splitlines():
        phase = _log.phase(line)
        if phase is not None and phase not in phases:
            phases.append(phase)
    assert phases == [
        "reading options",
        "reading the model's configuration (Qwen3ForCausalLM)",
        "starting the engine",
        "loading weights",
        "loading weights, file 0 of 1",
        "loading weights, file 1 of 1",
        "measuring memory",
        "warming up with a KV cache of 2,097,152 tokens",
        "opening the API",
        "answering",
    ]


def test_facts_of_a_real_start() -> None:
    facts = _log.facts((FIXTURES / "start_0.32.0.log").read_text().splitlines())
    assert facts["kv_cache_tokens"] == 2097152
    assert facts["max_concurrency"] == 4096.0
    assert facts["max_model_len"] == 512


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        ([], {}),
        (
            [
                "GPU KV cache size: 123,456 tokens",
                "Maximum concurrency for 40,960 tokens per request: 3.01x",
                "Available KV cache memory: 18.75 GiB",
                "Model loading took 61.0348 GiB and 22.4 seconds",
                "Graph capturing finished in 21 secs, took 0.54 GiB",
                "torch.compile takes 34.10 s in total",
            ],
            {
                "kv_cache_tokens": 123456,
                "max_concurrency": 3.01,
                "max_model_len": 40960,
                "kv_cache_gib": 18.75,
                "weights_gib": 61.0348,
                "load_seconds": 22.4,
                "graph_seconds": 21.0,
                "compile_seconds": 34.1,
            },
        ),
        (["GPU KV cache size: 1 tokens", "GPU KV cache size: 2 tokens"], {"kv_cache_tokens": 2}),
    ],
    ids=["nothing", "two-lines-up-to-0.26", "second-start"],
)
def test_facts(lines: list[str], facts: dict[str, float]) -> None:
    assert _log.facts(lines) == facts
