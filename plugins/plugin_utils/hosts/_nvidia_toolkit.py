# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge the toolkit of a host for the role nvidia_toolkit: whether it is as declared, and what cannot be done."""

from __future__ import annotations

import re
import typing as t

from ...module_utils._docker._installed import is_of_snap
from ...module_utils._version import numbers_of
from .._host_vars import FLAG, LINE

LOOK = {
    "holds": FLAG,
    "needs": LINE,
    "refused": LINE,
    "packages": [{"name!": LINE, "version": LINE}],
    "locks": [LINE],
    "repository": {"listed": FLAG, "trusted": FLAG, "others": [LINE]},
    "engine!": {
        "running": FLAG,
        "version": LINE,
        "data_root": LINE,
        "rootless": FLAG,
        "runtimes": [LINE],
        "gpu_containers": [LINE],
    },
    "gpu!": {"status!": LINE, "message": LINE},
}
WANTED = {
    "host!": LINE,
    "state!": LINE,
    "family!": LINE,
    "version!": LINE,
    "packages": [LINE],
    "files": [LINE],
    "allow_insecure": FLAG,
    "hold": FLAG,
    "runtime": LINE,
    "cdi": FLAG,
    "path!": LINE,
    "socket!": LINE,
    "hook": FLAG,
    "marked": FLAG,
    "key_refresh": FLAG,
    "require_gpu": FLAG,
    "stop_users": FLAG,
}
# The first version without the holes by which a container takes over its host (CVE-2024-0132, CVE-2025-23359,
# CVE-2025-23266).
OLDEST_SECURE = "1.17.8"
# Docker's first version that knows CDI.
CDI_SINCE = "25"
RELEASE = {
    "debian": "somebody holds it. Release it (apt-mark unhold {names})",
    "redhat": "dnf versionlock has it. Release it (dnf versionlock delete NAME)",
    "suse": "somebody locks it. Release it (zypper removelock {names})",
}

Told = t.Mapping[str, t.Any]


def state_of(look: Told, wanted: Told) -> dict[str, t.Any]:
    """Return which packages differ, who holds them, whether nothing is to be done, and what cannot be done."""
    differ = differing(look["packages"], wanted["packages"], wanted["version"])
    refused = [look["refused"]] if look["refused"] else []
    return {
        "differ": differ,
        "held": _held(look, wanted, differ),
        "settled": _is_settled(look, wanted, differ),
        "problems": _problems(look, wanted) or refused,
    }


def differing(installed: t.Iterable[Told], packages: t.Iterable[str], version: str) -> list[str]:
    """Return the packages that are not there in the version, of whatever revision."""
    exact = re.compile(re.escape(version) + "(-[0-9]+)?")
    right = {package["name"] for package in installed if exact.fullmatch(package["version"] or "")}
    return [name for name in packages if name not in right]


def given_packages(files: t.Iterable[str], version: str) -> list[str]:
    """Return the packages of the version that files hold, by their names."""
    pattern = re.compile("(.+)[_-]" + re.escape(version) + "-[0-9]+[._]")
    found = (pattern.match(path.rsplit("/", 1)[-1]) for path in files)
    return [match[1] for match in found if match]


def is_older(version: str, than: str) -> bool:
    """Return whether a version is older; one that cannot be read is."""
    return numbers_of(version) < numbers_of(than)


def _is_settled(look: Told, wanted: Told, differ: t.Sequence[str]) -> bool:
    engine, repository = look["engine"], look["repository"]
    holds = sorted(wanted["packages"]) if wanted["hold"] else []
    return bool(
        wanted["state"] == "present"
        and not wanted["key_refresh"]
        and engine["running"]
        and look["holds"]
        and look["needs"] == "none"
        and wanted["runtime"] in engine["runtimes"]
        and look["gpu"]["status"] == "ok"
        and wanted["hook"]
        and not wanted["marked"]
        and not differ
        and (wanted["family"] == "redhat" or sorted(look["locks"]) == holds)
        and (not repository or (repository["listed"] and repository["trusted"] and not repository["others"]))
    )


def _held(look: Told, wanted: Told, differ: t.Sequence[str]) -> str:
    """Say that packages must change which somebody else keeps; the role itself holds all of them or none."""
    locks = look["locks"]
    own = wanted["hold"] and sorted(locks) == sorted(wanted["packages"])
    if not differ or not locks or own:
        return ""
    why = RELEASE.get(wanted["family"], RELEASE["debian"]).format(names=" ".join(locks))
    return (
        f"{', '.join(differ)} on {wanted['host']} must change to {wanted['version']} and may not ({', '.join(locks)}), "
        f"because {why}, or set nvidia_toolkit_version to the version that is there."
    )


def _problems(look: Told, wanted: Told) -> list[str]:
    engine, host, version = look["engine"], wanted["host"], wanted["version"]
    present = wanted["state"] == "present"
    problems = []
    if present and not wanted["allow_insecure"] and is_older(version, OLDEST_SECURE):
        problems.append(
            f"Version {version} of NVIDIA's toolkit lets a container take over its host; use {OLDEST_SECURE} or newer "
            "(nvidia_toolkit_version), or set nvidia_toolkit_allow_insecure."
        )
    given = given_packages(wanted["files"], version)
    if present and wanted["files"] and sorted(given) != sorted(wanted["packages"]):
        missing = [name for name in wanted["packages"] if name not in given] or wanted["packages"]
        names = ", ".join(path.rsplit("/", 1)[-1] for path in wanted["files"])
        problems.append(
            f"nvidia_toolkit_package_files must hold one file of {', '.join(missing)} {version}, and holds {names}. "
            f"The {len(wanted['packages'])} packages are installed together."
        )
    snap = is_of_snap(engine["data_root"] or "")
    if engine["rootless"] or snap:
        what = "runs without root, as a user's own service" if engine["rootless"] else "is a snap"
        problems.append(
            f"The Docker engine at {wanted['socket']} on {host} {what}, and does not read {wanted['path']}. Put an "
            "engine of packages in its place, as private_llm.fleet.docker_engine does on a host that has none."
        )
    if present and wanted["cdi"] and engine["version"] and is_older(engine["version"], CDI_SINCE):
        problems.append(
            f"The Docker engine {engine['version']} on {host} knows no CDI, which came with version {CDI_SINCE}; leave "
            "nvidia_toolkit_cdi null there."
        )
    if not present and not wanted["stop_users"] and engine["gpu_containers"]:
        problems.append(
            f"{', '.join(engine['gpu_containers'])} on {host} run with GPUs and would not start again without the "
            "toolkit; stop them first, or set nvidia_toolkit_restart to always to take it away all the same."
        )
    if present and wanted["require_gpu"] and look["gpu"]["status"] != "ok":
        problems.append(f"no usable GPU: {look['gpu']['message']}; {host} must have one (nvidia_toolkit_require_gpu)")
    return problems
