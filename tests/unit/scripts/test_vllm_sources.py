# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choices are read from sources that are written as vLLM's are."""

from __future__ import annotations

import csv
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import vllm_options
from vllm_sources import read_choices

CONFIG = """
RunnerType = Literal["generate", "pooling"]
RunnerOption = Literal["auto", RunnerType]
class ModelConfig:
    runner: RunnerOption = "auto"
    dtype: ModelDType | torch.dtype = "auto"
    quantization: Method | str | None = None
    sizes: list[Literal["a"]] = None
    quoted: "Optional[RunnerType]" = None
ModelDType = Literal["auto", "half"]
Method = Literal["awq"]
"""
ARGUMENTS = """
LEVELS = ["info", "debug"]
def add(parser):
    model_kwargs = get_kwargs(ModelConfig)
    group = parser.add_argument_group()
    group.add_argument("--runner", **model_kwargs["runner"])
    group.add_argument("--dtype", **model_kwargs["dtype"])
    group.add_argument("--quantization", "-q", **model_kwargs["quantization"])
    group.add_argument("--sizes", **model_kwargs["sizes"])
    group.add_argument("--quoted", **model_kwargs["quoted"])
    group.add_argument("--log-level", choices=LEVELS)
    group.add_argument("--kind", choices=get_args(RunnerType))
    group.add_argument("--moe-backend", choices=["triton"])
    group.add_argument("--port", type=int)
"""
FRONTEND = """
class FrontendArgs:
    chat_format: Literal["auto", "string"] = "auto"
    root_path: str = ""
"""


@pytest.fixture
def sources(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in (
        ("config/model.py", CONFIG),
        ("engine/arg_utils.py", ARGUMENTS),
        ("entrypoints/openai/cli_args.py", FRONTEND),
    ):
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_choices_are_read_where_nothing_else_is_taken(sources: pathlib.Path) -> None:
    assert read_choices(sources) == {
        "runner": {"auto", "generate", "pooling"},
        "dtype": {"auto", "half"},
        "quantization": None,
        "sizes": None,
        "quoted": {"generate", "pooling"},
        "log_level": {"info", "debug"},
        "kind": {"generate", "pooling"},
        "moe_backend": None,
        "port": None,
        "chat_format": {"auto", "string"},
        "root_path": None,
    }


def test_releases_are_added_one_after_the_other(
    sources: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "choices.csv"
    monkeypatch.setattr(vllm_options, "CHOICES", data)
    vllm_options.take_choices("0.9", sources)
    arguments = sources / "vllm" / "engine" / "arg_utils.py"
    arguments.write_text(arguments.read_text().replace('"debug"]', '"trace"]').replace("choices=get_args", "type=f"))
    vllm_options.take_choices("0.10", sources)
    with data.open(encoding="utf-8", newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert [row for row in rows if row[0] in ("log_level", "kind")] == [
        ("kind", "*", "0.10", "0.10"),
        ("kind", "generate", "0.9", "0.9"),
        ("kind", "pooling", "0.9", "0.9"),
        ("log_level", "debug", "0.9", "0.9"),
        ("log_level", "info", "0.9", "0.10"),
        ("log_level", "trace", "0.10", "0.10"),
    ]
    with pytest.raises(SystemExit, match=r"the choices of 0\.10 are in choices\.csv already"):
        vllm_options.take_choices("0.10", sources)
