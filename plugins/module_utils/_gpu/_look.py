# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the GPUs of this host: ask nvidia-smi, patiently and with an end, and the kernel where that does not help."""

from __future__ import annotations

import os
import subprocess
import threading
import typing as t

from . import _nvidia_smi, _status

# Where nvidia-smi is besides the usual places: Windows' subsystem for Linux, the driver container of Kubernetes hosts.
OTHER_FOLDERS = ["/usr/lib/wsl/lib", "/run/nvidia/driver/usr/bin", "/opt/bin"]
PCI_DEVICES = "/sys/bus/pci/devices"
PROC = "/proc"
KERNEL_MODULE = "driver/nvidia/version"
SELINUX_ENFORCING = "/sys/fs/selinux/enforce"
# The kernel keeps 15 characters of a program's name.
FABRIC_MANAGER = "nv-fabricmanage"


class HungError(Exception):
    """nvidia-smi did not answer in time."""


class Answer(t.NamedTuple):
    """What a program answered. Its errors are kept apart: a loader, say, puts lines of its own there."""

    rc: int
    output: str
    errors: str = ""

    @property
    def said(self) -> str:
        """Return both parts, for whoever looks for a sentence and does not know where it stands."""
        return "\n".join(part for part in (self.output.rstrip("\n"), self.errors.rstrip("\n")) if part)


Ask = t.Callable[[t.Sequence[str]], Answer]
LONGEST = 3600.0  # seconds that anybody waits for one answer


def can_wait(timeout: float) -> bool:
    """Return whether a number of seconds can be waited for; no comparison holds for what is not a number."""
    return 0 < timeout <= LONGEST


def cannot_wait(timeout: float) -> str:
    return f"timeout must be more than 0 and at most {LONGEST:g} seconds, not {timeout:g}"


def asker(program: str, timeout: float) -> Ask:
    """Return a function for one look that runs a program of the driver's. After it hung it is not run again."""

    def ask(arguments: t.Sequence[str]) -> Answer:
        # AnsibleModule's run_command knows no time-out, and nvidia-smi hangs where its driver does.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            # A process that waits for a hung device cannot be killed, so its end is waited for aside.
            process.kill()
            threading.Thread(target=process.wait, daemon=True).start()
            for stream in filter(None, (process.stdout, process.stderr)):
                stream.close()
            raise HungError from error
        return Answer(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))

    return ask


def empty() -> dict[str, t.Any]:
    """Return the result before anything is known."""
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
        "fabric_manager": {"switches": 0, "running": False, "version": None},
        "pci_devices": [],
    }


def look(
    ask: Ask | None,
    timeout: float,
    ask_fabric_manager: Ask | None = None,
    sysfs: str = PCI_DEVICES,
    proc: str = PROC,
) -> dict[str, t.Any]:
    """Return everything that can be known. ``ask`` is None where there is no nvidia-smi, as for Fabric Manager."""
    found = empty()
    found["pci_devices"] = pci_devices(sysfs)
    found["kernel_module_version"], found["open_kernel_module"] = _nvidia_smi.parse_kernel_module(
        _read(os.path.join(proc, KERNEL_MODULE))
    )
    if ask is None:
        found["status"], found["message"] = _status.judge_without_tool(found["pci_devices"])
        return found
    try:
        found["fabric_manager"] = look_at_fabric_manager(ask_fabric_manager, sysfs, proc)
        _ask_all(ask, found, proc)
    except HungError:
        found["status"], found["message"] = _status.judge_hung(timeout)
    except OSError as error:
        found["status"], found["message"] = _status.ERROR, _status.cannot_run(error.strerror or str(error))
    return found


def look_here(find: t.Callable[..., str | None], timeout: float, path: str | None = None) -> dict[str, t.Any]:
    """Look with the programs of this host; ``find`` is the module's ``get_bin_path``, ``path`` another nvidia-smi."""
    program = path or find("nvidia-smi", opt_dirs=OTHER_FOLDERS)
    fabric_manager = find("nv-fabricmanager")
    return look(
        asker(program, timeout) if program else None,
        timeout,
        asker(fabric_manager, timeout) if fabric_manager else None,
    )


def look_at_fabric_manager(ask: Ask | None, sysfs: str = PCI_DEVICES, proc: str = PROC) -> dict[str, t.Any]:
    """Return the state of Fabric Manager, which connects GPUs with NVSwitches before CUDA can use any of them."""
    try:
        version = _nvidia_smi.parse_fabric_manager(ask(["--version"]).said) if ask else None
    except (HungError, OSError):
        version = None
    running = any(
        _read(os.path.join(proc, name, "comm")).strip() == FABRIC_MANAGER for name in _list(proc) if name.isdigit()
    )
    switches = sum(1 for _folder in _nvidia_devices(sysfs, _status.is_switch))
    return {"switches": switches, "running": running, "version": version}


def _ask_all(ask: Ask, found: dict[str, t.Any], proc: str) -> None:
    fields, answer = _query_gpus(ask)
    rows, remarks = _nvidia_smi.parse_table(answer.output, fields)
    # A GPU that is lost may not even tell its index.
    remarks += [_said_instead(row) for row in rows if _nvidia_smi.whole_number(row.get("index")) is None]
    rows = [row for row in rows if _nvidia_smi.whole_number(row.get("index")) is not None]
    wsl = "microsoft" in _read(os.path.join(proc, "sys/kernel/osrelease")).lower()
    if not rows and (answer.rc != 0 or answer.said):
        found["status"], found["message"] = _status.judge_failure(
            answer.rc,
            answer.said,
            found["pci_devices"],
            found["kernel_module_version"],
            _read(SELINUX_ENFORCING).strip() == "1",
            wsl,
        )
        return
    remarks += [line.strip() for line in answer.errors.splitlines() if line.strip()]
    listed = _nvidia_smi.parse_list(ask(["-L"]).output)
    # A long answer, which only MIG makes worth its while.
    divided = any(gpu["mig"] for gpu in listed)
    instances = _nvidia_smi.parse_mig_instances(ask(["-q", "-x"]).output) if divided else {}
    meminfo = _nvidia_smi.parse_meminfo(_read(os.path.join(proc, "meminfo")))
    found["gpus"] = _nvidia_smi.build_gpus(rows, listed, instances, meminfo)
    found["driver_version"] = next(filter(None, (_nvidia_smi.clean(row.get("driver_version")) for row in rows)), None)
    banner = ask([]).output
    found["cuda_version"] = _nvidia_smi.parse_cuda_version(banner)
    found["status"], found["message"] = _status.judge_gpus(
        found["gpus"],
        remarks,
        found["driver_version"],
        found["fabric_manager"],
        found["pci_devices"],
        guest=_nvidia_smi.is_guest(_read(os.path.join(proc, "cpuinfo"))),
        without_cuda=_nvidia_smi.tells_no_cuda(banner),
        rc=answer.rc,
    )
    found["topology"] = _nvidia_smi.parse_topology(ask(["topo", "-m"]).output)
    found["processes"] = _nvidia_smi.parse_processes(
        ask([f"--query-compute-apps={','.join(_nvidia_smi.PROCESS_FIELDS)}", "--format=csv,noheader"]).output
    )
    for process in found["processes"]:
        process["container"] = _nvidia_smi.container_of(_read(os.path.join(proc, str(process["pid"]), "cgroup")))


def _said_instead(row: t.Mapping[str, str]) -> str:
    """Return what a row says that has no index, each thing once."""
    return ", ".join(dict.fromkeys(row.values()))


def _query_gpus(ask: Ask) -> tuple[list[str], Answer]:
    """Ask for all fields, and again without each one that this driver does not know."""
    fields = list(_nvidia_smi.GPU_FIELDS)
    while True:
        answer = ask([f"--query-gpu={','.join(fields)}", "--format=csv,noheader"])
        unknown = _nvidia_smi.invalid_field(answer.said) if answer.rc != 0 else None
        if unknown not in fields or len(fields) == 1:
            return fields, answer
        fields.remove(str(unknown))


def pci_devices(sysfs: str = PCI_DEVICES) -> list[dict[str, t.Any]]:
    """Return the NVIDIA GPUs on the PCI bus, and the kernel driver that holds each: known without NVIDIA's driver."""
    devices = []
    for folder in _nvidia_devices(sysfs, _status.is_gpu):
        try:
            driver: str | None = os.path.basename(os.readlink(os.path.join(folder, "driver")))
        except OSError:
            driver = None
        device = _read(os.path.join(folder, "device")).strip().lower()
        devices.append({"address": os.path.basename(folder), "device": device, "driver": driver})
    return devices


def _nvidia_devices(sysfs: str, wanted: t.Callable[[str, str], bool]) -> t.Iterator[str]:
    """Yield the folders of the PCI devices that are wanted, by their vendor and class."""
    for address in sorted(_list(sysfs)):
        folder = os.path.join(sysfs, address)
        if wanted(_read(os.path.join(folder, "vendor")), _read(os.path.join(folder, "class"))):
            yield folder


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    """Return a file of the kernel's; empty when it is not there or not for us."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
