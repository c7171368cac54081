# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_room
short_description: Whether all models of a host fit on its disks together
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - One model after the other would find out too late that there is no room for the last one. This adds up, for each
    file system, what M(private_llm.fleet.model_snapshot) said in check mode.
positional: spare
options:
  _input:
    description:
      - Results of M(private_llm.fleet.model_snapshot), one for each model, with the model as C(item). Those that need
        nothing count for nothing.
    type: list
    elements: dict
    required: true
  spare:
    description: Bytes that stay free for others.
    type: int
    default: 64000000
"""

EXAMPLES = r"""
- name: Check that there is room for all models together
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ looked.results | private_llm.fleet.model_room }}"
"""

RETURN = r"""
_value:
  description: A sentence for each file system that is too small. Empty where all fit.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import WHOLE
from ..plugin_utils._room import RESULT, room_problems


def model_room(looked: t.Any, spare: t.Any = 64_000_000) -> list[str]:
    """Return what does not fit."""
    return room_problems(demand(looked, [RESULT], "looked"), demand(spare, WHOLE, "spare"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"model_room": model_room}
