# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge the engine of a host for the role docker_engine: whether it is as declared, and what cannot be done there."""

from __future__ import annotations

import typing as t

from ...module_utils._docker._installed import is_of_snap
from ...module_utils._version import numbers_of
from .._host_vars import FLAG, LINE

LOOK = {
    "holds": FLAG,
    "needs": LINE,
    "refused": LINE,
    "programs": [LINE],
    "snap": FLAG,
    "user_sockets": [LINE],
    "engine!": {
        "running": FLAG,
        "version": LINE,
        "data_root": LINE,
        "rootless": FLAG,
        "swarm": FLAG,
        "network_problem": LINE,
    },
    "unit!": {"loaded": FLAG, "active": FLAG, "enabled": FLAG},
}
WANTED = {
    "host!": LINE,
    "path!": LINE,
    "source!": LINE,
    "packages": [LINE],
    "live_restore": FLAG,
    "proxies": FLAG,
    "enabled": FLAG,
    "distribution!": LINE,
    "release": LINE,
    "family!": LINE,
    "service_mgr!": LINE,
}
# The first version that reads proxies from its file, and the last of Debian that brings an older one.
PROXIES_SINCE = 23
OLD_DEBIAN = 12

Told = t.Mapping[str, t.Any]


def state_of(look: Told, wanted: Told) -> dict[str, t.Any]:
    """Return whether an engine is there, whether nothing is to be done, and what cannot be done."""
    engine, unit = look["engine"], look["unit"]
    there = bool(engine["running"] or look["programs"])
    by_unit = not unit["loaded"] or (unit["active"] and unit["enabled"] == wanted["enabled"])
    settled = (
        engine["running"]
        and look["holds"]
        and look["needs"] == "none"
        and not engine["network_problem"]
        and (wanted["service_mgr"] != "systemd" or by_unit)
    )
    problems = _problems(look, wanted, there)
    # A setting that this engine does not know is told above in words of the role's variables.
    refused = [look["refused"]] if look["refused"] else []
    return {"there": there, "settled": bool(settled), "problems": problems or refused}


def major_version(version: str, wanted: Told) -> int:
    """Return the major version that is there, or that the packages will bring; 0 for one that cannot be read."""
    if not version:
        debian = wanted["source"] == "distribution" and wanted["distribution"] == "Debian"
        return 20 if debian and (0,) < numbers_of(wanted["release"] or "")[:1] <= (OLD_DEBIAN,) else PROXIES_SINCE
    return next(iter(numbers_of(version)), 0)


def _problems(look: Told, wanted: Told, there: bool) -> list[str]:
    engine, host, path = look["engine"], wanted["host"], wanted["path"]
    problems = []
    if is_of_snap(engine["data_root"] or "") if engine["running"] else look["snap"] and not there:
        problems.append(
            f"Docker on {host} is a snap. It ignores {path} and cannot be given GPUs by NVIDIA's toolkit. Remove it "
            "(snap remove docker) and run again, or take the host out of the inventory."
        )
    if engine["rootless"] if engine["running"] else look["user_sockets"] and not there:
        problems.append(
            f"Docker on {host} runs without root, as a user's own service, and reads that user's configuration "
            f"instead of {path}. Remove it (dockerd-rootless-setuptool.sh uninstall) and run again, or take the host "
            "out of the inventory."
        )
    if not there and not wanted["packages"]:
        problems.append(
            f"{host} runs {wanted['distribution']}, which has no Docker engine of its own that this role knows; set "
            "docker_engine_source to docker, or name the packages in docker_engine_packages."
        )
    if engine["swarm"] and wanted["live_restore"]:
        problems.append(
            f"{host} is a swarm node, and dockerd does not start there with live-restore on; set "
            "docker_engine_live_restore to false."
        )
    major = major_version(engine["version"] or "", wanted)
    if wanted["proxies"] and major < PROXIES_SINCE:
        problems.append(
            f"Docker {engine['version'] or major} on {host} knows no proxies in {path} and would not start. Set "
            "docker_engine_source to docker for a host that has no engine yet, or give the proxies to the engine by "
            "its unit's environment and leave docker_engine_proxies empty."
        )
    if not engine["running"] and wanted["service_mgr"] != "systemd" and wanted["family"] != "Debian":
        problems.append(
            f"{host} is not run by systemd but by {wanted['service_mgr']}. Without systemd, this role can start the "
            "engine on Debian and Ubuntu only; start it yourself, or take the host out of the inventory."
        )
    return problems
