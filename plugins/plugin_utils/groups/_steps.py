# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done next with a server over several hosts, from what each node told. Pure.

All nodes of a group decide alike, because they read the same. The containers' names are the journal. The head is set
aside first, kept first, and put back last, so `<name>.previous` on the head says that a change is under way: with it,
the group goes back to what it was; without it, what is left on workers is from a change that was proven.
"""

from __future__ import annotations

import typing as t

from ...module_utils._run import has_ended
from .._host_vars import FLAG, LINE, NUMBER, TEXT, HostVars, of_hosts
from .._problem import Problem
from ._judge import KIND, differences

Mapping = t.Mapping[str, t.Any]

# Decisions after a look.
PROVE, CHANGE, UNDO, KEEP, LEAVE = "prove", "change", "undo", "keep", "leave"
TAKE_OVER = "take_over"  # the run that claims the group was killed
# Decisions while a group starts.
READY, WAITING, FAILED = "ready", "waiting", "failed"

FIRST_SLICE = 5  # seconds for which the head is waited for before the workers are looked at
LONGEST_SLICE = 300

# What the module for one member returns.
MEMBER = {
    "name!": LINE,
    "step!": LINE,
    "problem": TEXT,
    "actions": [LINE],
    "changes": [{"option!": LINE}],
    "status": LINE,
    "holder": LINE,
    "previous": FLAG,
    "image_id": LINE,
    "release": LINE,
    "gpu_names": [LINE],
    "verdict": LINE,
    "waited": NUMBER,
    "diagnosis": {"id": LINE, "cause": TEXT, "evidence": TEXT, "fix": TEXT},
    "log_file": LINE,
    "network": LINE,
    "address": LINE,
    "port": NUMBER,
}
# What the filters need of a member.
GROUP = {"name!": LINE, "member": {"nodes": [LINE]}}
FACT = "vllm_server_member"
FAILURE = "fleet_group_failure"


def told(member: Mapping, hostvars: t.Any, step: str) -> dict[str, dict[str, t.Any]]:
    """Return what each node of the group told of its member in this step; a node that told nothing has a problem."""
    nodes = _nodes(member)
    if not nodes:
        return {"": {"problem": "the member names no nodes"}}
    found = {}
    for node, host in of_hosts(nodes, hostvars).items():
        found[node] = _told(host, str(member["name"]), step)
    return found


def _nodes(member: Mapping) -> list[str]:
    """Return the nodes of a group; none where the member was not of this shape."""
    return [str(node) for node in member["member"].get("nodes") or []]


def _told(host: HostVars, name: str, step: str) -> dict[str, t.Any]:
    one: dict[str, t.Any] = host.read(FACT, MEMBER) if host.has(FACT) else {}
    if one and one["name"] == name and one["step"] == step:
        return one
    failure = host.read("fleet_failure", {"message": TEXT}) if host.has("fleet_failure") else {}
    why = failure.get("message") or "it is not part of this run, cannot be reached, or failed before"
    return {"name": name, "problem": f"told nothing: {why}"}


def decide(member: Mapping, hostvars: t.Any) -> dict[str, t.Any]:
    """Return what is to be done with a group after each node was looked at: ``action``, ``reasons`` and ``running``.

    ``running`` says whether the group runs as a whole now, so that it is to run again after a change that failed.
    """
    seen = told(member, hostvars, "look")
    name = str(member["name"])
    claims = {str(one["holder"]) for one in seen.values() if one.get("holder")}
    problems = [f"{node}: {one['problem']}" for node, one in seen.items() if one["problem"]]
    if not problems:
        problems = differences(name, seen)
    running = all(one.get("status") == "running" for one in seen.values())
    if claims and all(has_ended(run) for run in claims):
        return {"action": TAKE_OVER, "reasons": sorted(claims), "running": running}
    if problems:
        return {"action": LEAVE, "reasons": problems, "running": running}
    head = next(iter(seen.values()))
    before = [node for node, one in seen.items() if one["previous"]]
    if before:
        reasons = [f"an earlier change was cut off; {', '.join(before)} still has the member from before"]
        return {"action": UNDO if head["previous"] else KEEP, "reasons": reasons, "running": running}
    reasons = [reason for node, one in seen.items() for reason in _reasons(node, one)]
    return {"action": CHANGE if reasons else PROVE, "reasons": reasons, "running": running}


def _reasons(node: str, one: Mapping) -> list[str]:
    options = [str(change["option"]) for change in one["changes"]]
    if options:
        return [f"{node}: {', '.join(options)} changed"]
    if not one["actions"]:
        return []
    if not one["status"]:
        return [f"{node}: there is no member"]
    cause = (one["diagnosis"] or {}).get("cause")
    return [f"{node}: its member is {one['status']}{f' ({cause})' if cause else ''}"]


def peers(member: Mapping, hostvars: t.Any, node: str) -> list[dict[str, t.Any]]:
    """Return where the other nodes of a group listen, for this one to connect to."""
    seen = told(member, hostvars, "listen")
    return [
        {"node": other, "address": one["address"] or "", "port": int(one["port"] or 0)}
        for other, one in seen.items()
        if other != node and not one["problem"]
    ]


def obstacles(member: Mapping, hostvars: t.Any) -> list[Problem]:
    """Return what stands between the nodes of a group, as each told after it tried to reach the others."""
    name = str(member["name"])
    return [
        Problem(node, "", KIND, f"{name}: {one['problem']}")
        for node, one in told(member, hostvars, "reach").items()
        if one["problem"]
    ]


def progress(member: Mapping, hostvars: t.Any) -> dict[str, t.Any]:
    """Return how far the start of a group has come: ``verdict``, and the seconds ``wait`` that the head is given next.

    The head alone can say that the group is ready. Any member that ended ends the group.
    """
    seen = told(member, hostvars, "wait")
    if any(one["problem"] for one in seen.values()):
        return {"verdict": FAILED, "wait": 0}
    head = next(iter(seen.values()))
    waited = float(head.get("waited") or 0)
    wait = int(min(LONGEST_SLICE, max(FIRST_SLICE, waited / 4)))
    return {"verdict": READY if head.get("verdict") == READY else WAITING, "wait": wait}


def complaint(member: Mapping, hostvars: t.Any, ending: str) -> str:
    """Return why a group failed: the member at fault first, then what the others say, then how it ended."""
    nodes = _nodes(member)
    found = []
    for rank, (node, host) in enumerate(of_hosts(nodes, hostvars).items()):
        one: dict[str, t.Any] = host.read(FAILURE, MEMBER) if host.has(FAILURE) else {}
        if one and one["problem"]:
            found.append((_weight(one), rank, node, one))
    name = str(member["name"])
    if not found:
        return f"{name} did not become ready, and no member says why. {ending}"
    found.sort(key=lambda entry: entry[:2])
    _own, rank, node, first = found[0]
    lines = [f"{name} did not become ready, because the member on {node} (node {rank}) failed: {_said(node, first)}"]
    for _own, rank, node, one in found[1:]:
        same = one["problem"] == first["problem"]
        lines.append(
            f"The member on {node} (node {rank}) failed: {'for the same reason.' if same else _said(node, one)}"
        )
    return "\n".join([*lines, ending]).strip()


def _said(node: str, one: Mapping) -> str:
    log = f" Its log: {one['log_file']} on {node}." if one["log_file"] else ""
    network = f" Its network: {one['network']}." if one.get("network") and _is_of_the_network(one) else ""
    return f"{one['problem']}.{network}{log}"


# What a member says of another one that has gone, which is no cause of its own.
_ECHOES = ("unknown", "timeout", "")


# What can come of members that do not reach each other.
_OF_THE_NETWORK = (
    *_ECHOES,
    "nccl",
    "no_meeting",
    "meeting_port",
    "worker_hangs",
    "worker_timeout",
    "engine_ready_timeout",
)


def _is_of_the_network(one: Mapping) -> bool:
    return (one.get("diagnosis") or {}).get("id") in _OF_THE_NETWORK


def _weight(one: Mapping) -> int:
    """Sort key: a member with a cause of its own before one that only lost the others."""
    return int((one.get("diagnosis") or {}).get("id") in _ECHOES)
