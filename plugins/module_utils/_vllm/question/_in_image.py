# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Ask vLLM, in a container of its image, whether it takes options: as text, because nothing else of this collection is
there.

    STAND_IN GPUS ARGUMENT ...

STAND_IN is the text of `_stand_in`, GPUS a JSON list of GPUs, and ARGUMENTs are what follows `vllm serve`.

vLLM's own command line runs up to the moment at which its engine's configuration is complete, and ends there. What a
line with `MARK` says is how far it came.
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


def stop_when_configured(arg_utils: t.Any) -> None:
    """Let vLLM end as soon as it has made its engine's configuration."""
    make = arg_utils.EngineArgs.create_engine_config

    def create_engine_config(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        say(PARSED)
        config = make(self, *args, **kwargs)
        say(CONFIGURED)
        if read_tokenizer(config):
            say(READABLE)
        sys.stderr.flush()
        # Threads and children of vLLM would keep an ordinary end waiting.
        os._exit(0)

    arg_utils.EngineArgs.create_engine_config = create_engine_config


def main(arguments: list[str]) -> None:
    stand_in, gpus = arguments[:2]
    if json.loads(gpus):
        pretend_gpus(stand_in, gpus)
    sys.argv = ["vllm", "serve", *arguments[2:]]
    stop_when_configured(importlib.import_module("vllm.engine.arg_utils"))
    importlib.import_module("vllm.entrypoints.cli.main").main()


if __name__ == "__main__":
    main(sys.argv[1:])
