# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: open_webui_problems
short_description: What is wrong with the variables of the role open_webui
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads what the variables of the role P(private_llm.fleet.open_webui#role) say, before the host is asked for
    anything.
options:
  _input:
    description:
      - What the variables say, each under its name without C(open_webui_); and C(host), the name of the host;
        C(version), which the image's tag names; C(reserved_env), what C(env) may not set; C(keeps_settings), whether
        Open WebUI keeps its settings over a restart; C(secret_settings); C(other_keys), hosts with the same database
        and another secret key; and C(key_file).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the options
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    problems: "{{ wanted | private_llm.fleet.open_webui_problems }}"
"""

RETURN = r"""
_value:
  description: A sentence for each thing that is wrong. Empty where nothing is.
  type: list
  elements: str
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils.hosts._open_webui import WANTED, problems_of


def open_webui_problems(wanted: t.Any) -> list[str]:
    """Return what is wrong with the variables."""
    return problems_of(demand(wanted, WANTED, "wanted"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"open_webui_problems": open_webui_problems}
