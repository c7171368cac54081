# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import check_metadata

MODULE = '''\
DOCUMENTATION = r"""
module: thing
attributes:
  check_mode: {support: full}
  diff_mode: {support: DIFF}
  idempotent: {support: full}
"""
AnsibleModule({}, supports_check_mode=True)
'''

TARGET = """\
- name: Try it
  check_mode: "{{ dry }}"
  block:
    - name: Have it
      private_llm.fleet.thing:
      diff: true
      register: it
- name: Judge
  ansible.builtin.assert:
    that:
      - it.diff.after == 'x'
      - it is not changed
"""


def problems(root: Path, module: str = MODULE, target: str = TARGET, diff: str = "full") -> list[str]:
    (root / "plugins" / "modules").mkdir(parents=True, exist_ok=True)
    (root / "plugins" / "modules" / "thing.py").write_text(module.replace("DIFF", diff), encoding="utf-8")
    tasks = root / "tests" / "integration" / "targets" / "thing" / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    (tasks / "main.yml").write_text(target, encoding="utf-8")
    return list(check_metadata.check_attributes(root))


def test_promises_that_are_tried_pass(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "promise"),
    [
        ('  check_mode: "{{ dry }}"\n', "", "supports check_mode"),
        ("diff: true", "diff: false", "supports diff_mode"),
        ("it.diff.after == 'x'", "it.state == 'x'", "supports diff_mode"),
        ("is not changed", "is changed", "supports idempotent"),
        ("private_llm.fleet.thing", "private_llm.fleet.other", "supports check_mode"),
    ],
)
def test_promises_that_nothing_tries_are_told(tmp_path: Path, old: str, new: str, promise: str) -> None:
    assert old in TARGET
    assert any(promise in one for one in problems(tmp_path, target=TARGET.replace(old, new)))


def test_modules_may_share_a_target(tmp_path: Path) -> None:
    tasks = tmp_path / "tests" / "integration" / "targets" / "shared" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "thing.yml").write_text(TARGET, encoding="utf-8")
    (tasks / "other.yml").write_text(TARGET.replace("fleet.thing", "fleet.other"), encoding="utf-8")
    (tmp_path / "plugins" / "modules").mkdir(parents=True)
    (tmp_path / "plugins" / "modules" / "thing.py").write_text(MODULE.replace("DIFF", "full"), encoding="utf-8")
    assert list(check_metadata.check_attributes(tmp_path)) == []
    (tasks / "thing.yml").write_text(TARGET.replace("diff: true", "diff: false"), encoding="utf-8")
    (problem,) = check_metadata.check_attributes(tmp_path)
    assert "no task in tests/integration/targets runs thing with diff: true" in problem


def test_what_is_not_promised_need_not_be_tried(tmp_path: Path) -> None:
    assert problems(tmp_path, target=TARGET.replace("diff: true", "register: x"), diff="none") == []


def test_documentation_and_code_say_the_same_about_check_mode(tmp_path: Path) -> None:
    found = problems(tmp_path, module=MODULE.replace("supports_check_mode=True", ""))
    assert found == ["plugins/modules/thing.py: says check_mode and supports_check_mode differently"]


def test_an_example_inventory_that_ansible_would_refuse_is_told_by_host(tmp_path: Path) -> None:
    for name in ("roles", ".collections", "ansible.cfg"):
        (tmp_path / name).symlink_to(check_metadata.ROOT / name)
    shutil.copytree(check_metadata.ROOT / "inventory.example", tmp_path / "inventory.example")
    shutil.rmtree(tmp_path / "inventory.example" / "demo")
    changed = tmp_path / "inventory.example" / "host_vars" / "gpu-02.yml"
    changed.write_text("vllm_server_instances: [{name: a, port: high}]\n", encoding="utf-8")
    found = list(check_metadata.check_inventories(tmp_path))
    assert len(found) == 1
    assert found[0].startswith("inventory.example: gpu-02 does not pass the argument specifications: argument 'port'")


def test_the_execution_environment_allows_what_the_tests_use(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "execution-environment.yml").write_text(
        "dependencies: {python: meta/python.txt, system: meta/system.txt}\n", encoding="utf-8"
    )
    (tmp_path / "meta" / "system.txt").write_text("git\n", encoding="utf-8")
    (tmp_path / "requirements-dev.txt").write_text("docker==7.1.0  # pinned\nrequests==2.32.5\n", encoding="utf-8")
    (tmp_path / "meta" / "python.txt").write_text("docker>=7.0\nrequests>=3\npodman\n", encoding="utf-8")
    assert list(check_metadata.check_environment(tmp_path)) == [
        "meta/python.txt: requests>=3 does not allow ==2.32.5, which is what the tests use",
        "meta/python.txt: podman is not in requirements-dev.txt, so nothing has tried it",
    ]


def test_program_text_says_its_licence(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"# {check_metadata.SPDX}\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("print()\n", encoding="utf-8")
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    found = list(check_metadata.check_licences(tmp_path, ["a.py", "b.py", "__init__.py", "README.md", "gone.py"]))
    assert found == [f"b.py: says no licence; put {check_metadata.SPDX} at its head"]


def test_a_docstring_begins_with_a_verb(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    text = '''class Thing:
    """A thing."""

    def there(self):
        """Whether it is there."""

    def _bytes(self):
        """Return its bytes.

        The order is that of the wire.
        """

    def plain(self):
        return 1
'''
    (tmp_path / "scripts" / "a.py").write_text(text, encoding="utf-8")
    (tmp_path / "b.py").write_text(text, encoding="utf-8")
    assert list(
        check_metadata.check_docstrings(tmp_path, ["scripts/a.py", "b.py", "scripts/gone.py", "scripts/a.sh"])
    ) == ["scripts/a.py:4: the docstring of there begins with 'Whether', not a verb"]
