# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._fleet import table
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: fleet_table
short_description: Rows as the lines of a plain table
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Aligns the columns so that a person can read them in a terminal. A missing value is a dash.
positional: columns
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  columns:
    description: Keys of the rows to show, in this order; they are also the head.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show a table
  ansible.builtin.debug:
    msg: "{{ [{'host': 'gpu-01', 'state': 'ready'}] | private_llm.fleet.fleet_table(['host', 'state']) }}"
"""

RETURN = r"""
_value:
  description: The lines, the head first.
  type: list
  elements: str
"""


def fleet_table(rows: t.Any, columns: t.Any) -> list[str]:
    """Return the lines of a plain table."""
    heads = demand(columns, [LINE], "columns")
    return table(demand(rows, [dict.fromkeys(heads, LINE)], "rows"), heads)


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"fleet_table": fleet_table}
