# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import check_documents
from check_roles import Role

ENGLISH = """\
# Thing

## Start

    make demo     # on this machine
    make test

```yaml
port: 1   # where it listens
```

| Role | |
|---|---|
| [`cache`](roles/cache/README.md) | keeps things |

- `state` says what it holds.

<!-- generated: modules -->
## Generated
| `thing` | of `code` |
<!-- /generated -->
"""

CHINESE = ENGLISH.replace("Start", "开始").replace("on this machine", "在本机").replace("where it listens", "端口")


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def translated(root: Path, text: str) -> list[str]:
    (root / "README.md").write_text(ENGLISH, encoding="utf-8")
    (root / "README.zh-CN.md").write_text(text, encoding="utf-8")
    return list(check_documents.check_translations(root))


def test_a_translation_in_step_passes(tmp_path: Path) -> None:
    assert translated(tmp_path, CHINESE) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("## 开始\n", "", "its headings are not those of README.md"),
        ("    make test\n", "", "has not the commands of README.md: 'make test'"),
        ("make demo", "make demonstration", "has commands that README.md has not: 'make demonstration'"),
        ("port: 1", "port: 2", "has not the examples of README.md: 'port: 1'"),
        ("`cache`", "`store`", "has not the tables of README.md: 'cache'"),
        (
            "| keeps things |\n",
            "| keeps things |\n| | more |\n",
            "its rows and items are not those of README.md: (4, 1) against (3, 1)",
        ),
        ("- `state`", "`state`", "its rows and items are not those of README.md: (3, 0) against (3, 1)"),
        ("- `state` says", "- It says", "has not the code of README.md: 'state'"),
    ],
)
def test_a_translation_out_of_step_is_told(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert any(problem in found for found in translated(tmp_path, CHINESE.replace(old, new)))


def test_what_is_generated_is_not_translated(tmp_path: Path) -> None:
    assert translated(tmp_path, CHINESE[: CHINESE.index("<!-- generated")]) == []


def test_translated_guides_are_held_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "docs/start.md": "# Start\n\n    make demo\n",
            "docs/zh-CN/start.md": "# 开始\n\n    make test\n",
            "docs/zh-CN/gone.md": "# 没有\n",
        },
    )
    assert list(check_documents.check_translations(tmp_path)) == [
        "docs/zh-CN/gone.md: docs/gone.md, of which it is the translation, is not there",
        "docs/zh-CN/start.md: has not the commands of docs/start.md: 'make demo'",
        "docs/zh-CN/start.md: has commands that docs/start.md has not: 'make test'",
    ]


def test_links_lead_somewhere(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "README.md": "# A thing: `x`\n[here](#a-thing-x) [there](docs/other.md#top) [out](https://example.com/#x)\n",
            "docs/other.md": "# Top\n[gone](../gone.md) [nowhere](../README.md#nowhere)\n```sh\n[no](link.md)\n```\n",
        },
    )
    assert list(check_documents.check_links(tmp_path)) == [
        "docs/other.md: links to ../gone.md, which is not there",
        "docs/other.md: links to ../README.md#nowhere, and there is no such heading",
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make demo S=x", ""),
        ("make everything", "the Makefile has no target everything"),
        ("ansible-playbook playbooks/site.yml -i inventory -e fleet_x=1", ""),
        ("ansible-playbook private_llm.fleet.site -i inventory -e cache_port=1", ""),
        ("ansible-playbook private_llm.fleet.gone", "there is no playbook private_llm.fleet.gone"),
        ("ansible-playbook playbooks/site.yml -e fleet_y=1", "nothing reads a variable fleet_y"),
        ("make 'demo", "is no command: No closing quotation"),
    ],
)
def test_commands_name_what_there_is(tmp_path: Path, command: str, problem: str) -> None:
    write(
        tmp_path,
        **{"Makefile": "demo: tools\n", "playbooks/site.yml": "", "README.md": f"# X\n\n    {command}  # so\n"},
    )
    found = list(check_documents.check_commands(tmp_path, {"fleet_x", "cache_port"}))
    assert [problem in one for one in found] == ([True] if problem else [])


def test_workflows_call_targets_that_there_are(tmp_path: Path) -> None:
    write(tmp_path, **{"Makefile": "demo: tools\n", ".github/workflows/ci.yml": "run: make demo\nrun: make gone X=1\n"})
    found = list(check_documents.check_commands(tmp_path, set()))
    assert found == [".github/workflows/ci.yml: `make gone X=1`: the Makefile has no target gone"]


ROLES = {
    "cache": Role(
        "cache",
        Path("roles/cache"),
        options={"cache_servers": {"type": "list", "options": {"port": {"type": "int"}, "engine": {"type": "dict"}}}},
    )
}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("cache_servers: [{port: 1, engine: {anything: 1}}]", []),
        ("cache_servers: [{prot: 1}]", ["cache_servers has no key prot"]),
        (
            "[{hosts: all, roles: [{role: private_llm.fleet.cache, vars: {cache_serves: 1}}]}]",
            ["role cache has no variable cache_serves"],
        ),
        ("[{private_llm.fleet.thing: {name: x}}]", []),
        ("[{private_llm.fleet.thing: {nam: x}}]", ["private_llm.fleet.thing has no option nam"]),
        (
            "[{hosts: all, tasks: [{block: [{private_llm.fleet.gone: }]}]}]",
            ["there is no module private_llm.fleet.gone"],
        ),
    ],
)
def test_examples_use_what_there_is(text: str, problems: list[str]) -> None:
    example = check_documents.Example("x", check_documents.parse(text, "x"))
    assert list(check_documents.check_example(example, {"thing": {"name"}}, ROLES)) == [f"x: {one}" for one in problems]


def test_ansible_itself_names_the_example_it_cannot_read() -> None:
    good = check_documents.Example("good", [{"name": "Look", "private_llm.fleet.gpu_info": None}])
    bad = check_documents.Example("bad", [{"name": "Look", "private_llm.fleet.gpu_inof": None}])
    found = check_documents.syntax_problems(check_documents.ROOT, [good, bad])
    assert len(found) == 1
    assert found[0].startswith("bad: ")
    assert "gpu_inof" in found[0]


def test_blocks_of_a_document() -> None:
    text = textwrap.dedent("""\
        Text

            make demo

        ```yaml
        a: 1
        ```
        - a list

          with a paragraph
        """)
    assert check_documents.blocks(text) == [(3, "", "make demo\n"), (5, "yaml", "a: 1\n")]
