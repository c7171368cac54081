# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the option hostvars, for filters that read the variables of other hosts."""

    DOCUMENTATION = r"""
options:
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
"""

    # For filters about the members of a server over several hosts.
    MEMBER = r"""
options:
  _input:
    description: The member that this host runs, an entry of what P(private_llm.fleet.group_members#filter) returns.
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars), with C(vllm_server_member) of each node.
    type: dict
    required: true
"""
