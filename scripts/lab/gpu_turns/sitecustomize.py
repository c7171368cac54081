# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a worker of vLLM wait for its turn before it touches its GPU, where GPU_TURN names a folder.

Python imports this at its start from PYTHONPATH. A worker that is about to use its GPU says so by a file `at-RANK` in
that folder, and goes on when there is a file `go`. So many servers can get as far as that at the same time.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

WORKER = "vllm.v1.worker.gpu_worker"


def wait_for_turn(folder: Path, worker: type) -> None:
    """Make the worker wait before its device is initialized."""
    initialize = worker.init_device  # type: ignore[attr-defined]  # a class of vLLM, which is not here

    def init_device(self: Any) -> Any:
        (folder / f"at-{self.rank}").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
        return initialize(self)

    worker.init_device = init_device  # type: ignore[attr-defined]  # see above


class Finder(importlib.abc.MetaPathFinder):
    """Changes the worker's class when its module is imported, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != WORKER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            wait_for_turn(self.folder, module.Worker)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader
        return spec


if os.environ.get("GPU_TURN"):
    sys.meta_path.insert(0, Finder(Path(os.environ["GPU_TURN"])))
