# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._argv import (
    EngineError,
    name_problem,
    serve_arguments,
)


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ({}, []),
        ({"max_model_len": 81920}, ["--max-model-len", "81920"]),
        ({"max_model_len": "128K"}, ["--max-model-len", "128K"]),
        ({"max_model_len": "auto"}, ["--max-model-len", "auto"]),
        ({"gpu_memory_utilization": 0.9}, ["--gpu-memory-utilization", "0.9"]),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"quantization": None}, []),
        ({"disable_log_stats": False}, []),
        ({"disable_log_stats": True}, ["--disable-log-stats"]),
        ({"max_model_len": -1}, ["--max-model-len=-1"]),
        ({"cudagraph_capture_sizes": [1, 2, 4]}, ["--cudagraph-capture-sizes", "1", "2", "4"]),
        ({"allowed_origins": ["https://chat.example.com"]}, ["--allowed-origins", '["https://chat.example.com"]']),
        ({"allowed_origins": []}, ["--allowed-origins", "[]"]),
        ({"device_ids": [2, 3]}, ["--device-ids", "2,3"]),
        (
            {"disable_access_log_for_endpoints": ["/health", "/metrics"]},
            ["--disable-access-log-for-endpoints", "/health,/metrics"],
        ),
        ({"middleware": ["a.B", "c.D"]}, ["--middleware", "a.B", "--middleware", "c.D"]),
        (
            {"speculative_config": {"num_speculative_tokens": 3, "method": "ngram"}},
            ["--speculative-config", '{"method":"ngram","num_speculative_tokens":3}'],
        ),
        (
            {"compilation_config": {"pass_config": {"fuse": True, "level": None}, "sizes": [1, 2]}},
            ["--compilation-config", '{"pass_config":{"fuse":true,"level":null},"sizes":[1,2]}'],
        ),
        (
            {"lora_modules": [{"name": "sql", "path": "/adapters/sql"}, "chat=/adapters/chat"]},
            ["--lora-modules", '{"name":"sql","path":"/adapters/sql"}', "chat=/adapters/chat"],
        ),
        ({"chat_template": "{{ messages }} ü"}, ["--chat-template", "{{ messages }} ü"]),
        ({"tensor_parallel_size": 2, "dtype": "half"}, ["--dtype", "half", "--tensor-parallel-size", "2"]),
    ],
)
def test_arguments(engine: dict[str, t.Any], expected: list[str]) -> None:
    assert serve_arguments(engine) == expected


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"port": 8001}, "engine.port is not set here; use port"),
        ({"host": "127.0.0.1"}, "engine.host is not set here; use bind"),
        ({"api_key": "x"}, "engine.api_key is not set here; use api_keys"),
        ({"api-key": "x"}, "engine.api-key is not set here; use api_keys"),
        ({"served_model_name": "x"}, "engine.served_model_name is not set here; use served_model_names"),
        ({"model": "x"}, "engine.model is not set here; use model"),
        ({"max-model-len": 1}, "engine.max-model-len is not an option name; write it with underscores: max_model_len"),
        (
            {"--max-model-len": 1},
            "engine.--max-model-len is not an option name; write it with underscores: max_model_len",
        ),
        (
            {"no_enable_prefix_caching": True},
            "engine.no_enable_prefix_caching is the negative form; write enable_prefix_caching: false",
        ),
        (
            {"cudagraph_capture_sizes": []},
            "engine.cudagraph_capture_sizes is an empty list; leave it out to keep vLLM's default",
        ),
        ({"served": ["-x"]}, "engine.served holds -x, which begins with a dash; vLLM would take it for an option"),
        ({"chat_template": "a\x00b"}, "engine.chat_template holds a NUL character, which no argument can carry"),
        (
            {"x": {"y": float("nan")}},
            "engine.x holds nan, which is not a number that can be used",
        ),
    ],
)
def test_what_cannot_be_an_argument(engine: dict[str, t.Any], message: str) -> None:
    with pytest.raises(EngineError) as error:
        serve_arguments(engine)
    assert str(error.value).startswith(message)


def test_a_name_that_is_no_string() -> None:
    assert name_problem(5) == "an option name must be a string, not a number (5)"
