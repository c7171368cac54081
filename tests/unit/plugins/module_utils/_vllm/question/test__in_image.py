# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs that run in an image, here with stand-ins for vLLM and PyTorch; integration tests run the real ones."""

from __future__ import annotations

import inspect
import json
import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.question import _ask, _in_image, _stand_in

FILES = {
    "vllm/__init__.py": "",
    "vllm/third_party/__init__.py": "",
    "vllm/third_party/pynvml.py": """
NVML_P2P_STATUS_OK = 0
def nvmlInit(): raise RuntimeError("NVML Shared Library Not Found")
""",
    "torch/__init__.py": "import torch.cuda",
    "torch/cuda/__init__.py": "def device_count(): return 0",
    "vllm/engine/__init__.py": "",
    "vllm/engine/arg_utils.py": """
import os, sys, types
class EngineArgs:
    def create_engine_config(self, usage=None):
        if "--bad" in sys.argv:
            raise ValueError("max_model_len is too long")
        return types.SimpleNamespace(model_config=types.SimpleNamespace(skip_tokenizer_init="--skip" in sys.argv))
class AsyncEngineArgs(EngineArgs):
    pass
""",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/cli/__init__.py": "",
    "vllm/entrypoints/cli/main.py": """
import json, subprocess, sys
import torch
import vllm.third_party.pynvml as pynvml
from vllm.engine.arg_utils import AsyncEngineArgs
def describe():
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(1)
    return [torch.cuda.device_count(), pynvml.nvmlDeviceGetName(handle),
            pynvml.nvmlDeviceGetCudaComputeCapability(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total,
            torch.cuda.get_device_properties(0).major]
def main():
    if "--gpus" in sys.argv:
        child = "from vllm.entrypoints.cli.main import describe; print(describe())"
        print("own", describe(), "child", subprocess.check_output([sys.executable, "-c", child], text=True))
    AsyncEngineArgs().create_engine_config(usage="serve")
    print("went on")
""",
    "vllm/tokenizers/__init__.py": "",
    "vllm/tokenizers/registry.py": """
import sys
def cached_tokenizer_from_config(model):
    if "--no-tokenizer" in sys.argv:
        raise OSError("no tokenizer in the model folder")
""",
}
GPUS = [
    {"name": "NVIDIA L4", "uuid": "GPU-1", "memory": 24 * 2**30, "capability": [8, 9], "unified": False},
    {"name": "NVIDIA T4", "uuid": "GPU-2", "memory": 16 * 2**30, "capability": [7, 5], "unified": False},
]


@pytest.fixture
def image(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with what an image has: packages, and a program that names their Python."""
    for name, text in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n", encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def run(image: pathlib.Path, *arguments: str, gpus: object = (), until: str = _in_image.CONFIGURED) -> Ran:
    command = ["/bin/sh", "-c", _ask.PYTHON, "sh", "-c", inspect.getsource(_in_image)]
    env = {"PATH": f"{image / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(image / "site")}
    done = subprocess.run(
        [
            *command,
            until,
            inspect.getsource(_stand_in),
            json.dumps(list(gpus) if isinstance(gpus, list) else []),
            "/model",
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_vllm_ends_where_its_configuration_is_complete(image: pathlib.Path) -> None:
    ran = run(image)
    assert ran.exit_code == 0, ran.stderr
    stages = [json.loads(line[len(_in_image.MARK) :])["stage"] for line in ran.stdout.split("\n") if line]
    assert stages == [_in_image.PARSED, _in_image.CONFIGURED, _in_image.READABLE]
    assert _ask.judge(ran, 1.0, "a").verdict == _ask.PASSED


def test_a_tokenizer_that_the_server_never_reads_is_not_read(image: pathlib.Path) -> None:
    ran = run(image, "--skip", "--no-tokenizer")
    assert _ask.judge(ran, 1.0, "a").verdict == _ask.PASSED
    assert _in_image.READABLE not in ran.stdout


@pytest.mark.parametrize("flag", ["--bad", "--no-tokenizer"])
def test_what_vllm_refuses_ends_as_it_would_in_a_server(image: pathlib.Path, flag: str) -> None:
    ran = run(image, flag)
    assert ran.exit_code == 1
    assert "Traceback" in ran.stderr
    assert _ask.judge(ran, 1.0, "a").verdict != _ask.PASSED


def test_gpus_are_seen_by_vllm_and_by_its_children(image: pathlib.Path) -> None:
    ran = run(image, "--gpus", gpus=GPUS)
    assert ran.exit_code == 0, ran.stderr
    seen = f"[2, 'NVIDIA T4', (7, 5), {16 * 2**30}, 8]"
    assert f"own {seen} child {seen}" in ran.stdout


def test_without_gpus_nothing_stands_in_for_them(image: pathlib.Path) -> None:
    ran = run(image, "--gpus")
    assert "NVML Shared Library Not Found" in ran.stderr


def test_an_image_without_vllm_is_recognized(image: pathlib.Path) -> None:
    (image / "bin" / "vllm").unlink()
    answer = _ask.judge(run(image), 1.0, "a")
    assert answer.diagnosis is not None
    assert answer.diagnosis.id == "no_vllm"


def test_a_kernel_that_lacks_the_driver_is_left_out(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "_C.abi3.so").write_bytes(b"no library at all")
    code = "import sitecustomize, vllm._C; print(vllm._C.__name__)"
    (tmp_path / "sitecustomize.py").write_text(inspect.getsource(_stand_in), encoding="utf-8")
    monkeypatch.setenv(_stand_in.VARIABLE, json.dumps(GPUS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "vllm._C\n"


def test_the_driver_s_library_is_looked_for_in_the_image(tmp_path: pathlib.Path) -> None:
    (tmp_path / "libcuda.so").write_bytes(b"no library")
    assert not _stand_in.load_library([str(tmp_path / "*.so")], "libno_such.so.1")


def test_an_answer_quotes_no_secret() -> None:
    answer = _ask.judge(Ran(1, "", "RuntimeError: 401 for https://ann:canary@hub.example.com/x"), 1.0, "a")
    assert "https://(hidden)@hub" in answer.why
    assert "canary" not in str(answer)
