# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible reads what a task includes, also in files that a check of the syntax does not follow."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.playbook.task_include import TaskInclude

from ansible_collections.private_llm.fleet.tests.support import playbooks

FILES = sorted(
    path.relative_to(playbooks.ROOT)
    for pattern in ("playbooks/**/*.yml", "roles/*/tasks/*.yml", "roles/*/handlers/*.yml")
    for path in playbooks.ROOT.glob(pattern)
)
BLOCKS = ("block", "rescue", "always")


def tasks_in(found: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield the tasks of a file or a play, of blocks within blocks too."""
    for one in found or []:
        lists = ("pre_tasks", "tasks", "post_tasks", "handlers") if "hosts" in one else BLOCKS
        inner = [one[name] for name in lists if name in one]
        for tasks in inner:
            yield from tasks_in(tasks)
        if not inner and "hosts" not in one and not any(key.endswith("import_playbook") for key in one):
            yield one


def included(task: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what a task includes, by the name of its action; empty for another task."""
    return {key: value for key, value in task.items() if key.endswith(("include_tasks", "import_tasks"))}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_ansible_reads_every_include(path: t.Any) -> None:
    for task in tasks_in(yaml.safe_load((playbooks.ROOT / path).read_text(encoding="utf-8"))):
        if included(task):
            TaskInclude.load(included(task))


def test_a_file_whose_name_is_taken_for_options_is_found() -> None:
    named = "{{ 'a' if ansible_facts['os_family'] == 'Debian' else 'b' }}.yml"
    with pytest.raises(AnsibleError, match="Invalid options"):
        TaskInclude.load({"ansible.builtin.include_tasks": named})
    TaskInclude.load({"ansible.builtin.include_tasks": {"file": named}})
