# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._filter_input import demand, optional
from ..plugin_utils._host_vars import ANY, MAPPING, one_line

DOCUMENTATION = r"""
name: with_bundle
short_description: Take models from a bundle and from nowhere else
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Gives each model the folder that M(private_llm.fleet.bundle_verify) has laid out for it on the controller, as the
    archive that it comes from.
  - Fails for a model that the bundle lacks.
positional: _input, models
options:
  _input:
    description: What the role model_download takes as C(model_download_models).
    type: list
    elements: dict
    required: true
  models:
    description: What M(private_llm.fleet.bundle_verify) returned as C(models).
      Nothing where there is no bundle; the models stay as they are then.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Bring what the servers want
  ansible.builtin.include_role:
    name: private_llm.fleet.model_download
  vars:
    model_download_models: "{{ wanted_models | private_llm.fleet.with_bundle(verified.models) }}"
"""

RETURN = r"""
_value:
  description: The same models, each with C(source), C(archive) and C(archive_on).
  type: list
  elements: dict
"""


def with_bundle(models: t.Any, laid_out: t.Any) -> list[dict[str, t.Any]]:
    """Return the models with the folders of a bundle as their archives."""
    wanted = demand(models, [ANY], "models")
    folders = optional(laid_out, MAPPING, "models of the bundle")
    if folders is None:
        return t.cast("list[dict[str, t.Any]]", wanted)
    found = []
    for model in wanted:
        repo = model.get("repo") if isinstance(model, dict) else None
        if not isinstance(repo, str) or not isinstance(folders.get(repo), str):
            name = one_line(repo) if isinstance(repo, str) else "without a repo"
            raise AnsibleFilterError(f"the bundle lacks model {name}; make a bundle for this inventory")
        kept = {key: model[key] for key in ("repo", "revision", "include", "exclude") if key in model}
        found.append({**kept, "source": "archive", "archive": folders[repo], "archive_on": "controller"})
    return found


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"with_bundle": with_bundle}
