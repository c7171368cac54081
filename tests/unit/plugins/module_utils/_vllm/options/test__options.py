# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import (
    instance_problems,
    option_problems,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._option_table import (
    BEFORE,
    INSTEAD,
    NEWEST,
    OPTIONS,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._options import (
    SHORT,
    check,
    has,
    in_form_of,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._release import Release

ROOT = pathlib.Path(__file__).parents[6]


@pytest.mark.parametrize(
    ("engine", "release", "problems"),
    [
        ({"max_model_len": "auto", "enforce_eager": True, "dtype": None}, (0, 32, 0), {}),
        (
            {"max_modle_len": 1024},
            (0, 32, 0),
            {"max_modle_len": "is not an option of vLLM 0.32.0; did you mean max_model_len?"},
        ),
        ({"tp": 2}, (0, 32, 0), {"tp": "is not an option of vLLM 0.32.0; did you mean tensor_parallel_size?"}),
        ({"zzz": 2}, (0, 32, 0), {"zzz": "is not an option of vLLM 0.32.0"}),
        (
            {"swap_space": 4},
            (0, 32, 0),
            {
                "swap_space": "was removed after vLLM 0.17, and the image holds 0.32.0; leave it out: vLLM recomputes; "
                "kv_offloading_size keeps KV cache in host memory"
            },
        ),
        ({"swap_space": 4}, (0, 17, 1), {}),
        (
            {"swap_space": 4},
            None,
            {
                "swap_space": "was removed after vLLM 0.17; leave it out: vLLM recomputes; "
                "kv_offloading_size keeps KV cache in host memory"
            },
        ),
        (
            {"calculate_kv_scales": True},
            (0, 28, 0),
            {"calculate_kv_scales": "was removed after vLLM 0.27, and the image holds 0.28.0; leave it out"},
        ),
        (
            {"log_level": "DEBUG"},
            (0, 26, 0),
            {"log_level": "came with vLLM 0.31, and the image holds 0.26.0; set VLLM_LOGGING_LEVEL in env"},
        ),
        (
            {"performance_mode": "balanced"},
            (0, 16, 0),
            {"performance_mode": "came with vLLM 0.17, and the image holds 0.16.0; use a newer image, or leave it out"},
        ),
        ({"runner": "pooling"}, (0, 9, 2), {"runner": "came with vLLM 0.10, and the image holds 0.9.2; use task"}),
        (
            {"cudagraph_capture_sizes": [1]},
            (0, 8, 5),
            {
                # What it was called from 0.9 on is no help here.
                "cudagraph_capture_sizes": "came with vLLM 0.11, and the image holds 0.8.5; use a newer image, or "
                "leave it out"
            },
        ),
        (
            {"dtype": "bf16"},
            (0, 32, 0),
            {
                "dtype": "is 'bf16', which vLLM 0.32.0 does not take; choose from auto, bfloat16, float, float16, "
                "float32, half"
            },
        ),
        (
            {"scheduling_policy": "prioriti"},
            (0, 33, 0),
            {
                "scheduling_policy": "is 'prioriti', which vLLM 0.33.0 does not take; choose from fcfs, priority; did "
                "you mean priority?"
            },
        ),
        ({"kv_cache_dtype": "nvfp4"}, (0, 32, 0), {}),
        (
            {"kv_cache_dtype": "nvfp4"},
            (0, 12, 0),
            {
                "kv_cache_dtype": "is 'nvfp4', which vLLM 0.12.0 does not take; choose from auto, bfloat16, fp8, "
                "fp8_ds_mla, fp8_e4m3, fp8_e5m2, fp8_inc"
            },
        ),
        ({"tokenizer_mode": "custom_thing"}, (0, 32, 0), {}),
        ({"runner": True}, (0, 32, 0), {"runner": "must be one of auto, draft, generate, pooling, not a boolean"}),
        ({"quantization": "some_plugin"}, (0, 32, 0), {}),
        ({"enforce_eager": "true"}, (0, 32, 0), {"enforce_eager": "must be true or false, not a string 'true'"}),
        ({"headless": 1}, (0, 32, 0), {"headless": "must be true or false, not a number 1"}),
        ({"tensor_parallel_size": "two"}, (0, 32, 0), {"tensor_parallel_size": "must be a whole number, not 'two'"}),
        ({"tensor_parallel_size": "2"}, (0, 32, 0), {}),
        ({"tensor_parallel_size": 1.5}, (0, 32, 0), {"tensor_parallel_size": "must be a whole number, not 1.5"}),
        ({"gpu_memory_utilization": "0.9"}, (0, 32, 0), {}),
        (
            {"gpu_memory_utilization": [0.9]},
            (0, 32, 0),
            {"gpu_memory_utilization": "must be a number, not a list"},
        ),
        ({"seed": {"a": 1}}, (0, 32, 0), {"seed": "must be a whole number, not a mapping"}),
        ({"lora_modules": [{"name": "x", "path": "/x"}]}, (0, 32, 0), {}),
    ],
)
def test_problems(engine: dict[str, t.Any], release: Release | None, problems: dict[str, str]) -> None:
    found = check(engine, release)
    assert found.problems == problems
    assert found.remarks == {}


@pytest.mark.parametrize(
    ("release", "why"),
    [
        ((NEWEST[0], NEWEST[1] + 1, 0), "because vLLM 0.34.0 is newer"),
        (None, "because this image's release is not known"),
    ],
)
def test_what_a_newer_or_unknown_release_may_have_is_passed_on(release: Release | None, why: str) -> None:
    found = check({"max_modle_len": 1024}, release)
    assert found.problems == {}
    assert found.remarks == {
        "max_modle_len": "is not an option of vLLM up to 0.33 and is passed on as it is, "
        f"{why}; did you mean max_model_len?"
    }


def test_a_choice_that_a_newer_or_unknown_release_may_have_is_passed_on() -> None:
    reasons = {(0, 40, 0): "because vLLM 0.40.0 is newer", None: "because this image's release is not known"}
    for release, why in reasons.items():
        found = check({"scheduling_policy": "lifo"}, release)
        assert found.problems == {}
        assert found.remarks == {
            "scheduling_policy": f"is 'lifo', which no release of vLLM up to 0.33 takes, and is passed on, {why}"
        }
        assert check({"runner": "draft"}, release) == ({}, {})


def test_the_advice_for_a_release_names_what_it_has() -> None:
    for table in (BEFORE, INSTEAD):
        assert set(table) <= set(OPTIONS)
    for name, (first, last, _kind) in OPTIONS.items():
        for minor in range(8, 34):
            came_later = name in BEFORE and minor < int(first.split(".")[1])
            went_before = bool(last) and minor > int(last.split(".")[1])
            if not came_later and not went_before:
                continue
            text = check({name: None}, (0, minor, 0)).problems[name]
            advice = text.partition("the image holds")[2].partition("; ")[2]
            for word in set(advice.replace(",", " ").replace(":", " ").split()) & set(OPTIONS):
                assert has(word, (0, minor)), (name, minor, advice)


def test_short_forms_lead_to_options() -> None:
    assert set(SHORT.values()) <= set(OPTIONS)


def test_the_table_is_what_the_data_say() -> None:
    script = str(ROOT / "scripts" / "vllm_options.py")
    assert subprocess.run([sys.executable, script, "check"], check=False).returncode == 0


def test_instances_and_modules_hold_options_against_the_image() -> None:
    declared = {"name": "alpha", "model": "/srv/x", "port": 18005, "image": "vllm/vllm-openai-cpu:v0.32.0"}
    engine = {"task": "embed", "max_modle_len": 1}
    assert instance_problems([{**declared, "engine": engine}]) == [
        "vllm_server_instances[0].engine.task: was removed after vLLM 0.12, and the image holds 0.32.0; "
        "use runner and convert",
        "vllm_server_instances[0].engine.max_modle_len: is not an option of vLLM 0.32.0; did you mean max_model_len?",
    ]
    assert option_problems({**declared, "engine": {"task": "embed"}}) == [
        "engine.task: was removed after vLLM 0.12, and the image holds 0.32.0; use runner and convert"
    ]
    assert instance_problems([declared], defaults={"engine": engine})[0].startswith(
        "vllm_server_instances[0].engine.task: "
    )


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("O", "is vLLM's short form; write optimization_level"),
        ("-O", "is vLLM's short form; write optimization_level"),
        ("O3", "is vLLM's short form; write optimization_level: 3"),
        ("-tp", "is vLLM's short form; write tensor_parallel_size"),
        (
            "--compilation-config.pass_config.fuse_allreduce_rms",
            "is a part of an option; write compilation_config: {pass_config: {fuse_allreduce_rms: …}}",
        ),
        ("compilation_config.level", "is a part of an option; write compilation_config: {level: …}"),
        ("a..b", "is not an option name; write it with underscores"),
    ],
)
def test_spellings_of_the_command_line_are_answered_with_what_to_write(name: str, advice: str) -> None:
    (problem,) = instance_problems([{"name": "alpha", "model": "/m", "gpus": [0], "port": 1, "engine": {name: 1}}])
    assert problem == f"vllm_server_instances[0].engine.{name}: {advice}"


@pytest.mark.parametrize(
    ("engine", "release", "problem"),
    [
        (
            {"limit_mm_per_prompt": "image=5,video=1"},
            (0, 11, 0),
            "must be a mapping, not 'image=5,video=1'; write limit_mm_per_prompt: {image: 5, video: 1}",
        ),
        ({"limit_mm_per_prompt": "image=5"}, (0, 8, 4), None),
        ({"limit_mm_per_prompt": {"image": 5}}, (0, 8, 4), None),
        (
            {"limit_mm_per_prompt": {"image": {"count": 5}}},
            (0, 8, 4),
            "holds image, which must be a whole number for vLLM 0.8.4",
        ),
        ({"limit_mm_per_prompt": {"image": {"count": 5}}}, (0, 32, 0), None),
        (
            {"compilation_config": "piecewise"},
            (0, 32, 0),
            "must be a mapping, or one as JSON, not 'piecewise'",
        ),
        ({"compilation_config": '{"level": 3}'}, (0, 10, 0), None),
        ({"compilation_config": 3}, (0, 10, 0), None),
        ({"compilation_config": 3}, (0, 32, 0), "must be a mapping, not a number"),
        ({"speculative_config": "[ngram]"}, (0, 32, 0), "must be a mapping, or one as JSON, not '[ngram]'"),
        ({"speculative_config": ["ngram"]}, (0, 32, 0), "must be a mapping, not a list"),
        ({"hf_overrides": "rope"}, (0, 11, 0), "must be a mapping, or one as JSON, not 'rope'"),
        ({"pt_load_map_location": "cuda:0"}, (0, 32, 0), None),
        ({"max_model_len": "32k"}, (0, 32, 0), None),
        ({"max_model_len": -1}, (0, 32, 0), None),
        (
            {"max_model_len": "32,768"},
            (0, 32, 0),
            "must be a whole number, one such as 32k, or auto, not '32,768'",
        ),
        ({"max_num_batched_tokens": "8.5K"}, (0, 32, 0), None),
        ({"max_num_seqs": 0}, (0, 32, 0), "is 0; the least is 1"),
        ({"gpu_memory_utilization": 90}, (0, 32, 0), "is 90; the most is 1"),
    ],
)
def test_options_that_take_json_and_numbers_are_checked_for_their_shape(
    engine: dict[str, t.Any], release: Release, problem: str | None
) -> None:
    assert list(check(engine, release).problems.values()) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("release", "expected"), [((0, 8, 4), "image=5,video=1"), ((0, 8, 5), {"video": 1, "image": 5})]
)
def test_an_old_release_gets_limits_of_a_prompt_in_its_own_form(release: Release, expected: t.Any) -> None:
    engine = {"limit_mm_per_prompt": {"video": 1, "image": 5}}
    assert in_form_of(engine, release)["limit_mm_per_prompt"] == expected
