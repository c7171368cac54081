# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Ask vLLM, in a container of its image, whether it takes options: as text, because nothing else of this collection is
there.

    UNTIL STAND_IN GPUS ARGUMENT ...

UNTIL is the stage at which to end, STAND_IN the text of `_stand_in`, GPUS a JSON list of GPUs to stand in for, and
ARGUMENTs are what follows `vllm serve`.

vLLM's own command line runs until its engine's configuration is complete, or until its engine has started and waits for
requests, and ends there. What a line with `MARK` says is how far it came.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import typing as t

MARK = "private_llm.fleet: "
PARSED = "parsed"  # the options were read
CONFIGURED = "configured"  # the engine's configuration is complete
READABLE = "readable"  # and the model's tokenizer can be read
STARTED = "started"  # the model is loaded, and memory for the KV cache is taken

# Where a release has the function that makes a tokenizer from a model's configuration; newest first.
_TOKENIZERS = (
    ("vllm.tokenizers.registry", "cached_tokenizer_from_config"),
    ("vllm.tokenizers", "cached_tokenizer_from_config"),
    ("vllm.transformers_utils.tokenizer", "cached_tokenizer_from_config"),
)


def say(stage: str) -> None:
    """Print how far vLLM came, on a line of its own."""
    sys.stdout.write(f"\n{MARK}{json.dumps({'stage': stage})}\n")
    sys.stdout.flush()


def pretend_gpus(stand_in: str, gpus: str) -> None:
    """Make this process and its children see GPUs that are not there."""
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "sitecustomize.py"), "w", encoding="utf-8") as stream:
        stream.write(stand_in)
    os.environ["PRIVATE_LLM_GPUS"] = gpus
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    sys.path.insert(0, folder)
    # A distribution may have one of its own, which Python has read by now.
    sys.modules.pop("sitecustomize", None)
    importlib.import_module("sitecustomize")


def read_tokenizer(config: t.Any) -> bool:
    """Read the model's tokenizer as the server would; False where this release has another way to do so."""
    model = config.model_config
    if getattr(model, "skip_tokenizer_init", False):
        return False
    for module, name in _TOKENIZERS:
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        function(model)
        return True
    return False


def stop() -> None:
    """End at once. Threads and children of vLLM would keep an ordinary end waiting."""
    sys.stderr.flush()
    os._exit(0)


def stop_when_configured(arg_utils: t.Any) -> None:
    """Let vLLM end as soon as it has made its engine's configuration."""
    make = arg_utils.EngineArgs.create_engine_config

    def create_engine_config(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        say(PARSED)
        config = make(self, *args, **kwargs)
        say(CONFIGURED)
        if read_tokenizer(config):
            say(READABLE)
        stop()

    arg_utils.EngineArgs.create_engine_config = create_engine_config


def stop_when_started(async_llm: t.Any) -> None:
    """Let vLLM end as soon as its engine waits for requests."""
    make = async_llm.AsyncLLM.from_vllm_config.__func__

    def from_vllm_config(cls: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        make(cls, *args, **kwargs)
        say(STARTED)
        stop()

    async_llm.AsyncLLM.from_vllm_config = classmethod(from_vllm_config)


def main(arguments: list[str]) -> None:
    until, stand_in, gpus = arguments[:3]
    if json.loads(gpus):
        pretend_gpus(stand_in, gpus)
    sys.argv = ["vllm", "serve", *arguments[3:]]
    if until == STARTED:
        stop_when_started(importlib.import_module("vllm.v1.engine.async_llm"))
    else:
        stop_when_configured(importlib.import_module("vllm.engine.arg_utils"))
    importlib.import_module("vllm.entrypoints.cli.main").main()


if __name__ == "__main__":
    main(sys.argv[1:])
