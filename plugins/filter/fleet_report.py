# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import report

DOCUMENTATION = r"""
name: fleet_report
short_description: The end of a run, for a person to read
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Puts together what the hosts of a fleet told while the playbooks ran.
positional: hostvars
options:
  _input:
    description: The names of the hosts in C(gpu_hosts), C(webui_hosts), C(gateway_hosts) and
      C(monitoring_hosts).
    type: dict
    required: true
extends_documentation_fragment:
  - private_llm.fleet.hostvars
"""

EXAMPLES = r"""
- name: Show the fleet
  ansible.builtin.debug:
    msg: "{{ (groups | private_llm.fleet.fleet_report(hostvars)).lines }}"
"""

RETURN = r"""
_value:
  description: C(lines), a table of the servers and where Open WebUI is; C(failed), one line for each host that failed.
  type: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_report": report}
