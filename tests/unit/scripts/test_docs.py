# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

import docs


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("Take O(engine), or V(auto\\)).", "Take `engine`, or `auto)`."),
        (
            "See M(private_llm.fleet.gpu_info) and M(ansible.builtin.copy).",
            "See `gpu_info` and `ansible.builtin.copy`.",
        ),
        ("P(private_llm.fleet.host_python#role) installs C(a|b).", "`host_python` installs `a\\|b`."),
        (
            ["One\n  paragraph.", "Another: RV(servers[].status=absent)."],
            "One paragraph. Another: `servers[].status=absent`.",
        ),
        (
            "L(The page, https://example.com/x) or U(https://example.com)",
            "[The page](https://example.com/x) or <https://example.com>",
        ),
        (None, ""),
    ],
)
def test_markup_reads_as_markdown(markup: str | list[str] | None, expected: str) -> None:
    assert docs.markdown(markup) == expected


def test_a_table_of_variables_goes_as_deep_as_they_do() -> None:
    options = {
        "cache_servers": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "description": "The servers.",
            "options": {"port": {"type": "int", "default": 80, "description": "Its port."}},
        },
        "cache_mode": {"type": "str", "choices": ["a", "b"], "default": "", "description": "How."},
    }
    assert list(docs.option_rows(options)) == [
        "| `cache_servers` | list of dict | must be set | The servers. |",
        "| `cache_servers[].port` | int | `80` | Its port. |",
        '| `cache_mode` | str: `a`, `b` | `""` | How. |',
    ]


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = "before\n<!-- generated: modules, from x -->\nold\n<!-- /generated -->\nafter\n"
    new = docs.replaced(text, "modules", "new\\1\n")
    assert new == "before\n<!-- generated: modules, from x -->\n\nnew\\1\n\n<!-- /generated -->\nafter\n"
    assert docs.replaced(new, "modules", "new\\1\n") == new
    with pytest.raises(ValueError, match="has no lines <!-- generated: variables -->"):
        docs.replaced(text, "variables", "x")


def test_yaml_is_replaced_between_marks_of_its_own() -> None:
    text = "a:\n  # generated: keys, from x\n  old: 1\n  # /generated\nb: 2\n"
    assert docs.replaced(text, "keys", "  new: 1", ".yml") == text.replace("old", "new")
    with pytest.raises(ValueError, match="has no lines # generated: other and # /generated"):
        docs.replaced(text, "other", "x", ".yml")


def test_options_are_written_as_yaml_that_reads_back_the_same() -> None:
    long = "A sentence of many words that does not fit into one line of the file. " * 4
    options = {
        "mode": {"type": "str", "choices": ["no", "a-b"], "default": "no", "description": ["How it works."]},
        "size": {"type": "str", "default": "", "description": [long.strip(), "Second paragraph."]},
        "more": {"type": "list", "elements": "str", "default": [], "no_log": True, "description": ["More."]},
    }
    written = docs.specified(options, "  ")
    read = docs.yaml.safe_load(written)
    assert read["mode"] == {**options["mode"], "description": "How it works."}
    assert read["size"] == options["size"]
    assert read["more"] == {**options["more"], "description": "More."}
    assert max(map(len, written.splitlines())) <= docs.WIDTH
    with pytest.raises(ValueError, match="cannot be written as plain YAML"):
        docs.specified({"x": {"description": ["One: two."]}}, "")


def test_what_a_role_declares_is_written_where_its_rows_are_read(tmp_path: Path) -> None:
    parts = docs.declared_parts(docs.ROOT)
    assert [path.name for path in parts] == ["argument_specs.yml", "main.yml", "main.yml"]
    assert docs.stale_parts(docs.ROOT, parts, write=False) == []
    (problem, *_others) = docs.stale_parts(tmp_path, docs.declared_parts(tmp_path), write=False)
    assert problem == "roles/vllm_server/meta/argument_specs.yml: is missing"


def test_variables_are_written_as_defaults_under_what_they_are() -> None:
    options = {"r_mode": {"choices": ["a", "b"], "default": "a", "description": ["How V(it) works."]}}
    assert docs.defaulted(options) == "# How it works: a, b.\nr_mode: a\n"


def test_every_diagnosis_is_in_the_guide_under_the_heading_of_its_source() -> None:
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import SIGNATURES

    sections = docs.sections_of((docs.ROOT / docs.DIAGNOSIS).read_text(encoding="utf-8"))
    assert {one.id for one in SIGNATURES} == set(sections)
    assert sections["context_exceeds_kv"] == "memory"
    table = docs.diagnoses_of(docs.ROOT)
    assert all(f"| `{one.id}` |" in table for one in SIGNATURES)
    assert "| a context of *length* tokens needs *need* GiB of KV cache" in table
    assert "{" not in table


def test_a_stale_document_is_named_and_written(tmp_path: Path) -> None:
    specs = tmp_path / "roles" / "cache" / "meta" / "argument_specs.yml"
    specs.parent.mkdir(parents=True)
    specs.write_text(
        "argument_specs: {main: {options: {cache_port: {type: int, default: 1, description: Its port.}}}}\n", "utf-8"
    )
    (tmp_path / "plugins" / "modules").mkdir(parents=True)
    diagnosis = tmp_path / docs.DIAGNOSIS
    diagnosis.parent.mkdir(parents=True)
    diagnosis.write_text("", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "roles" / "cache" / "README.md"
    readme.write_text("# cache\n<!-- generated: variables -->\n<!-- /generated -->\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("# No marks\n", encoding="utf-8")
    assert docs.stale_parts(tmp_path, docs.parts_of(tmp_path), write=False) == [
        "roles/cache/README.md: its generated part is not what the code says; run `make docs` and commit it",
        (
            "README.md: has no lines <!-- generated: modules --> and <!-- /generated -->; "
            "put them where the text is to stand"
        ),
        "docs/troubleshooting.md: is missing",
    ]
    docs.stale_parts(tmp_path, docs.parts_of(tmp_path), write=True)
    assert "| `cache_port` | int | `1` | Its port. |" in readme.read_text(encoding="utf-8")
    assert len(docs.stale_parts(tmp_path, docs.parts_of(tmp_path), write=False)) == 2
