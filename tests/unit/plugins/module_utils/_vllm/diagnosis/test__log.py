# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _log

FIXTURES = pathlib.Path(__file__).parents[4] / "fixtures" / "vllm"


@pytest.mark.parametrize(
    ("raw", "level", "text", "process"),
    [
        ("(EngineCore pid=24) INFO 11-23 12:00:53 [core.py:133] Initializing", "INFO", "Initializing", "EngineCore"),
        (
            "(EngineCore_DP0 pid=24) ERROR 11-23 12:00:53 [core.py:9]     raise X",
            "ERROR",
            "    raise X",
            "EngineCore_DP0",
        ),
        ("(Worker pid=1) (Worker_TP3 pid=1) ERROR 03-05 09:56:09 [x.py:880] text", "ERROR", "text", "Worker_TP3"),
        ("(RayWorkerWrapper pid=7, ip=10.0.0.2) (Worker pid=7) (X pid=7) text", "", "text", "X"),
        ("(VllmWorker rank=1 pid=310) ERROR 05-02 10:22:18 [x.py:470] text", "ERROR", "text", "VllmWorker"),
        ("INFO 11-23 12:00:53 [__init__.py:1] text", "INFO", "text", ""),
        ("INFO 02-11 12:00:53 __init__.py:190] text", "INFO", "text", ""),
        ("INFO:     Started server process [1]", "INFO", "Started server process [1]", ""),
        ("ERROR:    [Errno 98] no", "ERROR", "[Errno 98] no", ""),
        ("2026-11-23 08:11:02,123\tINFO worker.py:1888 -- Started", "INFO", "Started", ""),
        ("[W1128 04:53:48.456 ProcessGroupNCCL.cpp:12] Warning: text", "WARNING", "Warning: text", ""),
        ("W1128 04:53:48.456000 1 torch/_library/triton.py:53] text", "WARNING", "text", ""),
        ("/usr/lib/python3/x.py:12: UserWarning: text", "WARNING", "text", ""),
        ("gpu-01:7:9 [0] NCCL INFO Bootstrap: text", "INFO", "Bootstrap: text", ""),
        ("(Worker_TP0 pid=9) \x1b[32mtext\x1b[0m", "", "text", "Worker_TP0"),
        ("(a) give it more memory (pid=no)", "", "(a) give it more memory (pid=no)", ""),
        ("Loading: 0%\rLoading: 50%\rLoading: 100%", "", "Loading: 100%", ""),
        ("plain", "", "plain", ""),
        ("", "", "", ""),
    ],
)
def test_parse_line(raw: str, level: str, text: str, process: str) -> None:
    assert _log.parse_line(raw)[:3] == (level, text, process)


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


@pytest.mark.parametrize(
    "line",
    [
        "Available KV cache memory: 1.2.3 GiB",
        "Model loading took ... GiB",
        "KV cache size: ,, tokens",
        f"KV cache size: {'9' * 5000} tokens",
    ],
)
def test_a_torn_number_is_no_fact_and_no_traceback(line: str) -> None:
    assert _log.facts([line]) == {}
