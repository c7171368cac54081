# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import textwrap

import yaml

from ..module_utils._vllm.declaration._rows import module_documentation

_OPTIONS = yaml.safe_dump(module_documentation(), sort_keys=False, allow_unicode=True, width=10**6)


class ModuleDocFragment:
    """What one vLLM server is declared with: options of the module for one, and of each server of the other."""

    # With a type, for ansible-test reads assignments without one as plain strings.
    DOCUMENTATION: str = "options:\n" + textwrap.indent(_OPTIONS, "  ")

    SERVERS: str = r"""
options:
  servers:
    description:
      - The servers, each with the options of M(private_llm.fleet.vllm_server).
      - They are dealt with in this order, except that those which are to be stopped or absent go first, so that what
        they hold is free for the others.
    type: list
    elements: dict
    required: true
    suboptions:
""" + textwrap.indent(_OPTIONS, "      ").replace("O(", "O(servers[].")
