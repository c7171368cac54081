#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_firewall
short_description: Let named hosts alone open connections to TCP ports of a host
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Puts one table of nftables, C(inet private_llm), in place. It stands before the rules of Docker, ufw and firewalld,
    so it also holds for ports that Docker publishes, and it leaves everybody else's rules alone.
  - A connection to a port of a rule is let in from the host itself and from the rule's O(rules[].sources). All others
    get no answer. Ports that no rule names stay as they are, and connections that run are never cut.
  - The kernel judges the table in a network namespace of its own before it is put in place, so rules that it refuses
    change nothing. The table that is there is compared with that, so a rule that somebody changed is put right.
  - Writes the table to C(/etc/private_llm/firewall) as well, and the unit C(private-llm-firewall.service), which loads
    it at each start of the host and after each reload of C(nftables.service). Enabling the unit is left to others.
  - Needs the package C(nftables). The role P(private_llm.fleet.vllm_server#role) does all this with
    C(vllm_server_firewall).
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
    details: On a host without C(nft) the kernel is not asked for its judgement.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  rules:
    description: Who may open connections to which ports; of two rules with one port, the first one decides.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name in lower case for the rule's chain in the table.
        type: str
        required: true
      ports:
        description: TCP ports of the host, as it publishes them.
        type: list
        elements: int
        default: []
      chosen_ports:
        description:
          - Whether the rule holds for all ports as well that the kernel gives to programs that ask for any, from
            C(net.ipv4.ip_local_port_range). The processes of a vLLM server on several hosts listen at such ports.
          - Ports in that range at which sshd listens, or systemd for it, stay open.
        type: bool
        default: false
      open_ports:
        description: Ports of other programs in that range, which stay open.
        type: list
        elements: int
        default: []
      sources:
        description:
          - Addresses, networks as V(192.0.2.0/24), and names, which are resolved on the host and now. An empty list
            lets in the host itself alone.
        type: list
        elements: str
        default: []
      containers:
        description: Whether containers of this host on Docker's own network, C(docker0), may open connections, too.
        type: bool
        default: false
  units_dir:
    description: Folder of the systemd unit.
    type: path
    default: /etc/systemd/system
  state:
    description: V(absent) removes the table, its file and its unit.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let the gateways alone reach two servers
  private_llm.fleet.host_firewall:
    rules:
      - name: servers
        ports: [18005, 18006]
        sources: [192.0.2.30, 192.0.2.31]

- name: Let everybody in again
  private_llm.fleet.host_firewall:
    state: absent
"""

RETURN = r"""
table:
  description: The table's file, as it is or would be; empty where it is removed.
  returned: always
  type: str
path:
  description: The path of that file.
  returned: always
  type: str
  sample: /etc/private_llm/firewall/rules.nft
unit:
  description: The name of the unit.
  returned: always
  type: str
  sample: private-llm-firewall.service
unit_changed:
  description: Whether the unit's file changed, so that systemd must read it again.
  returned: always
  type: bool
"""

import contextlib
import os
import typing as t

from ..module_utils import _paths
from ..module_utils._engine import _lock
from ..module_utils._firewall import _rules, _table, _unit
from ..module_utils._fleet_module import FleetModule
from ..module_utils._ports import listeners
from ..module_utils._replace import Draft, ReplaceError, read_file

LIMIT = 1024 * 1024
PATH = os.path.join(_paths.FIREWALL, "rules.nft")


class Place(t.NamedTuple):
    """What is on the host: the texts of the table's file, of the kernel's table and of the unit; None is none."""

    file: str | None
    live: str
    unit: str | None


def wanted_rules(params: t.Mapping[str, t.Any]) -> list[_rules.Rule]:
    """Return the rules; FirewallError for what cannot be one."""
    with open(_table.RANGE, encoding="ascii") as stream:
        chosen = _rules.chosen_range(stream.read())
    open_doors: list[int] = []
    if any(one["chosen_ports"] for one in params["rules"]):
        open_doors = [port for port in _table.doors(listeners()) if chosen[0] <= port <= chosen[1]]
    found: list[_rules.Rule] = []
    for one in params["rules"]:
        if not _rules.NAME.fullmatch(one["name"]) or one["name"] in ("ports", *(rule.name for rule in found)):
            raise _table.FirewallError(
                f"rules: {one['name']!r} is not a name for a rule; write it in lower case, and once"
            )
        odd = [port for port in (*one["ports"], *one["open_ports"]) if not 1 <= port <= 65535]
        if odd:
            raise _table.FirewallError(
                f"rules: {odd[0]} of {one['name']} is not a port; write a number from 1 to 65535"
            )
        networks = [network for source in one["sources"] for network in _rules.networks(source, _table.resolve)]
        found.append(
            _rules.Rule(
                one["name"],
                tuple(one["ports"]),
                tuple(networks),
                one["containers"],
                chosen if one["chosen_ports"] else None,
                (*one["open_ports"], *open_doors) if one["chosen_ports"] else (),
            )
        )
    return found


def text_of(path: str) -> str | None:
    content = read_file(path, LIMIT)
    return None if content is None else content.decode("utf-8", "replace")


def place(table: _table.Table | None, unit: str) -> Place:
    return Place(text_of(PATH), table.live() if table else "", text_of(unit))


def present(module: FleetModule, table: _table.Table | None, nft: str, unit: str) -> dict[str, t.Any]:
    """Put the table in place; return what to tell."""
    text = _rules.render(wanted_rules(module.params))
    unit_text = _unit.unit(nft, PATH)
    before = place(table, unit)
    draft_of = module.tmpdir if module.check_mode else os.path.dirname(PATH)
    if not module.check_mode:
        os.makedirs(draft_of, mode=0o700, exist_ok=True)
    with Draft(os.path.join(draft_of, os.path.basename(PATH)), text.encode("utf-8"), 0o600) as draft:
        after = Place(text, table.tried(draft.path) if table else before.live, unit_text)
        if not module.check_mode:
            if table and before.live != after.live:
                table.load(draft.path)
            if before.file != after.file:
                draft.publish()
    if before.unit != after.unit and not module.check_mode:
        with Draft(unit, unit_text.encode("utf-8"), 0o644) as draft:
            draft.publish()
    return told(before, after, unit)


def absent(module: FleetModule, table: _table.Table | None, unit: str) -> dict[str, t.Any]:
    """Remove the table, its file and its unit; return what to tell."""
    before, after = place(table, unit), Place(None, "", None)
    if not module.check_mode:
        if table and before.live:
            table.remove()
        for path in (PATH, unit):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for folder in (_paths.FIREWALL, os.path.dirname(_paths.FIREWALL)):
            with contextlib.suppress(OSError):  # it is not there, or holds what others keep
                os.rmdir(folder)
    return told(before, after, unit)


def told(before: Place, after: Place, unit: str) -> dict[str, t.Any]:
    """Return the result."""
    pairs = [
        (PATH, before.file, after.file),
        (f"table inet {_rules.TABLE}", before.live, after.live),
        (unit, before.unit, after.unit),
    ]
    return {
        "changed": before != after,
        "table": after.file or "",
        "unit_changed": before.unit != after.unit,
        "diff": [
            {"before_header": name, "after_header": name, "before": old or "", "after": new or ""}
            for name, old, new in pairs
            if old != new
        ],
    }


def main() -> None:
    ports: dict[str, t.Any] = {"type": "list", "elements": "int", "default": []}
    module = FleetModule(
        argument_spec={
            "rules": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "ports": ports,
                    "chosen_ports": {"type": "bool", "default": False},
                    "open_ports": ports,
                    "sources": {"type": "list", "elements": "str", "default": []},
                    "containers": {"type": "bool", "default": False},
                },
            },
            "units_dir": {"type": "path", "default": "/etc/systemd/system"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    result: dict[str, t.Any] = {"changed": False, "path": PATH, "unit": _unit.NAME, "table": "", "unit_changed": False}
    unit = os.path.join(module.params["units_dir"], _unit.NAME)
    nft = module.get_bin_path("nft", opt_dirs=["/usr/sbin", "/sbin"])
    # The kernel's messages are compared.
    module.run_command_environ_update = {"LC_ALL": "C", "LANG": "C"}
    try:
        table = _table.Table(module.run_command, nft, module.get_bin_path("unshare", required=True)) if nft else None
        wanted = module.params["state"] == "present"
        if wanted and table is None and not module.check_mode:
            raise _table.FirewallError("there is no nft on this host; install the package nftables")
        with contextlib.ExitStack() as stack:
            if not module.check_mode:
                stack.enter_context(_lock.hold("host_firewall", _rules.TABLE, "changing the rules"))
            # A host that has no nft yet gets the distribution's.
            told_of = present(module, table, nft or "/usr/sbin/nft", unit) if wanted else absent(module, table, unit)
        result.update(told_of)
    except (_table.FirewallError, _lock.LockError, ReplaceError, OSError) as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
