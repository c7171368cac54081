# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: without_apt_entries
short_description: A file of apt's sources without the entries of one repository
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Leaves out the entries with a line that matches. All others stay as they are, and so do comments.
  - A file that then holds nothing but comments becomes an empty text.
positional: file, pattern
options:
  _input:
    description: What the file holds.
    type: str
    required: true
  file:
    description: The path of the file. One that ends with C(.list) has an entry a line, any other a paragraph.
    type: str
    required: true
  pattern:
    description: A regular expression that finds the repository in a line.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a file without a repository
  ansible.builtin.debug:
    msg: "{{ text | private_llm.fleet.without_apt_entries('/etc/apt/sources.list', '^[^#]*/nvidia-docker/') }}"
  vars:
    text: "{{ lookup('ansible.builtin.file', '/etc/apt/sources.list') }}"
"""

RETURN = r"""
_value:
  description: What is left of the file; empty where that is no entry.
  type: str
"""

import re
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._vllm.options._suggestions import kind
from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import ANY, LINE, TEXT

_ENTRY = re.compile(r"^[^#\s]", re.MULTILINE)


def without_apt_entries(text: t.Any, file: t.Any, pattern: t.Any) -> str:
    """Return what is left of a file."""
    try:
        unwanted = re.compile(demand(pattern, LINE, "pattern"), re.MULTILINE)
    except re.error as error:
        raise AnsibleFilterError(f"pattern: cannot be read: {error}") from error
    # As it is: the shapes of texts are for what is shown, and this is written into a file.
    whole = demand(text, ANY, "text")
    if not isinstance(whole, str):
        raise AnsibleFilterError(f"text: is {kind(whole)}, not {TEXT}")
    joint = "\n" if demand(file, LINE, "file").endswith(".list") else "\n\n"
    left = [entry for entry in whole.split(joint) if not unwanted.search(entry)]
    return joint.join(left).strip("\n") + "\n" if any(map(_ENTRY.search, left)) else ""


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the functions by name."""
        return {"without_apt_entries": without_apt_entries}
