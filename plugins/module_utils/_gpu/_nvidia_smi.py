# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nvidia-smi prints, from drivers 470 to 610, as plain data."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree

# Asked for one by one as columns; a driver that does not know one refuses the whole question and names it.
GPU_FIELDS = (
    "index",
    "uuid",
    "name",
    "pci.bus_id",
    "driver_version",
    "memory.total",
    "memory.used",
    "memory.free",
    "compute_cap",
    "persistence_mode",
    "ecc.mode.current",
    "mig.mode.current",
    "mig.mode.pending",
    "fabric.state",
    "fabric.status",
)
# The name comes last: it is a path and may hold commas.
PROCESS_FIELDS = ("gpu_uuid", "pid", "used_memory", "process_name")

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNIT = re.compile(r"\s*\[[^\]]*\]\s*$")
# No number of the driver's comes near 15 digits; longer ones are damage.
_MEBIBYTES = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(?:\s*MiB)?")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}")
_INVALID_FIELD = re.compile(r'Field "([^"]+)" is not a valid field', re.IGNORECASE)
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*([0-9]+\.[0-9]+)")
_NO_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(?:N/A|ERR!|Not Found)", re.IGNORECASE)
_LISTED_GPU = re.compile(r"^GPU\s+([0-9]{1,10}):\s+(.*?)\s+\(UUID:\s*([^)\s]+)\)\s*$")
_LISTED_DEVICE = re.compile(r"^\s*MIG\b")
_LISTED_MIG = re.compile(r"^\s+MIG\s+(\S+)\s+Device\s+([0-9]{1,10}):\s+\(UUID:\s*([^)\s]+)\)\s*$")
_DEVICE_COLUMN = re.compile(r"^(GPU|NIC|mlx[0-9]+_)([0-9]+)$")
_TOPOLOGY_GPU = re.compile(r"GPU[0-9]{1,10}")
_TOPOLOGY_END = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID")
_CONTAINER = re.compile(r"(?:^|[/:.-])([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_FABRIC_MANAGER = re.compile(r"Fabric Manager version is\s*:\s*([0-9]+(?:\.[0-9]+)+)", re.IGNORECASE)
_KERNEL_MODULE = re.compile(
    r"NVRM version:.*?(?:Kernel Module|Kernel Module for \S+)\s+(?:for \S+\s+)?([0-9]+(?:\.[0-9]+)+)"
)

# What stands in place of a value that there is none of, in brackets or without.
_MISSING = frozenset(("", "n/a", "none", "not supported", "unknown", "insufficient permissions"))
# What stands in place of values of a GPU that is out of order.
_BROKEN = ("requires reset", "reset required", "gpu is lost", "recovery action", "external power")
# The same where no healthy GPU lacks a value; elsewhere it only means that there is none.
_UNKNOWN = ("unknown error", "err!")
_ESSENTIAL = ("uuid", "name", "memory.total")
# GPUs that share the memory of their host. Some of them tell no memory, others the part set aside for the screen.
_UNIFIED = re.compile(r"\b(?:GB10|N1X?|Thor|Orin|Xavier|Tegra|nvgpu)\b", re.IGNORECASE)
_NOT_TOLD = ("[n/a]", "n/a", "[not supported]", "not supported")
_MEMINFO = re.compile(r"^(MemTotal|MemAvailable):\s*([0-9]{1,15}) kB", re.MULTILINE)
_CPU_FLAGS = re.compile(r"^flags\s*:.*\bhypervisor\b", re.MULTILINE)


def clean(value: str | None) -> str | None:
    """Return a value, or None where nvidia-smi has none. Values in brackets are remarks."""
    if value is None:
        return None
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        return None
    if text.lower() in _MISSING or "deprecated" in text.lower() or broken(text, essential=True):
        return None
    return text


def broken(value: str | None, essential: bool) -> str | None:
    """Return the remark that nvidia-smi puts where a value should be, when the GPU is out of order.

    A healthy GPU has every essential value, unless it is kept back: any other remark in its place is a fault.
    """
    written = (value or "").strip()
    text = written.strip("[]").strip()
    signs = _BROKEN + _UNKNOWN if essential else _BROKEN
    if any(sign in text.lower() for sign in signs):
        return text
    remark = essential and written.startswith("[") and written.endswith("]")
    return text if remark and text.lower() not in _MISSING else None


def mebibytes(value: str | None) -> int | None:
    """Parse ``81559 MiB`` and ``81559`` alike; None for another unit."""
    match = _MEBIBYTES.fullmatch(clean(value) or "")
    return int(float(match.group(1))) if match else None


def switch(value: str | None) -> bool | None:
    text = (clean(value) or "").lower()
    return {"enabled": True, "disabled": False}.get(text)


def parse_table(output: str, fields: t.Sequence[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows of a CSV answer, by field, and the lines that are not rows (complaints about a GPU, say).

    The header is optional. The name of a GPU may hold commas, and so may the last field where none is a name.
    """
    wide = fields.index("name") if "name" in fields else len(fields) - 1
    rows = []
    remarks = []
    for line in output.splitlines():
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        surplus = len(cells) - len(fields)
        if surplus > 0:
            cells[wide : wide + surplus + 1] = [", ".join(cells[wide : wide + surplus + 1])]
        # A header repeats the fields, some with a unit, some under another name (used_memory as used_gpu_memory).
        if _UNIT.sub("", cells[0]) == fields[0]:
            continue
        if len(cells) == len(fields):
            rows.append(dict(zip(fields, cells)))
        else:
            remarks.append(line.strip())
    return rows, remarks


def invalid_field(output: str) -> str | None:
    """Return the field that this driver's nvidia-smi does not know, when it said so."""
    match = _INVALID_FIELD.search(output)
    return match.group(1) if match else None


def parse_cuda_version(banner: str) -> str | None:
    """Parse the newest CUDA that the driver runs; from 610 on the banner calls it the UMD's."""
    match = _CUDA.search(banner)
    return match.group(1) if match else None


def tells_no_cuda(banner: str) -> bool:
    """Return whether the banner says that the driver runs no CUDA. A banner that says nothing is no such word.

    It does so for the vGPU manager of a hypervisor, and where the driver's library libcuda is missing.
    """
    return bool(_NO_CUDA.search(banner))


def is_guest(cpuinfo: str) -> bool:
    """Return whether /proc/cpuinfo is that of a virtual machine; processors of Arm do not tell."""
    return bool(_CPU_FLAGS.search(cpuinfo))


def parse_meminfo(text: str) -> dict[str, int]:
    """Return what /proc/meminfo says of the host's memory, in MiB: `total`, `free` for programs, and `used`."""
    found = {name: int(kibibytes) // 1024 for name, kibibytes in _MEMINFO.findall(text)}
    if "MemTotal" not in found:
        return {}
    total = found["MemTotal"]
    free = min(found.get("MemAvailable", total), total)
    return {"total": total, "used": total - free, "free": free}


def parse_fabric_manager(output: str) -> str | None:
    """Parse the version in what ``nv-fabricmanager --version`` prints."""
    match = _FABRIC_MANAGER.search(output)
    return match.group(1) if match else None


def parse_kernel_module(text: str) -> tuple[str | None, bool]:
    """Return the version of the loaded kernel module in /proc/driver/nvidia/version, and whether it is the open one."""
    for line in text.splitlines():
        if line.startswith("NVRM version:"):
            match = _KERNEL_MODULE.search(line)
            return (match.group(1) if match else None), "Open Kernel Module" in line
    return None, False


def parse_list(output: str) -> list[dict[str, t.Any]]:
    """Parse ``nvidia-smi -L``, the only place where MIG devices have their UUIDs."""
    gpus: list[dict[str, t.Any]] = []
    parts: list[dict[str, t.Any]] = []
    for raw in output.splitlines():
        line = _ANSI.sub("", raw)
        gpu = _LISTED_GPU.match(line)
        mig = _LISTED_MIG.match(line)
        if gpu:
            parts = []
            gpus.append({"index": int(gpu.group(1)), "name": gpu.group(2), "uuid": gpu.group(3), "mig": parts})
        elif mig:
            parts.append({"index": int(mig.group(2)), "profile": mig.group(1), "uuid": mig.group(3)})
        elif line.strip() and not _LISTED_DEVICE.match(line):
            # The line names a GPU in a form not known: MIG devices listed after it are not of the GPU before it.
            parts = []
    return gpus


def parse_mig_instances(output: str) -> dict[str, dict[int, dict[str, t.Any]]]:
    """Parse ``nvidia-smi -q -x``: instances and memory of MIG devices, by GPU UUID and index of the device.

    This answer, in turn, lacks their UUIDs and profiles.
    """
    # Entities could make a small text a huge one, and nvidia-smi writes none.
    if "<!ENTITY" in output:
        return {}
    try:
        # It is printed by the driver of this host, whom one trusts, and hosts have nothing but the standard library.
        root = xml.etree.ElementTree.fromstring(output)  # noqa: S314  # from the driver
    except xml.etree.ElementTree.ParseError:
        return {}
    instances: dict[str, dict[int, dict[str, t.Any]]] = {}
    for gpu in root.iter("gpu"):
        for device in gpu.iter("mig_device"):
            index = whole_number(device.findtext("index"))
            if index is None:
                continue
            instances.setdefault(gpu.findtext("uuid", "").strip(), {})[index] = {
                "gpu_instance_id": whole_number(device.findtext("gpu_instance_id")),
                "compute_instance_id": whole_number(device.findtext("compute_instance_id")),
                "memory": {
                    kind: mebibytes(device.findtext(f"fb_memory_usage/{kind}")) for kind in ("total", "used", "free")
                },
            }
    return instances


def whole_number(text: str | None) -> int | None:
    """Return the number that the text is, in plain digits; None for anything else."""
    stripped = (text or "").strip()
    return int(stripped) if _WHOLE_NUMBER.fullmatch(stripped) else None


_NO_INSTANCE = {
    "gpu_instance_id": None,
    "compute_instance_id": None,
    "memory": {"total": None, "used": None, "free": None},
}


def build_gpus(
    rows: t.Sequence[t.Mapping[str, str]],
    listed: t.Sequence[t.Mapping[str, t.Any]],
    instances: t.Mapping[str, t.Mapping[int, t.Mapping[str, t.Any]]],
    meminfo: t.Mapping[str, int] | None = None,
) -> list[dict[str, t.Any]]:
    """Build one record for each GPU from the three answers. ``meminfo`` is the host's memory, which some GPUs use."""
    mig_of = {
        gpu["uuid"]: [
            {**device, **instances.get(gpu["uuid"], {}).get(device["index"], _NO_INSTANCE)} for device in gpu["mig"]
        ]
        for gpu in listed
    }
    return [_build_gpu(row, mig_of.get(row.get("uuid", ""), []), meminfo or {}) for row in rows]


def _build_gpu(
    row: t.Mapping[str, str], mig_devices: t.Sequence[t.Mapping[str, t.Any]], meminfo: t.Mapping[str, int]
) -> dict[str, t.Any]:
    mode = {True: "enabled", False: "disabled", None: "unsupported"}
    pending = switch(row.get("mig.mode.pending"))
    state = clean(row.get("fabric.state"))
    status = clean(row.get("fabric.status"))
    remarks = [remark for remark in (broken(value, field in _ESSENTIAL) for field, value in row.items()) if remark]
    mig = switch(row.get("mig.mode.current"))
    unified = not remarks and not mig_devices and mig is not True and is_unified(row)
    told = {kind: mebibytes(row.get(f"memory.{kind}")) for kind in ("total", "used", "free")}
    return {
        "index": whole_number(row.get("index")),
        "uuid": clean(row.get("uuid")),
        "name": clean(row.get("name")),
        "pci_bus_id": clean(row.get("pci.bus_id")),
        "memory": {kind: meminfo[kind] for kind in told} if unified and meminfo else told,
        "unified": unified,
        "compute_capability": clean(row.get("compute_cap")),
        "persistence_mode": switch(row.get("persistence_mode")),
        "ecc": switch(row.get("ecc.mode.current")),
        "mig": {
            # The list knows of MIG devices even where the driver does not know the field.
            "mode": "enabled" if mig is None and mig_devices else mode[mig],
            "pending": mode[pending] if pending is not None and pending != mig else None,
            "devices": list(mig_devices),
        },
        "fabric": None if state is None else {"state": state, "status": status},
        "problem": remarks[0] if remarks else None,
    }


def is_unified(row: t.Mapping[str, str]) -> bool:
    """Return whether a healthy GPU uses the memory of its host: by its name, or because it tells none of its own."""
    told = (row.get(f"memory.{kind}", "").strip().lower() for kind in ("total", "used", "free"))
    not_told = all(value in _NOT_TOLD for value in told)
    return not_told or bool(_UNIFIED.search(clean(row.get("name")) or ""))


def parse_topology(output: str) -> list[dict[str, t.Any]]:
    """Parse ``nvidia-smi topo -m``: how each GPU reaches the others (NV18, PIX, SYS, …), its CPUs and NUMA node."""
    columns: list[str] = []
    gpus = []
    for raw in output.splitlines():
        line = _ANSI.sub("", raw)
        cells = [cell.strip() for cell in line.split("\t")]
        if not columns:
            if not cells[0] and any(_DEVICE_COLUMN.match(cell) for cell in cells):
                columns = cells[1:]
            continue
        if not line.strip():
            break
        if not _TOPOLOGY_GPU.fullmatch(cells[0]):
            continue
        own = cells[0]
        # Network cards have names of all kinds, so whatever stands before the affinities is a device.
        count = next((at for at, column in enumerate(columns) if column in _TOPOLOGY_END), len(columns))
        links = {name: link for name, link in zip(columns[:count], cells[1:]) if name and link}
        rest = dict(zip(columns[count:], cells[1 + count :]))
        gpus.append(
            {
                "index": int(own[3:]),
                "gpus": {name[3:]: link for name, link in links.items() if _is_gpu_column(name) and name != own},
                "nics": {name: link for name, link in links.items() if not _is_gpu_column(name)},
                "cpu_affinity": clean(rest.get("CPU Affinity")),
                "numa_affinity": clean(rest.get("NUMA Affinity")),
            }
        )
    return gpus


def _is_gpu_column(name: str) -> bool:
    return bool(_TOPOLOGY_GPU.fullmatch(name))


def parse_processes(output: str) -> list[dict[str, t.Any]]:
    """Return the processes that compute on a GPU; the caller finds out which container each is in."""
    rows, _remarks = parse_table(output, PROCESS_FIELDS)
    return [
        {
            "pid": int(row["pid"]),
            "name": clean(row["process_name"]),
            "gpu_uuid": clean(row["gpu_uuid"]),
            "used_memory": mebibytes(row["used_memory"]),
            "container": None,
        }
        for row in rows
        if whole_number(row["pid"]) is not None
    ]


def container_of(cgroup: str) -> str | None:
    """Return the id of the container that a process is in, from its /proc/PID/cgroup; None outside of containers."""
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        found = _CONTAINER.findall(path)
        if found:
            container: str = found[-1]
            return container
    return None
