# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts need of a bundle, and what a bundle is made of: pure functions over what the roles told."""

from __future__ import annotations

import typing as t

from ..module_utils import _units
from ..module_utils._bundle._architecture import architecture_of, named
from ..module_utils._bundle._platform import folder_of
from ._filter_input import demand, optional
from ._host_vars import LINE, MAPPING, WHOLE

# The folder of what was fetched, and the name in a bundle, of the archives for the machine that Ansible runs on.
COLLECTIONS = "collections"
# What a bundle lacks, for whoever plans one. Every host of these families wants some packages.
NO_PACKAGES = (
    "packages of {}: not in the bundle, which carries those of Debian, Ubuntu and the family of RHEL alone;"
    " these hosts need a repository inside for the engine and the toolkit"
)
WANTS = {
    "platform!": LINE,
    "architecture!": LINE,
    "packages": [LINE],
    "libraries": [LINE],
    "images": MAPPING,
    "plain": [LINE],
    "models": [LINE],
}
NEEDS = {"wants!": WANTS, "platform!": LINE, "releases": MAPPING}
RELEASE = {"path!": LINE, "bytes_total": WHOLE}


def wanted(wants: t.Any) -> list[dict[str, str]]:
    """Return the things that a bundle must hold for a host."""
    read = demand(wants, WANTS, "fleet_wants")
    architecture = architecture_of(read["architecture"])
    things = [("image", named(str(name), architecture)) for name in read["images"]]
    things += [("model", name) for name in read["models"]]
    platform = named(read["platform"], architecture)
    if read["packages"]:
        things.append(("packages", platform))
    if read["libraries"]:
        things.append(("wheels", platform))
    return [{"kind": kind, "name": name} for kind, name in things]


def content(hosts: t.Any, work: t.Any) -> list[dict[str, t.Any]]:
    """Return all that goes into a bundle, as the module bundle_make takes it; ``work`` keeps what was fetched.

    Without it, nothing was fetched, and only the images are named.
    """
    found: dict[tuple[str, str], dict[str, t.Any]] = {}
    work = optional(work, LINE, "work")
    for host in demand(hosts, [NEEDS], "hosts"):
        wants = host["wants"]
        architecture = architecture_of(wants["architecture"])
        for name, source in wants["images"].items():
            found["image", named(str(name), architecture)] = {
                "kind": "image",
                "name": str(name),
                "source": str(source),
                "plain": str(source).partition("/")[0] in wants["plain"],
                "architecture": architecture,
            }
        if not work:
            continue
        folders = {
            "model": lambda name, host=host: demand(host["releases"].get(name), RELEASE, f"model {name}")["path"],
            "packages": lambda name, host=host: f"{work}/{folder_of(host['platform'])}/packages",
            "wheels": lambda name, host=host: f"{work}/{folder_of(host['platform'])}/wheels",
        }
        for thing in wanted(wants):
            if thing["kind"] in folders:
                found[thing["kind"], thing["name"]] = {**thing, "folder": folders[thing["kind"]](thing["name"])}
    if work:
        found["collections", COLLECTIONS] = {
            "kind": "collections",
            "name": COLLECTIONS,
            "folder": f"{work}/{COLLECTIONS}",
        }
    return [found[key] for key in sorted(found)]


def lines(made: t.Any, hosts: t.Any, packages: t.Any) -> list[str]:
    """Return what a bundle is, or would be, for people.

    What was not fetched yet has the sizes that hubs and repositories list; those of ``packages`` are given then.
    """
    sizes = {
        f"{one['kind']} {one['name']}": one["bytes"]
        for one in demand(made, {"content": [{"kind!": LINE, "name!": LINE, "bytes!": WHOLE}]}, "bundle")["content"]
    }
    read = demand(hosts, [NEEDS], "hosts")
    for host in read:
        for name, release in host["releases"].items():
            listed = demand(release, RELEASE, f"model {name}")["bytes_total"]
            sizes.setdefault(f"model {name}", listed)
    for name, told in demand(packages, MAPPING, "packages").items():
        sizes.setdefault(f"packages {name}", demand(told, {"bytes_total!": WHOLE}, "packages")["bytes_total"])
    rows = [f"{name}: {_units.size(size)}" for name, size in sorted(sizes.items())]
    rows += sorted({NO_PACKAGES.format(host["platform"]) for host in read if not host["wants"]["packages"]})
    if packages:
        return [*rows, f"to be fetched, at most: {_units.size(sum(sizes.values()))}"]
    told = demand(made, {"root!": LINE, "bytes_own!": WHOLE}, "bundle")
    return [*rows, f"in this folder: {_units.size(told['bytes_own'])}", f"root hash: {told['root']}"]
