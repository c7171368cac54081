# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from vLLM's sources, without running them, which values an option of `vllm serve` takes.

vLLM makes its options from annotated configuration classes: a field whose type is a `Literal` becomes an option with
choices, unless the type also allows any string. Only the sources are needed, so every release can be read on one
machine, from its wheel.
"""

from __future__ import annotations

import ast
import pathlib

# Options that vLLM compares after lower-casing and replacing dashes; their choices are written in many ways.
LENIENT = frozenset(("moe_backend", "linear_backend", "sparse_indexer_topk_backend"))


class Annotations:
    """The aliases and annotated classes of a set of files."""

    def __init__(self, files: list[pathlib.Path]) -> None:
        self.aliases: dict[str, ast.expr] = {}
        self.fields: dict[tuple[str, str], ast.expr] = {}
        for path in files:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                    self.aliases.setdefault(node.targets[0].id, node.value)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                    self.aliases.setdefault(node.target.id, node.value)
                elif isinstance(node, ast.ClassDef):
                    self._take_class(node)

    def _take_class(self, node: ast.ClassDef) -> None:
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                self.fields[(node.name, field.target.id)] = field.annotation

    def choices(self, annotation: ast.expr) -> set[str] | None:
        """Return the strings that a field of this type takes; None when it takes others, too."""
        literals, kinds = self._parts(annotation, ())
        return literals if literals and not kinds & {"str", "bool", "list", "tuple", "set"} else None

    def _parts(self, node: ast.expr, seen: tuple[str, ...]) -> tuple[set[str], set[str]]:
        """Return the literals in a type, and the names of what else is in it."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self._parts(ast.parse(node.value, mode="eval").body, seen)
            return set(), set()
        if isinstance(node, ast.BinOp):
            return _joined([self._parts(side, seen) for side in (node.left, node.right)])
        if isinstance(node, ast.Name):
            if node.id in self.aliases and node.id not in seen:
                return self._parts(self.aliases[node.id], (*seen, node.id))
            return set(), {node.id}
        if isinstance(node, ast.Subscript):
            name = _name(node.value)
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if name == "Literal":
                return _joined([self._literal(part, seen) for part in inner])
            if name == "Annotated":
                return self._parts(inner[0], seen)
            if name in ("Optional", "Union"):
                return _joined([self._parts(part, seen) for part in inner])
            return set(), {name}
        return set(), {_name(node)}

    def _literal(self, node: ast.expr, seen: tuple[str, ...]) -> tuple[set[str], set[str]]:
        if isinstance(node, ast.Constant):
            return ({node.value}, set()) if isinstance(node.value, str) else (set(), {type(node.value).__name__})
        return self._parts(node, seen)


def _joined(parts: list[tuple[set[str], set[str]]]) -> tuple[set[str], set[str]]:
    return set().union(*(one[0] for one in parts)), set().union(*(one[1] for one in parts))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def read_choices(sources: pathlib.Path) -> dict[str, set[str] | None]:
    """Return every option that vLLM's own parser adds, with its choices; None where any text may be right.

    ``sources`` is the folder that holds ``vllm``, as a wheel unpacks to.
    """
    root = sources / "vllm"
    arguments = root / "engine" / "arg_utils.py"
    frontends = sorted(root.glob("entrypoints/**/cli_args.py"))
    known = Annotations([*root.glob("config.py"), *root.glob("config/*.py"), arguments, *frontends])
    found: dict[str, set[str] | None] = {}
    for (owner, field), annotation in known.fields.items():
        if owner.endswith("FrontendArgs"):
            found[field] = known.choices(annotation)
    tree = ast.parse(arguments.read_text(encoding="utf-8"))
    holders = _holders(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) != "add_argument":
            continue
        flags = [one.value for one in node.args if isinstance(one, ast.Constant) and str(one.value).startswith("--")]
        choices = _choices_of_call(node, known, holders)
        for flag in flags:
            name = str(flag)[2:].replace("-", "_")
            found[name] = None if name in LENIENT else choices
    return found


def _holders(tree: ast.Module) -> dict[str, str]:
    """Return which class the keywords in a variable come from: ``model_kwargs = get_kwargs(ModelConfig)``."""
    return {
        node.targets[0].id: _name(node.value.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and _name(node.value.func) == "get_kwargs"
    }


def _choices_of_call(call: ast.Call, known: Annotations, holders: dict[str, str]) -> set[str] | None:
    choices: set[str] | None = None
    for keyword in call.keywords:
        value = keyword.value
        if keyword.arg is None and isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
            annotation = known.fields.get((holders.get(_name(value.value), ""), str(value.slice.value)))
            choices = known.choices(annotation) if annotation is not None else None
        elif keyword.arg == "choices":
            return _stated(value, known)
        elif keyword.arg == "type" and choices is None and isinstance(value, ast.Name) and value.id != "str":
            return None
    return choices


def _stated(value: ast.expr, known: Annotations) -> set[str] | None:
    """Return the choices in ``choices=[…]``, a name for such a list, or ``get_args(Alias)``."""
    if isinstance(value, ast.Name) and value.id in known.aliases:
        value = known.aliases[value.id]
    if isinstance(value, ast.Call) and _name(value.func) == "get_args":
        return known.choices(value.args[0])
    if isinstance(value, (ast.List, ast.Tuple)):
        texts = [item.value for item in value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        none = [item for item in value.elts if isinstance(item, ast.Constant) and item.value is None]
        return set(texts) if texts and len(texts) + len(none) == len(value.elts) else None
    return None
