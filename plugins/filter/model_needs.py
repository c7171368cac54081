# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_needs
short_description: What the models declared for a host need there, and what is wrong with them
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Reads the models of the role P(private_llm.fleet.model_download#role) before a hub is asked for one.
positional: defaults
options:
  _input:
    description: The models, as C(model_download_models) has them.
    type: list
    elements: dict
    required: true
  defaults:
    description:
      - What holds for a model that says nothing else, with the keys C(source), C(sources), C(token) and C(proxy); and
        C(packages), the packages that each kind of source needs.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Name the packages that the models need
  ansible.builtin.debug:
    msg: "{{ (models | private_llm.fleet.model_needs(defaults)).packages }}"
  vars:
    models:
      - repo: Qwen/Qwen3-8B
    defaults:
      source: modelscope
      packages:
        modelscope: [modelscope]
"""

RETURN = r"""
_value:
  description: C(present), the models that are to be on the host; C(kinds), the kinds of sources that they may come
    from; C(packages), what these need; C(secret), whether a token or a proxy is among the values; and C(problems), a
    sentence for each thing that is wrong.
  type: dict
"""

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import MAPPING
from ..plugin_utils.hosts._model_download import DEFAULTS, needs_of


def model_needs(models: t.Any, defaults: t.Any) -> dict[str, t.Any]:
    """Return what the models of a host need."""
    return needs_of(demand(models, [MAPPING], "models"), demand(defaults, DEFAULTS, "defaults"))


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"model_needs": model_needs}
