# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The members of servers over several hosts, from the inventory. Pure.

A server with `nodes` is declared on its first node, the head. Each node runs one member of it: a container that is
declared here as if that host had declared it, with vLLM's own options for its place among the nodes.
"""

from __future__ import annotations

import typing as t

from ...module_utils._endpoint import bare
from ...module_utils._vllm.declaration._instances import (
    gpu_count,
    instance_problems,
    model_path,
    normal_instances,
)
from ...module_utils._vllm.declaration._rows import DEFAULTS, VARIABLES
from ...module_utils._vllm.options._suggestions import whole_number
from .._host_vars import ANY, FLAG, LINE, HostVars, of_hosts

Mapping = t.Mapping[str, t.Any]

MASTER_PORT = 29501
DATA_PORT = 29550  # vLLM's --data-parallel-rpc-port
# The options that say how a server uses its GPUs; one that is stated leaves the others to the author, too.
TENSOR, PIPELINE, DATA = "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"


def members(hosts: t.Any, hostvars: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    """Return the members that each host runs, as instances in their normal form with the key `member`.

    An entry with a problem is left out, because the role vllm_server reports it on the host that declares it.
    """
    read = of_hosts(hosts, hostvars)
    found: dict[str, list[dict[str, t.Any]]] = {}
    for name, host in read.items():
        for instance in groups_of(host):
            nodes = instance["nodes"]
            for rank, node in enumerate(nodes):
                if node not in read or nodes[0] != name:
                    continue  # problems() tells it
                found.setdefault(node, []).append(member(instance, rank, [read[one] for one in nodes if one in read]))
    return found


def groups_of(host: HostVars) -> list[dict[str, t.Any]]:
    """Return the servers over several hosts that a host declares, in their normal form; none with a problem."""
    found = []
    for instance in host.instances():
        if not instance.get("nodes"):
            continue
        open_to_all = host.read("vllm_server_allow_unauthenticated", [LINE])
        defaults = defaults_of(host)
        if instance_problems([instance], "", open_to_all, defaults):
            continue
        found.append(normal_instances([instance], defaults)[0])
    return found


def defaults_of(host: HostVars) -> dict[str, t.Any]:
    """Return what a host's variables say for all its servers, laid over by an instance's own keys."""
    stated = {}
    for key in VARIABLES:
        name = f"vllm_server_{key}"
        if host.has(name):
            stated[key] = host.read(name, ANY)
    return {key: value for key, value in stated.items() if value is not None}


def member(instance: Mapping, rank: int, nodes: t.Sequence[HostVars]) -> dict[str, t.Any]:
    """Return the instance that the node with this rank runs."""
    here = nodes[rank] if rank < len(nodes) else nodes[0]
    root = here.read("vllm_server_models_root", LINE) or DEFAULTS["models_root"]
    head = rank == 0
    engine = {
        **instance["engine"],
        **sizes(instance),
        "nnodes": len(instance["nodes"]),
        "node_rank": rank,
        "master_addr": address_of(nodes[0]),
    }
    engine.setdefault("master_port", MASTER_PORT)
    if (whole_number(engine.get(DATA)) or 1) > 1:
        engine.setdefault("data_parallel_address", address_of(nodes[0]))
    if not head:
        engine["headless"] = True
    return {
        **instance,
        "model_path": model_path(str(instance["model"]), str(root)),
        "engine": engine,
        # A head that Docker starts again hangs on the workers of before, so the whole group is started or nothing.
        "restart_policy": "no",
        # Workers serve no API. The head takes its keys from its own declaration, so that they are in no fact.
        "api_keys": None if head else [],
        "key_file": instance["key_file"] if head else "",
        "bind": instance["bind"] if head else "127.0.0.1",
        "member": {
            "nodes": list(instance["nodes"]),
            "rank": rank,
            "address": address_of(here),
            "interface": here.read("vllm_server_group_interface", LINE) or "",
            "private": not here.read("vllm_server_group_address", LINE),
            "rdma": here.read("vllm_server_group_rdma", FLAG) or False,
            "hcas": here.read("vllm_server_group_hcas", LINE) or "",
        },
    }


def meeting_ports(engine: Mapping) -> dict[str, int]:
    """Return the ports of the head at which the members of a group meet, by vLLM's option."""
    ports = {"master_port": whole_number(engine.get("master_port")) or MASTER_PORT}
    if (whole_number(engine.get(DATA)) or 1) > 1:
        ports["data_parallel_rpc_port"] = whole_number(engine.get("data_parallel_rpc_port")) or DATA_PORT
    return ports


def address_of(host: HostVars) -> str:
    """Return the name or address at which the other nodes reach a host."""
    stated = host.read("vllm_server_group_address", LINE) or host.read("vllm_server_address", LINE)
    return bare(str(stated)) if stated else host.address()


def sizes(instance: Mapping) -> dict[str, int]:
    """Return the parallel sizes that the options leave open: tensor parallel in a host, pipeline parallel across.

    vLLM's CPU backend cannot do pipeline parallelism, so there tensor parallelism goes across.
    """
    engine = instance["engine"]
    nodes = len(instance["nodes"])
    given = gpu_count(instance["gpus"])
    stated = {name: whole_number(engine.get(name)) for name in (TENSOR, PIPELINE, DATA)}
    total = (given or 1) * nodes
    data = stated[DATA] or 1
    each = total // data if total % data == 0 else 0
    if not each or any(engine.get(name) is not None and stated[name] is None for name in stated):
        return {}
    if stated[TENSOR] is None and stated[PIPELINE] is None:
        tensor = min(each, given) if given else each
        pipeline = each // tensor if each % tensor == 0 else 1
        return {TENSOR: tensor, PIPELINE: pipeline}
    for known, open_ in ((TENSOR, PIPELINE), (PIPELINE, TENSOR)):
        size = stated[known]
        if size and stated[open_] is None and each % size == 0:
            return {open_: each // size}
    return {}


def with_members(instances: t.Sequence[Mapping], members_here: t.Sequence[Mapping]) -> list[dict[str, t.Any]]:
    """Return a host's instances with its members: each in the place of its declaration, those of other heads last."""
    mine = {str(one["name"]): dict(one) for one in members_here}
    declared = []
    for one in instances:
        member_here = mine.pop(str(one["name"]), None) if one.get("nodes") else None
        declared.append(dict(one) if member_here is None else {**member_here, "api_keys": one["api_keys"]})
    return [*declared, *mine.values()]
