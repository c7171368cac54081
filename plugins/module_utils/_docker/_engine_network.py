# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find out whether the engine's own network is whole: its bridge, and its rules for addresses and ports.

An engine makes both when it starts and never looks again. Somebody deletes the bridge, or a firewall that is reloaded
flushes all rules, and from then on published ports lead nowhere while the engine says that all is well.
Only what is certain counts: where anything cannot be known, nothing is wrong.
"""

from __future__ import annotations

import os
import typing as t

NETWORK_INTERFACES = "/sys/class/net"
# Which of these has the engine's rules is not known beforehand: each sees its own.
PROGRAMS = ("iptables", "iptables-nft", "iptables-legacy")
CHAIN = "-N DOCKER"

Mapping = t.Mapping[str, t.Any]
# Runs a program with arguments; its output, or None where there is none or it fails.
Run = t.Callable[[t.Sequence[str]], t.Optional[str]]


def same_namespace(pid: int | None, proc: str = "/proc") -> bool:
    """Return whether the engine's process has the network that is seen from here."""
    try:
        return os.readlink(f"{proc}/{pid}/ns/net") == os.readlink(f"{proc}/self/ns/net")
    except OSError:
        return False


def network_problem(
    bridge: t.Any,
    info: Mapping,
    configuration: Mapping,
    command_line: t.Sequence[str],
    run: Run,
    interfaces: str = NETWORK_INTERFACES,
) -> str | None:
    """Return what is broken and what to do, or None. ``bridge`` is the engine's answer about its network `bridge`."""
    if not isinstance(bridge, dict) or bridge.get("Driver") != "bridge":
        return None
    options = bridge.get("Options")
    name = str((options if isinstance(options, dict) else {}).get("com.docker.network.bridge.name") or "docker0")
    if "/" not in name and os.path.isdir(interfaces) and not os.path.exists(os.path.join(interfaces, name)):
        return (
            f"the engine's bridge {name} was deleted under it, so containers reach no network and published ports lead "
            "nowhere. Restart the engine, and then each container, because their links to the bridge have gone with it"
        )
    if not _writes_rules(info, configuration, command_line):
        return None
    seen = [rules for rules in (run([program, "-t", "nat", "-S"]) for program in PROGRAMS) if rules is not None]
    if seen and not any(CHAIN in rules.splitlines() for rules in seen):
        return (
            "the engine's rules for published ports (chain DOCKER of the table nat) have gone, as after a reload of "
            "firewalld or ufw, or iptables -F, so published ports lead nowhere. Restart the engine, which writes them "
            "anew, and restart it after each reload of the firewall"
        )
    return None


def _writes_rules(info: Mapping, configuration: Mapping, command_line: t.Sequence[str]) -> bool:
    """Return whether the engine keeps rules of iptables: it can be told not to, and newer ones can use nftables."""
    backend = info.get("FirewallBackend")
    driver = backend.get("Driver") if isinstance(backend, dict) else None
    if driver is not None and not str(driver).startswith("iptables"):
        return False
    if configuration.get("iptables") is False or configuration.get("firewall-backend") == "nftables":
        return False
    given = " ".join(command_line)
    return "--iptables=f" not in given and "--iptables=0" not in given and "nftables" not in given
