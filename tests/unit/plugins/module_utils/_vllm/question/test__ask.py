# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError, EngineTimeout
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _keys, _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._signatures import SIGNATURES
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.question import _ask, _in_image

PASSED = f'{_in_image.MARK}{{"stage": "parsed"}}\n\n{_in_image.MARK}{{"stage": "configured"}}\n'
REFUSED = """\
Traceback (most recent call last):
  File "/usr/lib/vllm/engine/arg_utils.py", line 10, in create_model_config
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (9000) is greater than the derived max_model_len (max_position_embeddings=\
2048 or model_max_length=None in model's config.json). [type=value_error, input_value=..., input_type=ArgsKwargs]
"""
NO_GPU = """\
Traceback (most recent call last):
  File "/usr/lib/torch/cuda/__init__.py", line 10, in _lazy_init
RuntimeError: No CUDA GPUs are available
"""

H100 = {
    "name": "NVIDIA H100",
    "uuid": "GPU-1",
    "memory": {"total": 81559},
    "compute_capability": "9.0",
    "unified": False,
}
MIG = {
    "name": "NVIDIA A100",
    "uuid": "GPU-2",
    "memory": {"total": 81920},
    "compute_capability": "8.0",
    "mig": {"devices": [{"uuid": "MIG-1", "memory": {"total": 9984}}]},
}


class Engine:
    """Answers each question as it is told, and keeps what was asked."""

    def __init__(self, answer: Ran | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, list[str], dict[str, str], dict[str, t.Any]]] = []

    def run_once(
        self, image: str, command: t.Sequence[str], seconds: float, env: dict[str, str], host: dict[str, t.Any]
    ) -> Ran:
        self.asked.append((image, list(command), env, host))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def spec_for(model: str = "/models/a", **changed: t.Any) -> _spec.ServerSpec:
    spec = _spec.ServerSpec(
        name="a",
        image="vllm/vllm-openai:v0.32.0",
        model=model,
        served_model_names=("a",),
        port=18000,
        bind="127.0.0.1",
        engine={"max_model_len": "9000"},
        keys=_keys.CONFIG,
        env={"HF_HUB_OFFLINE": "1", "HF_TOKEN": "hf_canary", "https_proxy": "http://me:canary@proxy"},
        volumes=(
            f"/var/cache/a:{_spec.CACHE_MOUNT}:rw",
            f"/etc/keys:{_keys.MOUNT}:ro",
            f"{model}:{model}:ro",
            "/srv/templates:/templates:rw",
        ),
    )
    return dataclasses.replace(spec, **changed)


def ask(answer: Ran | Exception) -> tuple[_ask.Answer, Engine]:
    engine: t.Any = Engine(answer)
    return _ask.ask(engine, _ask.question_of(spec_for(), "sha256:1"), "a", (0, 32, 0)), engine


def test_what_gets_to_the_configuration_passes() -> None:
    answer, engine = ask(Ran(0, PASSED, ""))
    assert answer.verdict == _ask.PASSED
    image, command, _env, host = engine.asked[0]
    assert image == "sha256:1"
    assert command[-9:] == [
        "/models/a",
        "--host",
        "0.0.0.0",
        "--port",
        "8000",
        "--served-model-name",
        "a",
        "--max-model-len",
        "9000",
    ]
    assert host["Memory"] == host["MemorySwap"] == _ask.MEMORY


def test_no_secret_and_nothing_that_can_be_written_goes_along() -> None:
    _answer, engine = ask(Ran(0, PASSED, ""))
    _image, command, env, host = engine.asked[0]
    assert env == {"HF_HUB_OFFLINE": "1"}
    assert host["Binds"] == ["/models/a:/models/a:ro", "/srv/templates:/templates:ro"]
    assert "canary" not in str(engine.asked)
    assert "--config" not in command


def test_an_error_of_options_refuses_and_keeps_what_was_said() -> None:
    answer, _engine = ask(Ran(1, f'{_in_image.MARK}{{"stage": "parsed"}}\n', REFUSED))
    assert answer.verdict == _ask.REFUSED
    assert answer.diagnosis is not None
    assert answer.diagnosis.id == "context_exceeds_model"
    assert answer.diagnosis.variable == "engine.max_model_len"
    assert answer.diagnosis.value == 2048
    assert any("User-specified" in line for line in answer.log)
    assert not any(_in_image.MARK in line for line in answer.log)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Ran(1, "", NO_GPU), "No CUDA GPUs are available"),
        (Ran(137, PASSED, ""), "killed"),
        (Ran(1, "", "Traceback (most recent call last):\n  File \"x.py\", line 1, in y\nKeyError: 'odd'"), "odd"),
        (Ran(0, "", ""), "empty"),
        (Ran(0, f"{_in_image.MARK}[]\n{_in_image.MARK}nonsense", ""), ""),
        (EngineTimeout("the container has not ended"), "no answer within"),
        (EngineError("no space left on device"), "no space left"),
    ],
)
def test_whatever_else_happens_refuses_nothing(answer: Ran | Exception, why: str) -> None:
    found, _engine = ask(answer)
    assert (found.verdict, found.diagnosis) == (_ask.UNCLEAR, None)
    assert why in found.why


def test_every_refusal_is_a_known_failure_and_none_is_of_the_driver() -> None:
    known = {signature.id for signature in SIGNATURES}
    assert known >= _ask.REFUSALS
    assert not [name for name in _ask.REFUSALS if "cuda" in name or "driver" in name]


def test_gpus_are_told_as_vllm_reads_them() -> None:
    found = _ask.gpus_of(["GPU-1", "MIG-1"], [H100, MIG])
    assert found == [
        _ask.Gpu("NVIDIA H100", "GPU-1", 81559 * 2**20, (9, 0), False),
        _ask.Gpu("NVIDIA A100", "MIG-1", 9984 * 2**20, (8, 0), False),
    ]
    assert _ask.gpus_of([], []) == []


@pytest.mark.parametrize(
    "rows",
    [[], [{**H100, "compute_capability": None}], [{**H100, "memory": {"total": None}}], [{**H100, "memory": None}]],
)
def test_gpus_that_are_not_known_are_told_so(rows: list[dict[str, t.Any]]) -> None:
    assert _ask.gpus_of(["GPU-1"], rows) is None


def test_the_same_question_is_recognized(tmp_path: pathlib.Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    root = str(tmp_path / "cache")
    question = _ask.question_of(spec_for(str(model)), "sha256:1")
    assert not _ask.has_passed(question, root)
    _ask.remember(question, root)
    assert _ask.has_passed(question, root)
    others = [
        _ask.question_of(spec_for(str(model)), "sha256:2"),
        _ask.question_of(spec_for(str(model), engine={"max_model_len": "10"}), "sha256:1"),
        _ask.question_of(spec_for(str(model), env={"VLLM_X": "1"}), "sha256:1"),
        _ask.question_of(spec_for(str(model)), "sha256:1", [_ask.Gpu("a", "b", 1, (9, 0), False)]),
    ]
    assert not any(_ask.has_passed(other, root) for other in others)
    (model / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    assert not _ask.has_passed(question, root)


def test_keys_ports_and_restarts_are_no_part_of_the_question() -> None:
    changed = spec_for(keys=_keys.NONE, port=1, bind="0.0.0.0", restart_policy="no", shm_size=1)
    assert _ask.question_of(changed, "sha256:1") == _ask.question_of(spec_for(), "sha256:1")


def test_only_the_newest_are_remembered(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ask, "KEPT", 2)
    questions = [_ask.question_of(spec_for(engine={"seed": str(seed)}), "sha256:1") for seed in range(4)]
    for age, question in enumerate(questions):
        _ask.remember(question, str(tmp_path))
        path = tmp_path / _ask.PASSES / _ask.fingerprint(question)
        os.utime(path, (age, age))
    assert [_ask.has_passed(one, str(tmp_path)) for one in questions] == [False, False, True, True]


def test_where_nothing_can_be_kept_it_is_asked_again(tmp_path: pathlib.Path) -> None:
    (tmp_path / _ask.PASSES).write_text("", encoding="utf-8")
    question = _ask.question_of(spec_for(), "sha256:1")
    _ask.remember(question, str(tmp_path))
    assert not _ask.has_passed(question, str(tmp_path))
