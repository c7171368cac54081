# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CDI specifications of a host: which GPUs they offer to containers, and whether those are the GPUs that it has."""

from __future__ import annotations

import json
import os
import re
import typing as t

from .._regular import regular

CDI_KIND = "nvidia.com/gpu"
# Where container engines look unless told otherwise. The second is in memory, and made anew at each start of the host.
FOLDERS = ("/etc/cdi", "/var/run/cdi")
# A specification for a host with many MIG devices has some hundred kilobytes.
LARGEST = 16 * 1024 * 1024

Gpus = t.Sequence[t.Mapping[str, t.Any]]


def names_by_file(folders: t.Iterable[str]) -> dict[str, set[str]]:
    """Return the NVIDIA devices that each specification in these folders offers, without their kind."""
    found = {}
    for folder in folders:
        for name in _listing(folder):
            if name.endswith((".json", ".yaml", ".yml")):
                path = os.path.join(folder, name)
                found[path] = names_in_spec(_read(path))
    return {path: names for path, names in found.items() if names}


def parse_list(output: str) -> set[str]:
    """Return the devices that ``nvidia-ctk cdi list`` prints, without their kind. It succeeds without any, too."""
    names = (line.strip().partition("=") for line in output.splitlines())
    return {name for kind, _equals, name in names if kind == CDI_KIND and name}


def not_offered(gpus: Gpus, names: t.Collection[str]) -> list[str]:
    """Return the UUIDs of whole GPUs and MIG devices that containers cannot be given by any of these names."""
    return [uuid for uuid, aliases in _devices(gpus) if not aliases.intersection(names)]


def not_there(gpus: Gpus, names: t.Iterable[str]) -> list[str]:
    """Return the names, among these, of GPUs and MIG devices that this host lacks: lost, or divided anew since."""
    known = {"all"}.union(*(aliases for _uuid, aliases in _devices(gpus)))
    return sorted(set(names) - known)


def _devices(gpus: Gpus) -> t.Iterator[tuple[str, set[str]]]:
    """Yield each device that containers can be given, with all its names in nvidia-ctk.

    A divided GPU is given in parts.
    """
    for gpu in gpus:
        mig = gpu["mig"]
        if mig["mode"] != "enabled":
            # A GPU that tells no UUID is known by its index alone.
            yield str(gpu["uuid"] or gpu["index"]), {str(gpu["index"]), str(gpu["uuid"] or gpu["index"])}
        for device in mig["devices"]:
            yield device["uuid"], {f"{gpu['index']}:{device['index']}", str(device["uuid"])}


def names_in_spec(text: str) -> set[str]:
    """Return the device names in one CDI specification of NVIDIA's kind, JSON or the YAML that nvidia-ctk writes."""
    text = text.lstrip("\ufeff")
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError):
        return _names_in_yaml(text)
    if not isinstance(spec, dict) or spec.get("kind") != CDI_KIND or not isinstance(spec.get("devices"), list):
        return set()
    return {str(device["name"]) for device in spec["devices"] if isinstance(device, dict) and "name" in device}


def _names_in_yaml(text: str) -> set[str]:
    """Return the names below a list named devices, at the depth of its items, so that no YAML library is needed."""
    kinds = re.findall(r"^[\"']?kind[\"']?:\s*(.*)$", text, re.MULTILINE)
    if CDI_KIND not in map(_scalar, kinds):
        return set()
    names: set[str] = set()
    inside = False
    depth: int | None = None
    for line in text.splitlines():
        if re.match(r"^\S", line) and not line.startswith("-"):
            inside, depth = bool(re.match(r"[\"']?devices[\"']?:", line)), None
            continue
        match = re.match(r"^(\s*)(-\s+)?[\"']?(\w+)[\"']?:\s*(.*)$", line)
        if not inside or not match:
            continue
        if depth is None and match.group(2):
            depth = len(match.group(1)) + len(match.group(2))
        column = len(match.group(1)) + len(match.group(2) or "")
        if column == depth and match.group(3) == "name":
            names.add(_scalar(match.group(4)))
    return names - {""}


def _scalar(written: str) -> str:
    """Return a value of YAML without its quotes and the comment behind it."""
    quoted = re.match(r"\"([^\"]*)\"|'([^']*)'", written.strip())
    if quoted:
        return quoted.group(1) or quoted.group(2) or ""
    return re.split(r"(?:^|\s)#", written, maxsplit=1)[0].strip()


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read(path: str) -> str:
    """Return the text of a specification; nothing for what is no file, which could keep a reader waiting."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=regular) as stream:
            return stream.read(LARGEST)
    except OSError:
        return ""
