# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._host_vars import ANY, TEXT, conform, silent
from ..plugin_utils._vaulted import plainly

DOCUMENTATION = r"""
name: failure_messages
short_description: Why a task failed, one message for each item
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Takes the result of a failed task, as a rescue section finds it in C(ansible_failed_result).
  - A task with a loop gives one message for each item that failed. A censored result says so.
options:
  _input:
    description: The result of a failed task.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Do something and tell why it failed
  block:
    - name: Fail
      ansible.builtin.fail:
        msg: it is Monday
  rescue:
    - name: Tell why
      ansible.builtin.debug:
        msg: "{{ ansible_failed_result | private_llm.fleet.failure_messages }}"
"""

RETURN = r"""
_value:
  description: One text for each thing that failed.
  type: list
  elements: str
"""


_RESULT = {"censored": ANY, "module_stderr": TEXT, "msg": TEXT, "failed": ANY}


def failure_messages(result: t.Any) -> list[str]:
    """Return why a task failed, one message for each item of its loop that did."""
    told = conform(result, {**_RESULT, "results": [_RESULT]}, "result", silent)
    items = [item for item in told.get("results") or [] if item["failed"]]
    return [_message(item) for item in items or [told]]


def _message(result: t.Mapping[str, t.Any]) -> str:
    if result.get("censored"):
        return "the reason is hidden, as the task handles secrets; set the role's ..._secure_logging to false to see it"
    # Where a module died instead of failing, its message says no more than that.
    return plainly((result.get("module_stderr") or result.get("msg") or "").strip()) or "failed without a message"


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[[t.Any], list[str]]]:
        """Return the functions by name."""
        return {"failure_messages": failure_messages}
