# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._fleet import instance_models

DOCUMENTATION = r"""
name: instance_models
short_description: Models that a host's vLLM servers want from a hub
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Lists each hub id once, with what an instance says of where it comes from, such as its source and its revision.
  - The result is what the role model_download takes as C(model_download_models).
  - Models given as a path on the host, and those of servers that are to be absent, are left out.
options:
  _input:
    description: The value of C(vllm_server_instances) of one host.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Download what the servers want
  ansible.builtin.include_role:
    name: private_llm.fleet.model_download
  vars:
    model_download_models: "{{ vllm_server_instances | private_llm.fleet.instance_models }}"
"""

RETURN = r"""
_value:
  description: Entries with C(repo) and, where given, C(source), C(revision), C(endpoint), C(token), C(archive),
    C(archive_on), C(include) and C(exclude).
  type: list
  elements: dict
"""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"instance_models": instance_models}
