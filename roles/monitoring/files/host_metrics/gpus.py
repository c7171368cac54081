# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the driver says of its GPUs."""

from __future__ import annotations

import collections
import re
import shutil
import typing as t

from exposition import Metrics
from programs import Failed, output_of

# A driver that does not know a field refuses the whole question and names the field. The last two are one: drivers from
# 535 on call it by the first name, https://docs.nvidia.com/deploy/nvidia-smi/ ("clocks_event_reasons").
FIELDS = (
    "index",
    "uuid",
    "name",
    "pci.bus_id",
    "utilization.gpu",
    "memory.total",
    "memory.used",
    "temperature.gpu",
    "power.draw",
    "power.limit",
    "ecc.errors.corrected.volatile.total",
    "ecc.errors.uncorrected.volatile.total",
    "clocks_event_reasons.active",
    "clocks_throttle_reasons.active",
)
MIB = 1024 * 1024
GAUGE, COUNTER = "gauge", "counter"
# Field, metric, kind, factor, text.
MEASURED = (
    ("utilization.gpu", "private_llm_gpu_utilization_ratio", GAUGE, 0.01, "Share of time in which the GPU computed."),
    ("memory.total", "private_llm_gpu_memory_bytes", GAUGE, MIB, "Memory of the GPU."),
    ("memory.used", "private_llm_gpu_memory_used_bytes", GAUGE, MIB, "Memory of the GPU that is in use."),
    ("temperature.gpu", "private_llm_gpu_temperature_celsius", GAUGE, 1, "Temperature of the GPU."),
    ("power.draw", "private_llm_gpu_power_watts", GAUGE, 1, "Power that the GPU draws."),
    ("power.limit", "private_llm_gpu_power_limit_watts", GAUGE, 1, "Power that the GPU may draw."),
    (
        "ecc.errors.corrected.volatile.total",
        "private_llm_gpu_ecc_corrected_total",
        COUNTER,
        1,
        "Errors of memory that were corrected since the driver was loaded.",
    ),
    (
        "ecc.errors.uncorrected.volatile.total",
        "private_llm_gpu_ecc_uncorrected_total",
        COUNTER,
        1,
        "Errors of memory that could not be corrected since the driver was loaded.",
    ),
)
# Bits of nvmlClocksEventReasons, nvml.h, that say that a GPU is slower than it could be.
THROTTLED = {
    0x4: "power_cap",
    0x8: "hardware",
    0x20: "thermal_software",
    0x40: "thermal_hardware",
    0x80: "power_brake",
}
FOLDERS = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/lib/wsl/lib:/run/nvidia/driver/usr/bin:/opt/bin"
UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field', re.IGNORECASE)
NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
XID = re.compile(r"NVRM: Xid \(PCI:([0-9A-Fa-f:.]{1,32})\): ([0-9]{1,5})\b")


def add(metrics: Metrics, program: str, seconds: float) -> None:
    """Add what nvidia-smi and the kernel's log say; a host without nvidia-smi has nothing to say."""
    found = program or shutil.which("nvidia-smi", path=FOLDERS)
    if not found:
        return
    up = "private_llm_gpu_driver_up"
    try:
        rows = ask(found, seconds)
    except Failed:
        metrics.add(up, GAUGE, "Whether nvidia-smi answers.", 0)
        return
    metrics.add(up, GAUGE, "Whether nvidia-smi answers.", 1)
    metrics.add("private_llm_gpus", GAUGE, "GPUs that the driver has.", len(rows))
    for row in rows:
        add_gpu(metrics, row)
    try:
        log = output_of(
            ["journalctl", "--dmesg", "--boot", "--no-pager", "--output", "cat", "--grep", "NVRM: Xid"], seconds, (0, 1)
        )
    except Failed:
        return  # a host without a journal
    for (gpu, uuid, xid), count in sorted(xids(log, rows).items()):
        metrics.add(
            "private_llm_gpu_xid_total",
            COUNTER,
            "Errors that the driver reported since the host was started.",
            count,
            {"gpu": gpu, "uuid": uuid, "xid": xid},
        )


def ask(program: str, seconds: float) -> list[dict[str, str]]:
    """Return a row for each GPU, without the fields that this driver does not know."""
    fields = list(FIELDS)
    while True:
        try:
            said = output_of([program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], seconds)
        except Failed as error:
            unknown = UNKNOWN_FIELD.search(str(error))
            if not unknown or unknown.group(1) not in fields or len(fields) == 1:
                raise
            fields.remove(unknown.group(1))
            continue
        lines = ([cell.strip() for cell in line.split(",")] for line in said.splitlines())
        return [
            {field: cells[at] for at, field in enumerate(fields)}
            for cells in lines
            if len(cells) == len(fields) and cells[0].isdecimal()
        ]


def add_gpu(metrics: Metrics, row: t.Mapping[str, str]) -> None:
    """Add what was measured of one GPU; a value that the driver does not have is left out."""
    labels = {"gpu": row["index"], "uuid": row.get("uuid", ""), "name": row.get("name", "")}
    for field, name, kind, factor, text in MEASURED:
        value = NUMBER.match(row.get(field, ""))
        if value:
            metrics.add(name, kind, text, float(value.group()) * factor, labels)
    bits = row.get("clocks_event_reasons.active") or row.get("clocks_throttle_reasons.active") or ""
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}", bits):
        for bit, reason in THROTTLED.items():
            metrics.add(
                "private_llm_gpu_throttled",
                GAUGE,
                "Whether the GPU is slower than it could be, by reason.",
                1 if int(bits, 16) & bit else 0,
                {**labels, "reason": reason},
            )


def xids(log: str, rows: t.Sequence[t.Mapping[str, str]]) -> dict[tuple[str, str, str], int]:
    """Count errors by GPU and number; those of a GPU that is gone have its address in place of the index."""
    known = {place(row.get("pci.bus_id", "")): (row["index"], row.get("uuid", "")) for row in rows}
    return dict(
        collections.Counter(
            (*known.get(place(found[0]), (found[0], "")), str(int(found[1]))) for found in XID.findall(log)
        )
    )


def place(address: str) -> str:
    """Return bus and device of a PCI address, which the kernel and the driver write differently.

    >>> place("00000000:3B:00.0"), place("0000:3b:00")
    ('0:3b:00', '0:3b:00')
    """
    domain, _colon, rest = address.lower().partition(":")
    return f"{domain.lstrip('0') or '0'}:{rest.partition('.')[0]}"
