# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the GPUs of a host can be used, in one word, and in one sentence that says what to do."""

from __future__ import annotations

import re
import typing as t

OK = "ok"
NO_GPU = "no_gpu"
NO_DRIVER = "no_driver"
DRIVER_MISMATCH = "driver_mismatch"
HUNG = "hung"
GPU_LOST = "gpu_lost"
RESET_REQUIRED = "reset_required"
BLOCKED = "blocked"
FABRIC_DOWN = "fabric_down"
ERROR = "error"
ALL = (OK, NO_GPU, NO_DRIVER, DRIVER_MISMATCH, HUNG, GPU_LOST, RESET_REQUIRED, BLOCKED, FABRIC_DOWN, ERROR)

NVIDIA = "0x10de"
# VGA controllers and 3D controllers: every GPU is one of the two.
GPU_CLASSES = ("0x0300", "0x0302")
# NVSwitches are bridges of the kind "other".
SWITCH_CLASS = "0x0680"

_LIBRARY = re.compile(r"NVML library version:\s*([0-9.]+)")

Verdict = t.Tuple[str, str]


def is_gpu(vendor: str, device_class: str) -> bool:
    """Say whether a PCI device, by what /sys says of it, is an NVIDIA GPU."""
    return vendor.strip().lower() == NVIDIA and device_class.strip().lower()[:6] in GPU_CLASSES


def is_switch(vendor: str, device_class: str) -> bool:
    """Say whether a PCI device, by what /sys says of it, is an NVSwitch."""
    return vendor.strip().lower() == NVIDIA and device_class.strip().lower()[:6] == SWITCH_CLASS


def judge_without_tool(devices: t.Sequence[t.Mapping[str, t.Any]]) -> Verdict:
    """Judge a host without nvidia-smi, by the GPUs on the PCI bus."""
    if not devices:
        return NO_GPU, "there is no NVIDIA GPU in this host"
    return NO_DRIVER, _no_driver(devices)


def judge_failure(
    rc: int,
    output: str,
    devices: t.Sequence[t.Mapping[str, t.Any]],
    kernel_module: str | None = None,
    selinux: bool = False,
    wsl: bool = False,
) -> Verdict:
    """Judge a host where nvidia-smi failed. The exit codes are those of NVML; the texts count for more."""
    text = output.lower()
    said = " ".join(output.split()) or (f"exit code {rc}" if rc >= 0 else f"it was ended by signal {-rc}")
    if "driver/library version mismatch" in text or rc == 18:
        library = _LIBRARY.search(output)
        versions = ""
        if kernel_module or library:
            versions = (
                f" (kernel module {kernel_module or 'unknown'}, library {library.group(1) if library else 'unknown'})"
            )
        return DRIVER_MISMATCH, (
            f"the driver was updated and its old kernel module is still loaded{versions}; reboot the host, "
            "or unload and load the nvidia modules"
        )
    if "couldn't communicate with the nvidia driver" in text or "driver not loaded" in text or rc == 9:
        if wsl:
            return NO_DRIVER, f"the NVIDIA driver of Windows does not answer here; {_WSL}"
        if not devices:
            return NO_GPU, "there is no NVIDIA GPU in this host, although nvidia-smi is installed"
        return NO_DRIVER, _no_driver(devices)
    if "couldn't find libnvidia-ml" in text or "library_not_found" in text or rc == 12:
        return NO_DRIVER, "the driver's library libnvidia-ml.so is missing; install the whole driver, of one version"
    # A GPU that is lost, or wants a reset, makes nvidia-smi say besides that there is none.
    if _is_reset(text) or rc == 16:
        return RESET_REQUIRED, f"a GPU must be reset before it can be used; {_RESET} ({said})"
    if _is_lost(text) or rc == 15:
        return GPU_LOST, f"a GPU has fallen off the bus; {_LOST} ({said})"
    if "no devices were found" in text or rc == 6:
        if not devices:
            return NO_GPU, "there is no NVIDIA GPU in this host, although the driver is loaded"
        return ERROR, (
            f"the driver is loaded and refuses {_name_devices(devices)}; "
            "the kernel's log says why (dmesg, lines with NVRM)"
        )
    if "insufficient permissions" in text or rc == 4:
        advice = (
            "SELinux is enforcing, so look for its denials (ausearch -m avc -ts recent)" if selinux else "run as root"
        )
        return BLOCKED, f"nvidia-smi may not use the driver; {advice} ({said})"
    # The driver's own word for a device file that may not be opened, as happens in a cgroup without the device.
    if "blocked" in text or rc == 17 or "initialize nvml: unknown error" in text:
        if wsl:
            return BLOCKED, f"Windows keeps the GPUs from its Linux; {_WSL} ({said})"
        return BLOCKED, (
            "nvidia-smi may not open the GPUs' device files; a cgroup or a container keeps them from it, "
            f"as after systemctl daemon-reload in a container ({said})"
        )
    if rc in (126, 127) or any(sign in text for sign in _NOT_STARTED):
        return ERROR, cannot_run(said)
    if rc == 0:
        return ERROR, f"nvidia-smi lists no GPU: {said}"
    return ERROR, f"nvidia-smi fails: {said}; look into the kernel's log (dmesg, lines with NVRM)"


def cannot_run(reason: str) -> str:
    """Return the message about an nvidia-smi that cannot be started."""
    return f"nvidia-smi cannot be run: {reason}; install the whole driver, of one version and made for this system"


# What a shell or a loader says in place of a program that it cannot start.
_NOT_STARTED = ("exec format error", "not found (required by", "error while loading shared libraries")

_WSL = (
    "this is Windows' subsystem for Linux (WSL2), where the driver is that of Windows: update the NVIDIA driver in "
    "Windows, run wsl --update and wsl --shutdown there, and install no Linux driver here"
)
_LOST = "reboot the host, and look at its power and seating"
_RESET = "stop what uses it and run nvidia-smi --gpu-reset, or reboot the host"


# Without a reason, or with one that says nothing, a GPU that is listed and cannot be opened has fallen off the bus.
_NO_HANDLE = "unable to determine the device handle"
_OTHER_REASONS = ("requires reset", "reset required", "insufficient permissions", "blocked", "in use")

# A line about a GPU names it, or has one of these. Everything else that is no row is somebody else's: a loader's, say.
_NAMES_GPU = re.compile(
    r"\bGPU\s*#?[0-9]{1,3}\b|\bgpu\s+(?:at\s+)?[0-9a-f]{4,8}:|\bGPU-[0-9a-f]{8}\b"
    r"|\b[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b",
    re.IGNORECASE,
)
_FAULTS = (
    "is lost",
    "off the bus",
    "device handle",
    "requires reset",
    "reset required",
    "recovery action",
    "no devices were found",
    "unknown error",
    "failed to initialize nvml",
    "nvidia-smi has failed",
)
_LOADER = re.compile(r"\bld\.so\b|no version information available", re.IGNORECASE)


def is_fault(remark: str) -> bool:
    """Return whether a line of nvidia-smi's that is no row tells of a GPU that is out of order.

    A damaged inforom, for one, is worth a warning and does not keep a GPU from its work.
    """
    if remark.upper().startswith("WARNING") or _LOADER.search(remark):
        return False
    return bool(_NAMES_GPU.search(remark)) or any(sign in remark.lower() for sign in _FAULTS)


def _is_lost(text: str) -> bool:
    """Say whether any sentence of the text tells that a GPU is lost; each sentence counts by itself."""
    for line in re.split(r"[\n;]", text):
        if any(sign in line for sign in ("is lost", "fallen off the bus", "fell off the bus", "falls off the bus")):
            return True
        if _NO_HANDLE in line and not any(reason in line for reason in _OTHER_REASONS):
            return True
    return False


def _is_reset(text: str) -> bool:
    return any(sign in text for sign in ("requires reset", "reset required", "recovery action"))


def judge_hung(timeout: float) -> Verdict:
    return HUNG, (
        f"nvidia-smi did not answer within {timeout:g} seconds; a GPU or the driver hangs, "
        "and as a rule only a reboot helps"
    )


def judge_gpus(
    gpus: t.Sequence[t.Mapping[str, t.Any]],
    remarks: t.Sequence[str] = (),
    driver: str | None = None,
    fabric_manager: t.Mapping[str, t.Any] | None = None,
    devices: t.Sequence[t.Mapping[str, t.Any]] = (),
    guest: bool = False,
    without_cuda: bool = False,
    rc: int = 0,
) -> Verdict:
    """Judge a host where nvidia-smi answered: every GPU must be in order, and its NVLink fabric up if it has one.

    What nvidia-smi prints besides, and nobody understands, is told and is no fault.

    A GPU on the bus that nvidia-smi leaves out without a word is only mentioned: in a container that was given some of
    the host's GPUs it is as it should be.
    """
    if not gpus:
        return ERROR, f"nvidia-smi lists no GPU: {' '.join(remarks) or 'it says nothing'}"
    warnings = [_shortened(remark) for remark in remarks if not is_fault(remark)]
    if len(warnings) > _MOST_NOTES:
        warnings[_MOST_NOTES:] = [f"and {len(warnings) - _MOST_NOTES} more lines"]
    problems = [f"GPU {gpu['index']} {gpu['problem']}" for gpu in gpus if gpu.get("problem")]
    problems += [_shortened(remark) for remark in remarks if is_fault(remark)]
    if not problems and rc in _FAULTS_OF_NVML:
        problems = [f"nvidia-smi ends with exit code {rc}: {_FAULTS_OF_NVML[rc]}"]
    if problems:
        said = "; ".join(problems)
        if _is_lost(said.lower()):
            return GPU_LOST, f"a GPU has fallen off the bus; {_LOST}: {said}"
        if _is_reset(said.lower()):
            return RESET_REQUIRED, f"a GPU must be reset before it can be used; {_RESET}: {said}"
        return ERROR, f"not every GPU is in order: {said}"
    if without_cuda:
        return ERROR, (
            "the driver lists its GPUs and runs no CUDA: it is the vGPU manager of a hypervisor, whose guests get the "
            "GPUs, or its library libcuda is missing; use a guest with a vGPU driver, or install the whole driver, "
            "of one version"
        )
    unready = _judge_fabric(gpus, driver, fabric_manager or {}, guest)
    if unready:
        return FABRIC_DOWN, f"{unready}; without it CUDA fails with error 802"
    warnings += _left_out(gpus, devices)
    said = f" ({'; '.join(warnings)})" if warnings else ""
    return OK, f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} can be used{said}"


_MOST_NOTES = 5
# The exit codes that NVML's errors become, which count although nvidia-smi lists GPUs besides.
_FAULTS_OF_NVML = {15: "a GPU is lost", 16: "a GPU requires reset"}


def _shortened(remark: str) -> str:
    return remark if len(remark) <= 300 else remark[:300] + "…"


def _left_out(gpus: t.Sequence[t.Mapping[str, t.Any]], devices: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Describe the GPUs that the driver holds and nvidia-smi does not list."""
    listed = {_pci_address(gpu.get("pci_bus_id")) for gpu in gpus}
    absent = [
        device for device in devices if device["driver"] == "nvidia" and _pci_address(device["address"]) not in listed
    ]
    if not absent or "" in listed:
        return []
    return [f"not {_name_devices(absent)}, which nvidia-smi leaves out: its device file is kept from it, or it is lost"]


def _pci_address(written: t.Any) -> str:
    """Normalize a PCI address: nvidia-smi writes 00000000:00:06.0 where the kernel has 0000:00:06.0."""
    domain, _colon, rest = str(written or "").strip().lower().partition(":")
    return f"{domain.lstrip('0') or '0'}:{rest}" if rest else ""


def _judge_fabric(
    gpus: t.Sequence[t.Mapping[str, t.Any]],
    driver: str | None,
    fabric_manager: t.Mapping[str, t.Any],
    guest: bool = False,
) -> str | None:
    """Return what keeps the GPUs' NVLink fabric from being up, if anything does.

    GPUs before Hopper have NVSwitches and tell no state; with them, Fabric Manager itself is what can be looked at.
    """
    version = fabric_manager.get("version")
    start = f"start nvidia-fabricmanager, in exactly the driver's version{f' ({driver})' if driver else ''}"
    waiting = [gpu for gpu in gpus if not fabric_ready(gpu)]
    if waiting:
        states = "; ".join(
            f"GPU {gpu['index']} {gpu['fabric']['state']}, {gpu['fabric']['status'] or 'no status'}" for gpu in waiting
        )
        has = f"; this host has {version}" if version and version != driver else ""
        if guest and not fabric_manager.get("switches"):
            start = (
                "this is a virtual machine without NVSwitches of its own, so Fabric Manager runs on its hypervisor: "
                "have it started there, and these GPUs given out as one partition"
            )
        return f"the NVLink fabric is not up ({states}); {start}{has}"
    if not fabric_manager.get("switches") or all(gpu.get("fabric") for gpu in gpus):
        return None
    if version and driver and version != driver:
        return f"Fabric Manager is of version {version} and the driver of {driver}; {start}"
    if not fabric_manager.get("running"):
        return f"this host has {fabric_manager['switches']} NVSwitches and no running Fabric Manager; {start}"
    return None


def fabric_ready(gpu: t.Mapping[str, t.Any]) -> bool:
    """Say whether the fabric of a GPU is up; true for a GPU without a fabric, too."""
    fabric = gpu.get("fabric")
    if not fabric:
        return True
    return fabric["state"].lower() == "completed" and (fabric["status"] or "success").lower() == "success"


def _name_devices(devices: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    return ", ".join(str(device["address"]) for device in devices)


def _no_driver(devices: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    count = f"{len(devices)} NVIDIA GPU{'s' if len(devices) > 1 else ''} ({_name_devices(devices)})"
    holders = sorted({str(device["driver"]) for device in devices if device.get("driver")})
    if "nouveau" in holders:
        return f"{count} in this host held by nouveau; install NVIDIA's driver, which keeps nouveau away, and reboot"
    if "vfio-pci" in holders:
        return f"{count} in this host given to virtual machines (vfio-pci), not to the host"
    return f"{count} in this host without a loaded NVIDIA driver; install it, or load it and look at the kernel's log"
