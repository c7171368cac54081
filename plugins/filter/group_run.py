# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..module_utils._run import this_run
from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: group_run
short_description: Name of this run, for what it claims
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Names the controller and the process of the run, so that a later run on the same controller can tell whether this
    one has ended.
options:
  _input:
    description: What the run does, in a word, which begins the name.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Take a step
  private_llm.fleet.vllm_group_member:
    step: look
    run: "{{ 'servers' | private_llm.fleet.group_run }}"
"""

RETURN = r"""
_value:
  description: The name.
  type: str
"""


def group_run(doing: t.Any) -> str:
    """Return the name of this run."""
    return f"{demand(doing, LINE, 'doing')} of {this_run()}"


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"group_run": group_run}
