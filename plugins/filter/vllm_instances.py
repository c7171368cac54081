# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_instances
short_description: The vLLM servers of a host in their normal form
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Fills every key that an entry of C(vllm_server_instances) leaves out, so that whoever reads it need not know
    the defaults.
  - Check the list with P(private_llm.fleet.vllm_instance_problems#filter) first; this filter only refuses what has
    no normal form.
positional: defaults
options:
  _input:
    description: The value of C(vllm_server_instances) of one host.
    type: list
    elements: dict
    required: true
  defaults:
    description:
      - Values laid over the built-in defaults. Keys are those of an instance except C(name), C(model), C(port),
        C(served_model_names) and C(api_keys), plus C(models_root).
    type: dict
"""

EXAMPLES = r"""
- name: Show where the servers of this host listen
  ansible.builtin.debug:
    msg: "{{ item.name }} listens on {{ item.bind }}:{{ item.port }}"
  loop: "{{ vllm_server_instances | private_llm.fleet.vllm_instances }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
_value:
  description:
    - One mapping for each instance, with every key of an instance. C(api_keys) is null when it was left out.
    - C(model_path) is the path of the model on the host; C(model_repo) is its hub id, empty when the model is a path.
    - C(key_file) is the file on the host that holds its API keys, one in a line; empty when it has none.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._vllm.declaration._instances import InstanceError, normal_instances


def vllm_instances(instances: t.Any, defaults: t.Any = None) -> list[dict[str, t.Any]]:
    try:
        return normal_instances(instances, defaults)
    except InstanceError as error:
        raise AnsibleFilterError(f"vllm_instances: {error}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vllm_instances": vllm_instances}
