# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a server over several hosts, from its declaration and from what its nodes told. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ...module_utils._vllm.declaration._instances import VARIABLE, gpu_count
from ...module_utils._vllm.options._suggestions import whole_number
from .._host_vars import HostVars, of_hosts
from .._problem import Problem
from ._members import DATA, PIPELINE, TENSOR, address_of, groups_of, meeting_ports, sizes

Mapping = t.Mapping[str, t.Any]
KIND = "group"


def problems(hosts: t.Any, hostvars: t.Any, in_run: t.Collection[str]) -> list[Problem]:
    """Find what is wrong with the groups of the inventory; ``in_run`` are the hosts that this run deals with.

    Nothing is said of a group that has no node in the run.
    """
    read = of_hosts(hosts, hostvars)
    found: list[Problem] = []
    taken: dict[str, tuple[str, str]] = {}
    for name, host in read.items():
        for instance in groups_of(host):
            nodes = [str(node) for node in instance["nodes"]]
            where = place(host, instance["name"])
            if not {name, *nodes}.intersection(in_run):
                continue
            texts = _declared(instance, nodes, name, read)
            if not texts:
                texts = _missing(instance, nodes, in_run)
            for node in nodes if instance["state"] == "started" else ():
                # Two heads may give their servers one name.
                other = taken.setdefault(node, (name, instance["name"]))
                if other != (name, instance["name"]):
                    texts.append(
                        f"{node} is a node of {other[1]} of {other[0]}, too; a host takes part in one server over "
                        "several hosts"
                    )
            teller = name if name in in_run else next(node for node in nodes if node in in_run)
            found += [Problem(teller, f"{where}.nodes", KIND, f"{instance['name']}: {text}") for text in texts]
            if not texts and instance["state"] == "started":
                found += _places(instance, [read[node] for node in nodes])
                found += _split(instance, name, where)
                found += _ports(instance, host, where)
    return found


def place(host: HostVars, name: str) -> str:
    """Return which entry of the host's declaration has this name."""
    names = [one.get("name") for one in host.instances()]
    return f"{VARIABLE}[{names.index(name)}]" if name in names else VARIABLE


def _declared(instance: Mapping, nodes: t.Sequence[str], host: str, read: t.Mapping[str, HostVars]) -> list[str]:
    texts = [f"{node} is not a host of gpu_hosts; add it to the inventory" for node in nodes if node not in read]
    if nodes[0] != host:
        texts.append(f"is declared on {host}, and its first node is {nodes[0]}; declare it on the first, the head")
    clash = [
        node
        for node in nodes[1:]
        if node != host and node in read and any(one.get("name") == instance["name"] for one in read[node].instances())
    ]
    texts += [
        f"{node} declares a server of the same name; a name is a container of the host, so change one of the two"
        for node in clash
    ]
    if not isinstance(instance["gpus"], int) and any(str(gpu).startswith(("GPU-", "MIG-")) for gpu in instance["gpus"]):
        texts.append("gpus names GPUs by UUID, which are different on each node; give indices or a count")
    return texts


def _missing(instance: Mapping, nodes: t.Sequence[str], in_run: t.Collection[str]) -> list[str]:
    away = [node for node in nodes if node not in in_run]
    if not away:
        return []
    return [
        (
            f"{', '.join(away)} is not part of this run, and {' and '.join(nodes)} are changed together or not at all; "
            "name all of them in --limit, or none"
        )
    ]


def _places(instance: Mapping, nodes: t.Sequence[HostVars]) -> list[Problem]:
    """Find addresses that cannot be those of hosts that speak to each other."""
    texts: list[tuple[str, str]] = []
    addresses = {node.name: address_of(node) for node in nodes}
    versions: dict[int, str] = {}
    for node, text in addresses.items():
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue  # a name, which the node resolves itself
        versions.setdefault(address.version, node)
        if address.is_loopback or address.is_unspecified:
            texts.append((node, f"{text} is not an address at which other hosts reach {node}"))
    if len(versions) > 1:
        texts.append(
            (versions[6], f"{addresses[versions[6]]} is IPv6, and {addresses[versions[4]]} of {versions[4]} is IPv4")
        )
    return [
        Problem(node, "vllm_server_group_address", KIND, f"{instance['name']}: {text}; set vllm_server_group_address")
        for node, text in texts
    ]


def _split(instance: Mapping, host: str, where: str) -> list[Problem]:
    """Find parallel sizes that do not make use of the same number of GPUs on each node, as vLLM demands."""
    engine = {**instance["engine"], **sizes(instance)}
    world, formula = 1, []
    for name in (TENSOR, PIPELINE, DATA):
        size = whole_number(engine.get(name)) if engine.get(name) is not None else None
        if engine.get(name) is not None and (size is None or size < 1):
            return []  # the declaration's own problems tell it
        if size:
            world *= size
            formula.append(f"{name} {size}")
    nodes, given = len(instance["nodes"]), gpu_count(instance["gpus"])
    if given and world != nodes * given:
        text = (
            f"{' x '.join(formula)} is {world} ranks, and {nodes} nodes with {given} GPU(s) each have {nodes * given}"
        )
    elif not given and world % nodes:
        text = f"{' x '.join(formula)} is {world} ranks, which {nodes} nodes cannot share evenly"
    else:
        return []
    return [Problem(host, f"{where}.engine", KIND, f"{instance['name']}: {text}; correct the sizes, gpus or nodes")]


def _ports(instance: Mapping, head: HostVars, where: str) -> list[Problem]:
    """Find ports of the head at which its nodes meet, and at which one of its servers listens, too."""
    asked = {str(instance["name"]): whole_number(instance["port"])}
    for one in head.instances():
        if one.get("state", "started") == "started":
            asked.setdefault(str(one.get("name")), whole_number(one.get("port")))
    return [
        Problem(
            head.name,
            f"{where}.engine.{option}",
            KIND,
            f"{instance['name']}: its nodes meet at port {port} of {head.name}, where {server} takes requests; give "
            f"{option} another port",
        )
        for option, port in meeting_ports(instance["engine"]).items()
        for server, other in asked.items()
        if port == other
    ]


# --- what the nodes told ----------------------------------------------------------------------------------------------


def differences(name: str, told: t.Mapping[str, Mapping]) -> list[str]:
    """Return how the nodes of a group differ where they must be alike; ``told`` is what each said of its member.

    What a node does not know yet, because its image or its model is still to come, differs from nothing.
    """
    texts = []
    for key, what, mend in (
        (
            "image_id",
            "the image",
            "pull it anew on all nodes (vllm_server_image_pull: always), or name it by its digest",
        ),
        ("release", "the release of the model", "set revision, and run models.yml for all nodes"),
    ):
        seen = {node: str(one.get(key) or "") for node, one in told.items() if one.get(key)}
        if len(set(seen.values())) > 1:
            shown = ", ".join(f"{value.rpartition(':')[2][:16]} on {node}" for node, value in seen.items())
            texts.append(f"{what} is not the same on all nodes of {name} ({shown}); {mend}")
    kinds = {node: sorted(set(one.get("gpu_names") or [])) for node, one in told.items() if one.get("gpu_names")}
    if len({tuple(kind) for kind in kinds.values()}) > 1:
        shown = ", ".join(f"{' and '.join(kind)} on {node}" for node, kind in kinds.items())
        texts.append(f"the GPUs of {name} are not of one kind ({shown}); a group is as slow and small as its least")
    return texts
