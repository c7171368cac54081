# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask vLLM how it would cut a KV cache: run in a container of its image by scripts/fit_fixtures.py, not by hand.

vLLM's own configuration, worker and planner run in one process for each case; weights are made up, and no token is
generated. Cases come as JSON on standard input. A line with the result of each goes to standard output.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
import tempfile
import typing as t

# Before vLLM is imported: it reads them then.
os.environ.update(HF_HUB_OFFLINE="1", VLLM_HOST_IP="127.0.0.1", OMP_NUM_THREADS="1", VLLM_CPU_OMP_THREADS_BIND="nobind")

import transformers
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.core import kv_cache_utils
from vllm.v1.engine import core
from vllm.v1.executor.uniproc_executor import UniProcExecutor

MARK = "RESULT "
TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
CONCURRENCY = re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x")


def folder_of(config: dict[str, t.Any]) -> str:
    """Return a folder with the config.json, whose model type Transformers can read."""
    kind = str(config["model_type"])
    try:
        transformers.AutoConfig.for_model(kind)
    except ValueError:
        # The model brings its configuration class as code; fields alone do for what is asked here.
        plain = type("PlainConfig", (transformers.PretrainedConfig,), {"model_type": kind})
        transformers.AutoConfig.register(kind, plain)
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def ask(case: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what vLLM reports for one case."""
    said: list[str] = []

    def keep(message: str, *arguments: t.Any, **_more: t.Any) -> None:
        said.append(message % arguments if arguments else message)

    kv_cache_utils.logger.info = kv_cache_utils.logger.info_once = keep
    model = folder_of(case["config"])
    engine = dict(case["engine"])
    if "draft_config" in case:
        engine["speculative_config"] = {**engine["speculative_config"], "model": folder_of(case["draft_config"])}
    config = AsyncEngineArgs(
        model=model,
        tokenizer=model,
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        max_model_len=case["max_model_len"],
        kv_cache_memory_bytes=case["kv_bytes"],
        **engine,
    ).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    executor = UniProcExecutor(config)
    # The planner is asked; what it plans is neither allocated nor tried.
    executor.determine_available_memory = lambda: [case["kv_bytes"]]
    executor.initialize_from_config = executor.initialize_cache = lambda *_a, **_k: None
    executor.compile_or_warm_up_model = lambda *_a, **_k: None
    if not any(executor.get_kv_cache_specs()):
        return {"tokens": 0, "concurrency": 0.0}  # each text goes through the model in one step
    engine_core = object.__new__(core.EngineCore)
    engine_core.model_executor = executor
    engine_core.collective_rpc = lambda *_a, **_k: None
    engine_core._initialize_kv_caches(config)
    text = "\n".join(said)
    tokens, concurrency = TOKENS.search(text), CONCURRENCY.search(text)
    if tokens is None or concurrency is None:
        return {"error": "vLLM reported no KV cache"}
    return {"tokens": int(tokens.group(1).replace(",", "")), "concurrency": float(concurrency.group(1))}


def main() -> None:
    for name, case in json.load(sys.stdin).items():
        # Importing vLLM takes most of the time; a fork of this process has done so.
        child = os.fork()
        if child == 0:
            try:
                result = ask(case)
            except BaseException as error:  # whatever vLLM raises, be it an exit, is this case's result
                result = {"error": f"{type(error).__name__}: {error}"[:2000]}
            print(MARK + json.dumps({name: result}), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print(MARK + json.dumps({name: {"error": "the process died"}}), flush=True)


if __name__ == "__main__":
    main()
