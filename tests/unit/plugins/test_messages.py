# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages are plain English for readers to whom it is a second language: "is not a", never "is no"."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
ODD = re.compile(r"(?<!there )\b(is|are) no\b(?! longer| more\b)", re.IGNORECASE)


def _texts_of_python(path: Path) -> t.Iterator[str]:
    """Give the texts of a program, without its docstrings and without the documentation of a plugin."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    told += [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    ]
    left_out = {id(node) for outer in told for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def _texts_of_yaml(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("msg", "fail_msg", "say"):
                yield str(inner)
            yield from _texts_of_yaml(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_of_yaml(inner)


def test_messages_say_is_not() -> None:
    programs = list((ROOT / "plugins").rglob("*.py"))
    tasks = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/vars/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    texts = [(one, text) for one in programs for text in _texts_of_python(one)]
    texts += [(one, text) for one in tasks for text in _texts_of_yaml(yaml.safe_load(one.read_text(encoding="utf-8")))]
    assert len(texts) > 5_000
    odd = [f"{one.relative_to(ROOT)}: {text[:200]}" for one, text in texts if ODD.search(text)]
    assert odd == []
