# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import check_roles

DEFAULTS = """\
---
# Port to listen on.
cache_port: 8000

# Key that clients show; empty means that none is asked for.
cache_token: ""

# Whether secrets are kept out of the output.
cache_secure_logging: true
"""

SPECS: dict[str, Any] = {
    "cache_port": {"type": "int", "default": 8000, "description": "Port to listen on."},
    "cache_token": {"type": "str", "default": "", "no_log": True, "description": "Key that clients show."},
    "cache_secure_logging": {"type": "bool", "default": True, "description": "Whether secrets are kept out."},
}

TASKS = """\
---
- name: Write the configuration of cache_anything
  ansible.builtin.template:
    src: cache_server.conf.j2
    dest: /etc/cache_server.conf
    mode: "0600"
  no_log: "{{ cache_secure_logging }}"
"""

TEMPLATE = "{# cache_in_a_comment #}listen {{ cache_port }}\ntoken {{ cache_token }}\n"

README = "# cache\n\nRun `private_llm.fleet.cache`. Variables: meta/argument_specs.yml\n"

MODULE = '''\
DOCUMENTATION = r"""
module: thing
extends_documentation_fragment: [private_llm.fleet.attributes{fragment}]
attributes:
  check_mode: {{support: full}}
  diff_mode: {{support: full}}
  idempotent: {{support: full}}
"""
EXAMPLES = r"""
- name: Have the thing
  private_llm.fleet.{example}:
    name: x
"""
RETURN = r"""
name: {{description: The name, returned: always, type: str}}
"""
'''


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def specs(**changes: dict[str, Any] | None) -> str:
    options = {name: option for name, option in {**SPECS, **changes}.items() if option is not None}
    return yaml.safe_dump({"argument_specs": {"main": {"options": options}}}, sort_keys=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a checkout with one role in which nothing is wrong."""
    role = tmp_path / "roles" / "cache"
    write(role / "defaults" / "main.yml", DEFAULTS)
    write(role / "meta" / "argument_specs.yml", specs())
    write(role / "tasks" / "main.yml", TASKS)
    write(role / "templates" / "cache_server.conf.j2", TEMPLATE)
    write(role / "README.md", README)
    write(tmp_path / "meta" / "runtime.yml", "requires_ansible: '>=2.19.0'\n")
    write(tmp_path / "README.md", "Role `cache`; modules `thing`, `open_webui_a`, `open_webui_b`.\n")
    (tmp_path / "plugins").mkdir()
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_sound_role_has_no_problems(root: Path) -> None:
    assert check_roles.check(root) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"cache_port": {"type": "int", "default": 8001, "description": "Port."}},
            "roles/cache/meta/argument_specs.yml: the default of cache_port is 8001; defaults/main.yml says 8000",
            id="other-default",
        ),
        pytest.param(
            {"cache_secure_logging": {"type": "bool", "default": 1, "description": "Whether."}},
            "roles/cache/meta/argument_specs.yml: the default of cache_secure_logging, 1, is not of type bool",
            id="one-is-not-true",
        ),
        pytest.param(
            {"cache_port": {"type": "int", "description": "Port."}},
            "roles/cache/meta/argument_specs.yml: cache_port has no default; defaults/main.yml says 8000",
            id="no-default",
        ),
        pytest.param(
            {"cache_port": {"type": "str", "default": 8000, "description": "Port."}},
            "roles/cache/meta/argument_specs.yml: the default of cache_port, 8000, is not of type str",
            id="wrong-type",
        ),
        pytest.param(
            {"cache_port": {"type": "number", "default": 8000, "description": "Port."}},
            "roles/cache/meta/argument_specs.yml: cache_port has type number; use one of"
            " str, path, int, float, bool, list, dict, raw",
            id="no-such-type",
        ),
        pytest.param(
            {"cache_port": {"type": "int", "default": 8000, "choices": [1, 2], "description": "Port."}},
            "roles/cache/meta/argument_specs.yml: the default of cache_port, 8000, is not among its choices",
            id="not-a-choice",
        ),
        pytest.param(
            {"cache_port": {"type": "int", "default": 8000}},
            "roles/cache/meta/argument_specs.yml: cache_port has no description",
            id="no-description",
        ),
        pytest.param(
            {"cache_port": {"type": "int", "required": True, "description": "Port."}},
            "roles/cache/defaults/main.yml: cache_port is required, so it has no default",
            id="required-with-default",
        ),
        pytest.param(
            {"cache_token": {"type": "str", "default": "", "description": "Key."}},
            "roles/cache/meta/argument_specs.yml: cache_token looks like a secret; say no_log, true or false",
            id="secret-in-the-open",
        ),
        pytest.param(
            {"cache_port": None},
            "roles/cache/meta/argument_specs.yml: cache_port is in defaults/main.yml and not here",
            id="undocumented",
        ),
        pytest.param(
            {"cache_size": {"type": "int", "default": 1, "description": "Size."}},
            "roles/cache/defaults/main.yml: cache_size is an option that need not be set, and has no default here",
            id="no-default-in-the-role",
        ),
        pytest.param(
            {"cache_size": {"type": "int", "required": True, "description": "Size."}},
            "roles/cache/README.md: does not mention cache_size (it must be set)",
            id="required-and-not-in-the-readme",
        ),
        pytest.param(
            {
                "cache_port": {
                    "type": "list",
                    "elements": "dict",
                    "description": "Ports.",
                    "options": {"number": {"type": "int"}},
                }
            },
            "roles/cache/meta/argument_specs.yml: cache_port.number has no description",
            id="inner-option",
        ),
    ],
)
def test_specification_against_defaults(root: Path, changes: dict[str, Any], problem: str) -> None:
    write(root / "roles" / "cache" / "meta" / "argument_specs.yml", specs(**changes))
    assert problem in check_roles.check(root)


def test_default_known_only_at_run_time_may_be_described_instead(root: Path) -> None:
    change(root / "roles" / "cache" / "defaults" / "main.yml", "8000", '"{{ 8000 + 1 }}"')
    write(
        root / "roles" / "cache" / "meta" / "argument_specs.yml",
        specs(cache_port={"type": "int", "description": "Port; 8001."}),
    )
    assert check_roles.check(root) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        pytest.param(
            "defaults/main.yml",
            "# Port to listen on.\n",
            "",
            "roles/cache/defaults/main.yml:2: cache_port has no comment above it",
            id="no-comment",
        ),
        pytest.param(
            "templates/cache_server.conf.j2",
            "cache_token",
            "cache_tokens",
            "roles/cache/templates/cache_server.conf.j2: cache_tokens is not declared by role cache;"
            " internal names begin with __",
            id="misspelt-in-a-template",
        ),
        pytest.param(
            "templates/cache_server.conf.j2",
            "{{ cache_token }}",
            "none",
            "roles/cache: cache_token is declared and never used",
            id="never-used",
        ),
        pytest.param(
            "tasks/main.yml",
            "{{ cache_secure_logging }}",
            "{{ cache_logging }}",
            "roles/cache/tasks/main.yml: cache_logging is not declared by role cache; internal names begin with __",
            id="misspelt-in-a-task",
        ),
        pytest.param(
            "tasks/main.yml",
            '"{{ cache_secure_logging }}"',
            "true",
            'roles/cache/tasks/main.yml: task "Write the configuration of cache_anything" has no_log: true;'
            " use cache_secure_logging",
            id="hidden-for-good",
        ),
        pytest.param(
            "tasks/main.yml",
            "  no_log:",
            "  register: cache_written\n  no_log:",
            "roles/cache/README.md: does not mention cache_written (the role leaves it for others to read)",
            id="public-result-nobody-knows",
        ),
        pytest.param(
            "README.md",
            "private_llm.fleet.cache",
            "cache",
            "roles/cache/README.md: does not mention private_llm.fleet.cache (an example that uses the role by its"
            " full name)",
            id="readme-without-example",
        ),
    ],
)
def test_role_against_itself(root: Path, file: str, old: str, new: str, problem: str) -> None:
    change(root / "roles" / "cache" / file, old, new)
    assert problem in check_roles.check(root)


def test_playbook_that_passes_a_variable_no_role_has(root: Path) -> None:
    write(
        root / "playbooks" / "site.yml",
        "- hosts: all\n  tasks:\n    - ansible.builtin.include_role:\n        name: private_llm.fleet.cache\n"
        "      vars:\n        cache_prot: 1\n",
    )
    assert check_roles.check(root) == [
        "playbooks/site.yml: cache_prot is not declared by role cache; internal names begin with __"
    ]


def test_missing_readme(root: Path) -> None:
    (root / "roles" / "cache" / "README.md").unlink()
    assert check_roles.check(root) == ["roles/cache/README.md: is missing"]


@pytest.mark.parametrize(
    ("table", "problems"),
    [
        ("| step | `cache_port` | `8000` |\n", []),
        ("| step | `cache_port` | the usual one |\n", []),
        ('| step | `cache_token` | `""` (none) |\n', []),
        ("| step | `cache_port` | `8080` |\n", ["README.md: the default of cache_port is 8000, not 8080"]),
        ("| step | `cache_prot` | `8000` |\n", ["README.md: no role declares cache_prot"]),
    ],
)
def test_table_of_variables(root: Path, table: str, problems: list[str]) -> None:
    header = "| by hand | variable | default |\n|---|---|---|\n"
    write(root / "README.md", f"Role `cache`\n<!-- variables -->\n{header}{table}<!-- /variables -->\n")
    assert check_roles.check(root) == problems


def test_translation_with_another_table(root: Path) -> None:
    table = "<!-- variables -->\n| a | `cache_port` | `8000` |\n| b | `cache_token` | none |\n<!-- /variables -->\n"
    write(root / "README.md", f"`cache`\n{table}")
    write(root / "README.zh-CN.md", table.replace("| b | `cache_token` | none |\n", ""))
    assert check_roles.check(root) == [
        "README.zh-CN.md: its table of variables is not that of README.md; they differ in `cache_token`"
    ]


def test_index_in_the_readme(root: Path) -> None:
    module(root, "thing")
    write(root / "README.md", "nothing\n")
    assert check_roles.check(root) == [
        "README.md: role cache is not in the index",
        "README.md: module thing is not in the index",
    ]


def test_example_inventory_sets_only_what_exists(root: Path) -> None:
    write(root / "inventory.example" / "group_vars" / "all.yml", "cache_port: 1\n# cache_prot: 2\nother: 3\n")
    assert check_roles.check(root) == [
        "inventory.example/group_vars/all.yml:2: role cache has no variable cache_prot",
    ]


USES = "---\n- name: Use it\n  private_llm.fleet.{name}:\n    x: 1\n"


def module(root: Path, name: str, fragment: str = "", example: str | None = None) -> None:
    write(root / "plugins" / "modules" / f"{name}.py", MODULE.format(fragment=fragment, example=example or name))
    write(root / "tests" / "integration" / "targets" / name / "tasks" / "main.yml", USES.format(name=name))


def test_a_sound_module_has_no_problems(root: Path) -> None:
    module(root, "thing")
    assert check_roles.check(root) == []


def test_module_without_test(root: Path) -> None:
    module(root, "thing")
    write(root / "tests" / "integration" / "targets" / "thing" / "tasks" / "main.yml", USES.format(name="things"))
    assert check_roles.check(root) == ["plugins/modules/thing.py: no integration target uses private_llm.fleet.thing"]


def test_module_whose_example_shows_another(root: Path) -> None:
    module(root, "thing", example="other")
    assert check_roles.check(root) == ["plugins/modules/thing.py: no example uses private_llm.fleet.thing"]


def test_documentation_that_is_no_yaml(root: Path) -> None:
    module(root, "thing")
    change(root / "plugins" / "modules" / "thing.py", "- name: Have", "- name: a: b")
    with pytest.raises(
        check_roles.CheckError, match=r"plugins/modules/thing.py: EXAMPLES: is not YAML: mapping values"
    ):
        check_roles.check(root)


@pytest.mark.parametrize("text", ["DOCUMENTATION", "EXAMPLES", "RETURN"])
def test_module_without_documentation(root: Path, text: str) -> None:
    module(root, "thing")
    change(root / "plugins" / "modules" / "thing.py", f"{text} =", f"{text}_OLD =")
    assert f"plugins/modules/thing.py: {text} is missing or empty" in check_roles.check(root)


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ([], "module open_webui_b takes the options of open_webui and is not in that action group"),
        (
            ["open_webui_a", "open_webui_b", "open_webui_c"],
            "open_webui_c is in the action group open_webui and does not take its options",
        ),
        (["open_webui_b", "open_webui_a"], "the action group open_webui is not in alphabetical order"),
    ],
)
def test_action_group(root: Path, group: list[str], problem: str) -> None:
    for name in ("open_webui_a", "open_webui_b"):
        module(root, name, fragment=", private_llm.fleet.open_webui")
    write(root / "meta" / "runtime.yml", yaml.safe_dump({"action_groups": {"open_webui": group}}))
    assert f"meta/runtime.yml: {problem}" in check_roles.check(root)
