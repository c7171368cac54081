# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Stand in for GPUs in a container that has none, so that vLLM makes the configuration that it would make with them.

vLLM chooses its platform by NVML, the driver's library, and reads the GPUs' kind, size and number from it. Here NVML's
Python functions, and PyTorch's that count and describe, answer with what the host knows of its GPUs. No GPU is reached:
whatever wants to compute fails. This is the text of a sitecustomize, which every process of the container reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
import typing as t

VARIABLE = "PRIVATE_LLM_GPUS"

Gpu = t.Mapping[str, t.Any]


def nvml(module: t.Any, gpus: t.Sequence[Gpu]) -> None:
    """Let NVML's Python functions answer for these GPUs. A handle is a GPU's index."""
    uuids = [str(gpu["uuid"]) for gpu in gpus]

    def by_uuid(uuid: t.Any) -> int:
        text = uuid.decode() if isinstance(uuid, bytes) else str(uuid)
        return uuids.index(text)

    def memory(handle: int, version: t.Any = None) -> t.Any:
        total = int(gpus[handle]["memory"])
        return types.SimpleNamespace(total=total, free=total, used=0)

    module.nvmlInit = lambda: None
    module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetCount = lambda: len(gpus)
    module.nvmlDeviceGetHandleByIndex = lambda index: range(len(gpus))[int(index)]
    module.nvmlDeviceGetHandleByUUID = by_uuid
    module.nvmlDeviceGetIndex = lambda handle: handle
    module.nvmlDeviceGetUUID = lambda handle: uuids[handle]
    module.nvmlDeviceGetName = lambda handle: str(gpus[handle]["name"])
    module.nvmlDeviceGetMemoryInfo = memory
    module.nvmlDeviceGetCudaComputeCapability = lambda handle: tuple(gpus[handle]["capability"])
    # How they are joined matters to workers alone, of which there are none.
    module.nvmlDeviceGetP2PStatus = lambda *handles: module.NVML_P2P_STATUS_OK


def torch_cuda(module: t.Any, gpus: t.Sequence[Gpu]) -> None:
    """Let PyTorch count and describe these GPUs."""

    def of(device: t.Any) -> Gpu:
        index = getattr(device, "index", device)
        return gpus[index if isinstance(index, int) else 0]

    def properties(device: t.Any = None) -> t.Any:
        gpu = of(device)
        major, minor = gpu["capability"]
        return types.SimpleNamespace(
            name=str(gpu["name"]),
            major=major,
            minor=minor,
            total_memory=int(gpu["memory"]),
            multi_processor_count=1,
            is_integrated=bool(gpu["unified"]),
        )

    module._device_count_nvml = lambda: len(gpus)
    module.device_count = lambda: len(gpus)
    module.get_device_capability = lambda device=None: tuple(of(device)["capability"])
    module.get_device_name = lambda device=None: str(of(device)["name"])
    module.get_device_properties = properties


CHANGES: dict[str, t.Callable[[t.Any, t.Sequence[Gpu]], None]] = {
    "vllm.third_party.pynvml": nvml,
    "torch.cuda": torch_cuda,
}


# Where an image may bring the driver's library, which kernels are linked to: NVIDIA's forward compatibility, and the
# stubs that programs are built with.
LIBRARY = "libcuda.so.1"
LIBRARIES = (
    "/usr/local/cuda*/compat/libcuda.so.1",
    "/usr/local/cuda*/lib64/stubs/libcuda.so",
    "/usr/local/cuda*/targets/*/lib/stubs/libcuda.so",
)


def load_library(names: t.Sequence[str] = LIBRARIES, library: str = LIBRARY) -> bool:
    """Load the driver's library from the image, for a container without a GPU has it from no host."""
    for path in (library, *(path for name in names for path in sorted(glob.glob(name)))):
        with contextlib.suppress(OSError):
            ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
            return True
    return False


class Changed(importlib.abc.Loader):
    """Reads a module and changes it right after."""

    def __init__(self, loader: t.Any, change: t.Callable[[t.Any], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: t.Any) -> t.Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: t.Any) -> None:
        self._loader.exec_module(module)
        self._change(module)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._loader, name)


class Kernels(importlib.abc.Loader):
    """Reads a module of kernels; an empty one takes its place where the driver's library is missing."""

    def __init__(self, loader: t.Any) -> None:
        self._loader = loader
        self._empty = False

    def create_module(self, spec: t.Any) -> t.Any:
        try:
            return self._loader.create_module(spec)
        except ImportError:
            self._empty = True
            return types.ModuleType(spec.name)

    def exec_module(self, module: t.Any) -> None:
        if not self._empty:
            self._loader.exec_module(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds what has to be read in another way."""

    def __init__(self, gpus: t.Sequence[Gpu]) -> None:
        self._gpus = gpus

    def find_spec(self, fullname: str, path: t.Any, target: t.Any = None) -> t.Any:
        change = CHANGES.get(fullname)
        if change is None and not fullname.startswith("vllm."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        if change is not None:
            spec.loader = Changed(spec.loader, lambda module: change(module, self._gpus))
        elif isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            spec.loader = Kernels(spec.loader)
        return spec


if __name__ == "sitecustomize":
    load_library()
    sys.meta_path.insert(0, Finder(json.loads(os.environ.get(VARIABLE) or "[]")))
