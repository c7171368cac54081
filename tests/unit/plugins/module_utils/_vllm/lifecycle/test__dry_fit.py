# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
import pathlib
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _paths
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError, EngineTimeout
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _spec
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _converge, _dry_fit
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.question import _in_image

STARTED = Ran(
    0,
    "(EngineCore pid=17) INFO 11-28 09:09:15 [kv_cache_utils.py:2327] GPU KV cache size: 220,816 tokens, "
    "Maximum concurrency for 4096 tokens per request: 53.91x\n"
    f'{_in_image.MARK}{{"stage": "started"}}\n',
    "",
)
OPTIONS = {
    "name": "alpha",
    "image": "vllm/vllm-openai:v0.32.0",
    "model": "/srv/none/current",
    "port": 18000,
    "engine": {"max_model_len": 4096},
    "api_keys": [],
    "bind": "127.0.0.1",
}
GPU = {"index": 0, "uuid": "GPU-1", "name": "NVIDIA H100", "memory": {"total": 81559}, "compute_capability": "9.0"}


class Engine:
    """An engine that answers as it is told, with a look at the model's folder while the container runs."""

    def __init__(self, ran: Ran | Exception = STARTED, running: t.Sequence[_spec.ServerSpec] = ()) -> None:
        self.ran = ran
        self.running = {
            spec.name: {"Name": f"/{spec.name}", "Config": body, "HostConfig": body["HostConfig"]}
            for spec in running
            for body in [_spec.create_body(spec)]
        }
        self.asked: list[tuple[list[str], dict[str, str], dict[str, t.Any]]] = []
        self.saw: list[str] = []

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        return None if "none" in reference else {"Id": "sha256:1", "Config": {}}

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return self.running.get(name)

    def containers(self, stopped: bool = False) -> list[dict[str, t.Any]]:
        return [{"Id": name, "Names": ["/" + name]} for name in self.running]

    def info(self) -> dict[str, t.Any]:
        return {}

    def run_once(
        self, image: str, command: t.Sequence[str], seconds: float, env: dict[str, str], host: dict[str, t.Any]
    ) -> Ran:
        self.asked.append((list(command), env, host))
        folder = host["Binds"][0].split(":")[0]
        self.saw = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if isinstance(self.ran, Exception):
            raise self.ran
        return self.ran


def server_of(**more: t.Any) -> _converge.Server:
    options = {name: spec.get("default") for name, spec in _converge.ARGUMENTS.items()}
    host = _converge.Host(False, lambda: None)
    host.gpus = lambda: [GPU]  # type: ignore[method-assign]  # a host with a GPU that nobody has to ask
    return _converge.Server({**options, **OPTIONS, **more}, host)


def try_it(engine: Engine, config: dict[str, t.Any] | None = None, **more: t.Any) -> dict[str, t.Any]:
    return _dry_fit.dry_fit(server_of(**more), t.cast(t.Any, engine), config)


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder of the configurations."""
    monkeypatch.setattr(_paths, "DRY_FIT", str(tmp_path / "dry_fit"))
    return tmp_path / "dry_fit"


def test_what_a_killed_run_left_behind_is_removed(folders: pathlib.Path) -> None:
    left, other = folders / "left", folders / "of-another-run"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}", encoding="utf-8")
    long_ago = time.time() - 2 * _dry_fit.LEFT_BEHIND
    os.utime(left, (long_ago, long_ago))
    try_it(Engine(), {"model_type": "qwen3"})
    assert list(folders.iterdir()) == [other]


def test_a_disk_without_room_is_not_the_server(folders: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: t.Any, **_named: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dump", full)
    found = try_it(Engine(), {"model_type": "qwen3"})
    assert found["verdict"] == "unclear"
    assert found["why"] == f"its configuration cannot be written below {folders}: No space left on device"
    assert list(folders.iterdir()) == []


def test_a_configuration_is_enough_to_try_a_server() -> None:
    engine = Engine()
    found = try_it(engine, {"model_type": "qwen3"})
    assert (found["verdict"], found["kv_cache_tokens"], found["max_concurrency"]) == ("starts", 220816, 53.91)
    command, _env, host = engine.asked[0]
    folder = host["Binds"][0].split(":")[0]
    assert engine.saw == ["config.json"]
    assert not os.path.exists(folder)
    assert _in_image.STARTED in command
    assert command[command.index("--load-format") + 1] == "dummy"
    assert "--skip-tokenizer-init" in command


@pytest.mark.parametrize("method", ["gptq", "gptq_marlin", "auto_gptq"])
def test_a_model_in_gptq_is_not_tried_without_its_files(method: str, tmp_path: pathlib.Path) -> None:
    """vLLM 0.23 made all of Qwen3-32B in bfloat16 then, 61 GiB, where it made 18.6 GiB of it in AWQ."""
    config: dict[str, t.Any] = {"model_type": "qwen3", "quantization_config": {"quant_method": method, "bits": 4}}
    for stated in (config, {"model_type": "qwen3_vl", "text_config": config}):
        engine = Engine()
        found = try_it(engine, stated)
        assert (found["verdict"], engine.asked) == ("unclear", [])
        assert "GPTQ" in found["why"]
    config["quantization_config"]["modules_in_block_to_quantize"] = [["self_attn.k_proj"]]
    assert try_it(Engine(), config)["verdict"] == "starts"
    del config["quantization_config"]["modules_in_block_to_quantize"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert try_it(Engine(), config, model=str(tmp_path))["verdict"] == "starts"


def test_what_is_on_the_host_is_taken_from_there(tmp_path: pathlib.Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    engine = Engine()
    assert try_it(engine, {"model_type": "other"}, model=str(tmp_path))["verdict"] == "starts"
    command, _env, host = engine.asked[0]
    assert host["Binds"] == [f"{tmp_path}:{tmp_path}:ro"]
    assert "--skip-tokenizer-init" not in command
    assert sorted(os.listdir(tmp_path)) == ["config.json", "tokenizer.json"]


def test_it_runs_on_the_gpus_that_are_wanted() -> None:
    engine = Engine()
    assert try_it(engine, {"model_type": "qwen3"}, gpus=[0])["verdict"] == "starts"
    _command, env, host = engine.asked[0]
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["GPU-1"]
    assert env["NVIDIA_VISIBLE_DEVICES"] == "GPU-1"


def test_nothing_is_tried_on_a_gpu_in_use() -> None:
    spec = _spec.ServerSpec("other", "i:v0.32.0", "/m", ("other",), 1, "127.0.0.1", gpus=("GPU-1",))
    engine = Engine(running=[spec])
    found = try_it(engine, {"model_type": "qwen3"}, gpus=[0])
    assert found["verdict"] == "unclear"
    assert "other runs on its GPUs" in found["why"]
    assert engine.asked == []


@pytest.mark.parametrize(
    ("said", "whole", "verdict"),
    [
        ("ValueError: To serve at least one request with the models's max seq len (4096), (40.00 GiB KV cache is "
         "needed, which is larger than the available KV cache memory (10.00 GiB). Based on the "
         "available memory, the estimated maximum model length is 1024.", False, "does_not_start"),
        ("ValueError: Free memory on device cuda:0 (10.00/79.00 GiB) on startup is less than desired GPU memory "
         "utilization (0.92, 72.00 GiB).", False, "unclear"),
        ("KeyError: 'something of a file that is not here'", False, "unclear"),
        ("KeyError: 'something odd'", True, "does_not_start"),
    ],
)  # fmt: skip
def test_a_failure_is_told_where_it_is_the_server_s(
    said: str, whole: bool, verdict: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    ran = Ran(1, "", f'Traceback (most recent call last):\n  File "/v/x.py", line 1, in y\n{said}\n')
    more = {"model": str(tmp_path)} if whole else {}
    found = try_it(Engine(ran), {"model_type": "qwen3"}, **more)
    assert found["verdict"] == verdict
    assert bool(found["diagnosis"]) == (verdict == "does_not_start")
    assert said.partition(":")[0] in json.dumps(found)


@pytest.mark.parametrize(
    ("ran", "more", "config", "why"),
    [
        (STARTED, {"image": "none:v0.32.0"}, {"a": 1}, "is not on this host yet; pull it first"),
        (STARTED, {}, None, "configuration of its model is not known"),
        (STARTED, {"gpus": [7]}, {"a": 1}, "7"),
        (EngineTimeout("late"), {}, {"a": 1}, "had not started after"),
        (EngineError("no space"), {}, {"a": 1}, "no space"),
        (Ran(0, "", ""), {}, {"a": 1}, "empty"),
    ],
)
def test_what_could_not_be_tried_is_told_so(
    ran: Ran | Exception, more: dict[str, t.Any], config: dict[str, t.Any] | None, why: str
) -> None:
    found = try_it(Engine(ran), config, **more)
    assert (found["verdict"], found["kv_cache_tokens"], found["diagnosis"]) == ("unclear", None, {})
    assert why in found["why"]


def test_a_failure_quotes_no_secret(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    engine = Engine(Ran(1, "args: {'api_key': ['canary']}", "OSError: 401 for https://ann:canary@hub.example.com/x\n"))
    found = try_it(engine, {"model_type": "qwen3"}, model=str(tmp_path))
    assert "(hidden)@hub" in json.dumps(found["log_tail"])
    assert "canary" not in json.dumps(found)
