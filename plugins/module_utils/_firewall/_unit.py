# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit of systemd that puts the table in place at each start of the host, before its network."""

from __future__ import annotations

from ._rules import TABLE

NAME = "private-llm-firewall.service"


def unit(nft: str, rules: str) -> str:
    """Return the text of the unit.

    The distribution's own unit flushes every table as it starts, reloads and stops, so this one follows it.
    """
    return f"""# Written by private_llm.fleet (host_firewall), which writes it anew.
[Unit]
Description=Who may reach the ports of vLLM servers
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
DefaultDependencies=no

[Service]
Type=oneshot
RemainAfterExit=true
ExecStart={nft} -f {rules}
ExecReload={nft} -f {rules}
ExecStop=-{nft} delete table inet {TABLE}
NoNewPrivileges=true
ProtectHome=true
ProtectSystem=full

[Install]
WantedBy=sysinit.target nftables.service
"""
