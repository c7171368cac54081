# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

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
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_INVALID_FIELD = re.compile(r'Field "([^"]+)" is not a valid field', re.IGNORECASE)
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*([0-9]+\.[0-9]+)")
_LISTED_GPU = re.compile(r"^GPU\s+([0-9]+):\s+(.*?)\s+\(UUID:\s*([^)\s]+)\)\s*$")
_LISTED_MIG = re.compile(r"^\s+MIG\s+(\S+)\s+Device\s+([0-9]+):\s+\(UUID:\s*([^)\s]+)\)\s*$")
_DEVICE_COLUMN = re.compile(r"^(GPU|NIC|mlx[0-9]+_)([0-9]+)$")
_CONTAINER = re.compile(r"(?:^|[/:.-])([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_FABRIC_MANAGER = re.compile(r"Fabric Manager version is\s*:\s*([0-9]+(?:\.[0-9]+)+)", re.IGNORECASE)
_KERNEL_MODULE = re.compile(
    r"NVRM version:.*?(?:Kernel Module|Kernel Module for \S+)\s+(?:for \S+\s+)?([0-9]+(?:\.[0-9]+)+)"
)

# What stands in place of a value that there is none of, in brackets or without.
_MISSING = frozenset(("", "n/a", "none", "not supported", "unknown", "insufficient permissions"))
# What stands in place of values of a GPU that is out of order.
_BROKEN = ("requires reset", "reset required", "gpu is lost", "recovery action")
# The same where no healthy GPU lacks a value; elsewhere it only means that there is none.
_UNKNOWN = ("unknown error", "err!")
_ESSENTIAL = ("uuid", "name", "memory.total")


def clean(value: str | None) -> str | None:
    """A value, or None where nvidia-smi has none. Values in brackets are remarks."""
    if value is None:
        return None
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        return None
    if text.lower() in _MISSING or "deprecated" in text.lower() or broken(text, essential=True):
        return None
    return text


def broken(value: str | None, essential: bool) -> str | None:
    """The remark that nvidia-smi puts where a value should be, when the GPU is out of order."""
    text = (value or "").strip().strip("[]").strip()
    signs = _BROKEN + _UNKNOWN if essential else _BROKEN
    return text if any(sign in text.lower() for sign in signs) else None


def mebibytes(value: str | None) -> int | None:
    """``81559 MiB`` and ``81559`` alike."""
    match = _NUMBER.match(clean(value) or "")
    return int(float(match.group())) if match else None


def switch(value: str | None) -> bool | None:
    text = (clean(value) or "").lower()
    return {"enabled": True, "disabled": False}.get(text)


def parse_table(output: str, fields: t.Sequence[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a CSV answer, by field, and the lines that are no rows (complaints about a GPU, say).

    The header is optional. The last field may hold commas.
    """
    rows = []
    remarks = []
    for line in output.splitlines():
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",", len(fields) - 1)]
        # A header repeats the fields, some with a unit, some under another name (used_memory as used_gpu_memory).
        if _UNIT.sub("", cells[0]) == fields[0]:
            continue
        if len(cells) == len(fields):
            rows.append(dict(zip(fields, cells)))
        else:
            remarks.append(line.strip())
    return rows, remarks


def invalid_field(output: str) -> str | None:
    """The field that this driver's nvidia-smi does not know, when it said so."""
    match = _INVALID_FIELD.search(output)
    return match.group(1) if match else None


def parse_cuda_version(banner: str) -> str | None:
    """The newest CUDA that the driver runs; from 610 on the banner calls it the UMD's."""
    match = _CUDA.search(banner)
    return match.group(1) if match else None


def parse_fabric_manager(output: str) -> str | None:
    """The version in what ``nv-fabricmanager --version`` prints."""
    match = _FABRIC_MANAGER.search(output)
    return match.group(1) if match else None


def parse_kernel_module(text: str) -> tuple[str | None, bool]:
    """Version of the loaded kernel module in /proc/driver/nvidia/version, and whether it is the open one."""
    for line in text.splitlines():
        if line.startswith("NVRM version:"):
            match = _KERNEL_MODULE.search(line)
            return (match.group(1) if match else None), "Open Kernel Module" in line
    return None, False


def parse_list(output: str) -> list[dict[str, t.Any]]:
    """``nvidia-smi -L``: the only place where MIG devices have their UUIDs."""
    gpus: list[dict[str, t.Any]] = []
    for line in output.splitlines():
        gpu = _LISTED_GPU.match(line)
        if gpu:
            gpus.append({"index": int(gpu.group(1)), "name": gpu.group(2), "uuid": gpu.group(3), "mig": []})
            continue
        mig = _LISTED_MIG.match(line)
        if mig and gpus:
            gpus[-1]["mig"].append({"index": int(mig.group(2)), "profile": mig.group(1), "uuid": mig.group(3)})
    return gpus


def parse_mig_instances(output: str) -> dict[str, dict[int, dict[str, t.Any]]]:
    """``nvidia-smi -q -x``: the instances and the memory behind the MIG devices, by GPU UUID and index of the device.

    This answer, in turn, lacks their UUIDs and profiles.
    """
    try:
        # It is printed by the driver of this host, whom one trusts, and hosts have nothing but the standard library.
        root = xml.etree.ElementTree.fromstring(output)  # noqa: S314  # from the driver
    except xml.etree.ElementTree.ParseError:
        return {}
    instances: dict[str, dict[int, dict[str, t.Any]]] = {}
    for gpu in root.iter("gpu"):
        for device in gpu.iter("mig_device"):
            index = _whole_number(device.findtext("index"))
            if index is None:
                continue
            instances.setdefault(gpu.findtext("uuid", "").strip(), {})[index] = {
                "gpu_instance_id": _whole_number(device.findtext("gpu_instance_id")),
                "compute_instance_id": _whole_number(device.findtext("compute_instance_id")),
                "memory": {
                    kind: mebibytes(device.findtext(f"fb_memory_usage/{kind}")) for kind in ("total", "used", "free")
                },
            }
    return instances


def _whole_number(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if stripped.isdigit() else None


_NO_INSTANCE = {
    "gpu_instance_id": None,
    "compute_instance_id": None,
    "memory": {"total": None, "used": None, "free": None},
}


def build_gpus(
    rows: t.Sequence[t.Mapping[str, str]],
    listed: t.Sequence[t.Mapping[str, t.Any]],
    instances: t.Mapping[str, t.Mapping[int, t.Mapping[str, t.Any]]],
) -> list[dict[str, t.Any]]:
    """One record for each GPU out of the three answers."""
    mig_of = {
        gpu["uuid"]: [
            {**device, **instances.get(gpu["uuid"], {}).get(device["index"], _NO_INSTANCE)} for device in gpu["mig"]
        ]
        for gpu in listed
    }
    return [_build_gpu(row, mig_of.get(row.get("uuid", ""), [])) for row in rows]


def _build_gpu(row: t.Mapping[str, str], mig_devices: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    mode = {True: "enabled", False: "disabled", None: "unsupported"}
    pending = switch(row.get("mig.mode.pending"))
    state = clean(row.get("fabric.state"))
    status = clean(row.get("fabric.status"))
    remarks = [remark for remark in (broken(value, field in _ESSENTIAL) for field, value in row.items()) if remark]
    mig = switch(row.get("mig.mode.current"))
    return {
        "index": int(row["index"]) if row.get("index", "").isdigit() else None,
        "uuid": clean(row.get("uuid")),
        "name": clean(row.get("name")),
        "pci_bus_id": clean(row.get("pci.bus_id")),
        "memory": {kind: mebibytes(row.get(f"memory.{kind}")) for kind in ("total", "used", "free")},
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


def parse_topology(output: str) -> list[dict[str, t.Any]]:
    """``nvidia-smi topo -m``: how each GPU reaches the others (NV18, PIX, SYS and so on), its CPUs and NUMA node."""
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
        if not re.match(r"^GPU[0-9]+$", cells[0]):
            continue
        own = cells[0]
        devices = [column for column in columns if _DEVICE_COLUMN.match(column)]
        links = dict(zip(devices, cells[1:]))
        rest = dict(zip([column for column in columns if column not in devices], cells[1 + len(devices) :]))
        gpus.append(
            {
                "index": int(own[3:]),
                "gpus": {name[3:]: link for name, link in links.items() if name.startswith("GPU") and name != own},
                "nics": {name: link for name, link in links.items() if not name.startswith("GPU")},
                "cpu_affinity": clean(rest.get("CPU Affinity")),
                "numa_affinity": clean(rest.get("NUMA Affinity")),
            }
        )
    return gpus


def parse_processes(output: str) -> list[dict[str, t.Any]]:
    """The processes that compute on a GPU; which container each is in is for the caller to find out."""
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
        if row["pid"].isdigit()
    ]


def container_of(cgroup: str) -> str | None:
    """The id of the container that a process is in, from its /proc/PID/cgroup; None outside of containers."""
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        found = _CONTAINER.findall(path)
        if found:
            container: str = found[-1]
            return container
    return None
