# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which GPUs a declaration means, as UUIDs: indices move when a GPU is lost or MIG is toggled, UUIDs stay."""

from __future__ import annotations

import typing as t

GPU_PREFIX = "GPU-"
MIG_PREFIX = "MIG-"


class GpuSelectionError(ValueError):
    """What was asked for is not on this host; the text says what is."""


def describe_gpus(gpus: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Describe the host's GPUs in one line, for the end of an error."""
    if not gpus:
        return "this host has no usable GPU"
    parts = []
    for gpu in gpus:
        text = "{} {} ({})".format(gpu.get("index"), gpu.get("name"), gpu.get("uuid"))
        if gpu.get("problem"):
            text += f", out of order ({gpu['problem']})"
        if in_mig_mode(gpu):
            devices = ["{} {}".format(device.get("profile"), device.get("uuid")) for device in mig_devices(gpu)]
            text += " in MIG mode with %s" % (", ".join(devices) if devices else "no MIG devices")
        parts.append(text)
    return "this host has " + "; ".join(parts)


def in_mig_mode(gpu: t.Mapping[str, t.Any]) -> bool:
    return (gpu.get("mig") or {}).get("mode") == "enabled"


def mig_devices(gpu: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    return list((gpu.get("mig") or {}).get("devices") or [])


def select_gpus(
    wanted: int | t.Sequence[int | str] | None,
    gpus: t.Sequence[t.Mapping[str, t.Any]],
    taken: t.Iterable[str] = (),
) -> list[str]:
    """Return the UUIDs of the wanted GPUs, in the wanted order.

    ``wanted`` is a list of indices, GPU UUIDs and MIG UUIDs, or a count; ``gpus`` is what gpu_info returns. A count
    takes the first whole GPUs by index and passes over those in MIG mode, those out of order and those in ``taken``
    (UUIDs already given to others). A list is taken at its word. An empty list, 0 or None is no GPU.
    """
    if wanted is None:
        return []
    if isinstance(wanted, bool) or not isinstance(wanted, (int, list, tuple)):
        raise GpuSelectionError(f"gpus must be a list of indices and UUIDs, or a count, not {wanted!r}")
    if isinstance(wanted, int):
        return _first_free(wanted, gpus, frozenset(taken))

    selected: list[str] = []
    named_by: dict[str, t.Any] = {}
    for item in wanted:
        uuid = _find(item, gpus)
        if uuid in named_by:
            first = named_by[uuid]
            how = f"twice, as {first} and as {item}" if str(first) != str(item) else "twice"
            raise GpuSelectionError(f"GPU {uuid} is named {how}; name it once")
        named_by[uuid] = item
        selected.append(uuid)
    return selected


def _first_free(count: int, gpus: t.Sequence[t.Mapping[str, t.Any]], taken: frozenset[str]) -> list[str]:
    if count < 0:
        raise GpuSelectionError(f"a count of GPUs cannot be negative, as {count} is")
    whole = sorted(
        (gpu for gpu in gpus if not in_mig_mode(gpu) and not gpu.get("problem")), key=lambda gpu: int(gpu["index"])
    )
    free = [str(gpu["uuid"]) for gpu in whole if gpu["uuid"] not in taken]
    if count > len(free):
        text = f"{count} GPUs are wanted and {len(free)} can be given"
        if len(free) < len(whole):
            text += f" ({len(whole) - len(free)} taken by others)"
        raise GpuSelectionError(f"{text}: {describe_gpus(gpus)}")
    return free[:count]


def _find(item: t.Any, gpus: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    if isinstance(item, bool) or not isinstance(item, (int, str)):
        raise GpuSelectionError(f"{item!r} names no GPU: give an index, a GPU UUID or a MIG UUID")
    text = str(item).strip()
    if text.isdigit() and text.isascii():
        for gpu in gpus:
            if str(gpu["index"]) == (text.lstrip("0") or "0"):
                return _whole(gpu, f"GPU {text}")
        raise GpuSelectionError(f"there is no GPU with index {text}: {describe_gpus(gpus)}")
    for gpu in gpus:
        if str(gpu["uuid"]).lower() == text.lower():
            return _whole(gpu, f"GPU {text}")
        for device in mig_devices(gpu):
            if str(device["uuid"]).lower() == text.lower():
                return str(device["uuid"])
    if not text.upper().startswith((GPU_PREFIX, MIG_PREFIX)):
        raise GpuSelectionError(
            f"{text!r} names no GPU: give an index, a GPU UUID (GPU-...) or a MIG UUID (MIG-...); {describe_gpus(gpus)}"
        )
    raise GpuSelectionError(f"there is no GPU with UUID {text} (only whole UUIDs count): {describe_gpus(gpus)}")


def _whole(gpu: t.Mapping[str, t.Any], said: str) -> str:
    if gpu.get("problem"):
        raise GpuSelectionError(f"{said} is out of order ({gpu['problem']}); take another, or reset it or the host")
    if not in_mig_mode(gpu):
        return str(gpu["uuid"])
    devices = ", ".join("{} ({})".format(device["uuid"], device.get("profile")) for device in mig_devices(gpu))
    if devices:
        raise GpuSelectionError(
            f"{said} is in MIG mode and cannot be used whole; name one of its MIG devices: {devices}"
        )
    raise GpuSelectionError(f"{said} is in MIG mode and has no MIG devices yet; make one with nvidia-smi mig -cgi")
