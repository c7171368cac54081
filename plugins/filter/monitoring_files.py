# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.monitoring._files import files

DOCUMENTATION = r"""
name: monitoring_files
short_description: The files of a Prometheus and an Alertmanager
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Writes configuration, targets, rules and dashboards. The same input gives the same files.
positional: settings
options:
  _input:
    description: The targets, as C(monitoring_targets) of P(private_llm.fleet.monitoring#role).
    type: list
    elements: dict
    required: true
  settings:
    description:
      - Any of C(interval), C(alertmanager_port), C(bridge_port), C(limits), C(receivers), C(switch_url),
        C(wait_seconds), C(repeat_seconds) and C(gpu_hour_cost).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the configuration in place
  private_llm.fleet.monitoring_config:
    files: "{{ written.files }}"
    secret_files: "{{ written.secret_files }}"
  vars:
    written: "{{ monitoring_targets | private_llm.fleet.monitoring_files({'interval': 15}) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: C(files), and C(secret_files) that hold secrets; both are texts by their paths below one folder.
  type: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"monitoring_files": files}
