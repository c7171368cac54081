# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Look at the GPUs of this host: ask nvidia-smi, patiently and with an end, and the kernel where that does not help."""

from __future__ import annotations

import os
import subprocess
import threading
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _nvidia_smi, _status

PCI_DEVICES = "/sys/bus/pci/devices"
KERNEL_MODULE = "/proc/driver/nvidia/version"


class HungError(Exception):
    """nvidia-smi did not answer in time."""


class Answer(t.NamedTuple):
    rc: int
    output: str


Ask = t.Callable[[t.Sequence[str]], Answer]


def asker(program: str, timeout: float) -> Ask:
    """A function that runs nvidia-smi. Called again after it hung once, it would hang again: it is for one look."""

    def ask(arguments: t.Sequence[str]) -> Answer:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
        try:
            output, _nothing = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            # A process that waits for a hung device cannot be killed, so its end is waited for aside.
            process.kill()
            threading.Thread(target=process.wait, daemon=True).start()
            if process.stdout:
                process.stdout.close()
            raise HungError from error
        return Answer(process.returncode, output.decode("utf-8", "replace"))

    return ask


def empty() -> dict[str, t.Any]:
    """What is returned, before anything is known."""
    return {
        "status": _status.ERROR,
        "message": "",
        "gpus": [],
        "driver_version": None,
        "kernel_module_version": None,
        "open_kernel_module": False,
        "cuda_version": None,
        "topology": [],
        "processes": [],
        "pci_devices": [],
    }


def look(
    ask: Ask | None, timeout: float, sysfs: str = PCI_DEVICES, module_file: str = KERNEL_MODULE
) -> dict[str, t.Any]:
    """Everything there is to know. ``ask`` is None where there is no nvidia-smi."""
    found = empty()
    found["pci_devices"] = pci_devices(sysfs)
    found["kernel_module_version"], found["open_kernel_module"] = _nvidia_smi.parse_kernel_module(_read(module_file))
    if ask is None:
        found["status"], found["message"] = _status.judge_without_tool(found["pci_devices"])
        return found
    try:
        _ask_all(ask, found)
    except HungError:
        found["status"], found["message"] = _status.judge_hung(timeout)
    except OSError as error:
        found["status"], found["message"] = _status.ERROR, f"nvidia-smi cannot be run: {error.strerror or error}"
    return found


def _ask_all(ask: Ask, found: dict[str, t.Any]) -> None:
    fields, answer = _query_gpus(ask)
    rows, remarks = _nvidia_smi.parse_table(answer.output, fields)
    rows = [row for row in rows if row["index"].isdigit()]
    if answer.rc != 0 and not rows:
        found["status"], found["message"] = _status.judge_failure(
            answer.rc, answer.output, found["pci_devices"], found["kernel_module_version"]
        )
        return
    listed = _nvidia_smi.parse_list(ask(["-L"]).output)
    found["gpus"] = _nvidia_smi.build_gpus(rows, listed)
    found["status"], found["message"] = _status.judge_gpus(found["gpus"], remarks)
    found["driver_version"] = next(filter(None, (_nvidia_smi.clean(row.get("driver_version")) for row in rows)), None)
    found["cuda_version"] = _nvidia_smi.parse_cuda_version(ask([]).output)
    found["topology"] = _nvidia_smi.parse_topology(ask(["topo", "-m"]).output)
    found["processes"] = _nvidia_smi.parse_processes(
        ask([f"--query-compute-apps={','.join(_nvidia_smi.PROCESS_FIELDS)}", "--format=csv,noheader"]).output
    )
    for process in found["processes"]:
        process["container"] = _nvidia_smi.container_of(_read(f"/proc/{process['pid']}/cgroup"))


def _query_gpus(ask: Ask) -> tuple[list[str], Answer]:
    """Ask for all fields, and again without each one that this driver does not know."""
    fields = list(_nvidia_smi.GPU_FIELDS)
    while True:
        answer = ask([f"--query-gpu={','.join(fields)}", "--format=csv,noheader"])
        unknown = _nvidia_smi.invalid_field(answer.output) if answer.rc != 0 else None
        if unknown not in fields or len(fields) == 1:
            return fields, answer
        fields.remove(str(unknown))


def pci_devices(sysfs: str = PCI_DEVICES) -> list[dict[str, t.Any]]:
    """The NVIDIA GPUs on the PCI bus, with the kernel driver that holds each: known without any driver of NVIDIA's."""
    try:
        addresses = sorted(os.listdir(sysfs))
    except OSError:
        return []
    devices = []
    for address in addresses:
        folder = os.path.join(sysfs, address)
        if not _status.is_gpu(_read(os.path.join(folder, "vendor")), _read(os.path.join(folder, "class"))):
            continue
        try:
            driver: str | None = os.path.basename(os.readlink(os.path.join(folder, "driver")))
        except OSError:
            driver = None
        device = _read(os.path.join(folder, "device")).strip().lower()
        devices.append({"address": address, "device": device, "driver": driver})
    return devices


def _read(path: str) -> str:
    """A file of the kernel's; empty when it is not there or not for us."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
