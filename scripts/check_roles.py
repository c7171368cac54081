# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what roles, modules and documents say about themselves against what they do; no other tool does.

Roles: the defaults, the argument specification, the variables used and the README agree. Modules: documentation,
action group and integration tests are complete. Documents: tables of variables and the example inventory name
variables that exist, with the defaults they have.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

COLLECTION = "private_llm.fleet"

# Python types that a default of a documented type may have.
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
}

SECRET = re.compile(r"(^|_)(password|secret|secret_key|token|api_keys?)$")

# Keywords of a task whose text is for people, or names something other than a variable.
NOT_CODE = {"name", "tags", "fail_msg", "success_msg", "msg", "label", "notify", "listen"}

# Words of text that end like these are file names.
FILE_SUFFIXES = r"(?!\.(?:ya?ml|j2|json|sh|py|env|service|conf|md)\b)"

TABLE = re.compile(r"<!-- variables -->\n(.*?)<!-- /variables -->", re.DOTALL)


class CheckError(ValueError):
    """Something cannot be read, so nothing can be said about it."""


@dataclass
class Role:
    """What one role says about itself."""

    name: str
    path: Path
    defaults: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)

    @property
    def declared(self) -> set[str]:
        """Return the public variables that somebody may set."""
        return set(self.defaults) | set(self.options)


def parse(text: str, where: object) -> Any:
    """Parse YAML, and name what it stands in when it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CheckError(f"{where}: is not YAML: {error}") from error


def load(path: Path) -> Any:
    """Read a YAML file; one that is not there holds nothing."""
    return parse(path.read_text(encoding="utf-8"), path) if path.is_file() else None


def task_files(folder: Path) -> list[Path]:
    """Name the YAML files of a role or playbook folder that hold tasks or values."""
    return sorted(
        path
        for part in ("tasks", "handlers", "vars", "defaults", "meta")
        for path in (folder / part).rglob("*.yml")
        if path.name != "argument_specs.yml"
    )


def variable(role: str) -> re.Pattern[str]:
    """Match a public variable of a role, but neither a part of a dotted name or path, nor a file's name."""
    return re.compile(rf"(?<![\w./-]){re.escape(role)}_[a-z0-9_]*[a-z0-9]\b{FILE_SUFFIXES}(?!-)")


def code_of(value: Any, key: str = "") -> Iterator[str]:
    """Give the texts of parsed YAML in which variables can be named: keys and strings, less what is for people.

    In a text for people only what stands in braces counts.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from code_of(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from code_of(inner, key)
    elif isinstance(value, str):
        if key in NOT_CODE:
            yield from re.findall(r"\{\{.*?\}\}|\{%.*?%\}", value, re.DOTALL)
        else:
            yield value


def tasks_of(value: Any) -> Iterator[dict[str, Any]]:
    """Give every task of a list of tasks, with those inside blocks."""
    for task in value if isinstance(value, list) else []:
        if isinstance(task, dict):
            yield task
            for part in ("block", "rescue", "always"):
                yield from tasks_of(task.get(part))


def read_role(path: Path) -> Role:
    """Read a role's declarations."""
    role = Role(path.name, path)
    role.defaults = load(path / "defaults" / "main.yml") or {}
    specs = (load(path / "meta" / "argument_specs.yml") or {}).get("argument_specs") or {}
    for entry in specs.values():
        role.options.update(entry.get("options") or {})
    for file in sorted((path / "tasks").rglob("*.yml")):
        for task in tasks_of(load(file)):
            facts = task.get("ansible.builtin.set_fact") or {}
            names = [*facts, task.get("register", "")]
            role.results.update(name for name in names if name.startswith(f"{role.name}_"))
    return role


def is_template(value: Any) -> bool:
    """Say whether a value is only known when the role runs."""
    return isinstance(value, str) and "{{" in value


def check_option(where: str, name: str, option: dict[str, Any]) -> Iterator[str]:
    """Check one option of an argument specification, and those inside it."""
    if not option.get("description"):
        yield f"{where}: {name} has no description"
    kind = option.get("type")
    if kind not in TYPES:
        yield f"{where}: {name} has type {kind}; use one of {', '.join(TYPES)}"
        return
    if kind == "list" and "elements" not in option:
        yield f"{where}: {name} is a list and does not say of what (elements)"
    default = option.get("default")
    if default is not None and not is_template(default):
        if not isinstance(default, TYPES[kind]) or (isinstance(default, bool) and kind in ("int", "float")):
            yield f"{where}: the default of {name}, {default!r}, is not of type {kind}"
        choices = option.get("choices")
        if choices is not None and default not in choices:
            yield f"{where}: the default of {name}, {default!r}, is not among its choices"
    if option.get("required") and "default" in option:
        yield f"{where}: {name} is required and has a default"
    if SECRET.search(name) and "no_log" not in option:
        yield f"{where}: {name} looks like a secret; say no_log, true or false"
    for inner_name, inner in (option.get("options") or {}).items():
        yield from check_option(where, f"{name}.{inner_name}", inner)


def check_declarations(role: Role) -> Iterator[str]:
    """Hold a role's defaults against its argument specification."""
    defaults_file = f"roles/{role.name}/defaults/main.yml"
    specs_file = f"roles/{role.name}/meta/argument_specs.yml"
    if not role.options:
        yield f"{specs_file}: no options; declare every variable of the role"
    for name in sorted(role.declared):
        if not name.startswith(f"{role.name}_"):
            yield f"{defaults_file if name in role.defaults else specs_file}: {name} does not begin with {role.name}_"
    for name in sorted(set(role.defaults) - set(role.options)):
        yield f"{specs_file}: {name} is in defaults/main.yml and not here"
    for name, option in role.options.items():
        yield from check_option(specs_file, name, option)
        required = bool(option.get("required"))
        if name not in role.defaults:
            if not required:
                yield f"{defaults_file}: {name} is an option that need not be set, and has no default here"
            continue
        if required:
            yield f"{defaults_file}: {name} is required, so it has no default"
            continue
        actual = role.defaults[name]
        if "default" not in option:
            if actual is not None and not is_template(actual):
                yield f"{specs_file}: {name} has no default; defaults/main.yml says {actual!r}"
        elif option["default"] != actual or type(option["default"]) is not type(actual):
            yield f"{specs_file}: the default of {name} is {option['default']!r}; defaults/main.yml says {actual!r}"


def check_comments(role: Role) -> Iterator[str]:
    """Report defaults without a comment above."""
    path = role.path / "defaults" / "main.yml"
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        name = re.match(r"([A-Za-z_]\w*):", line)
        if name and not (number and lines[number - 1].startswith("#")):
            yield f"roles/{role.name}/defaults/main.yml:{number + 1}: {name[1]} has no comment above it"


def names_used(text: str, roles: dict[str, Role]) -> Iterator[tuple[Role, str]]:
    """Find the public variables of any role in a text."""
    for role in roles.values():
        for found in variable(role.name).finditer(text):
            if found[0] != f"{role.name}_hosts":  # a group of the inventory
                yield role, found[0]


def texts_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Give the texts of a role or playbook folder in which variables can be named."""
    for path in task_files(folder):
        for text in code_of(load(path)):
            yield path, text
    for path in sorted((folder / "templates").rglob("*")):
        if path.is_file():
            yield path, re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def check_uses(root: Path, roles: dict[str, Role]) -> Iterator[str]:
    """Hold the variables that tasks, templates and playbooks use against those declared, both ways."""
    used: set[str] = set()
    places = [*(role.path for role in roles.values()), root / "playbooks"]
    undeclared: dict[tuple[Path, str], Role] = {}
    for place in places:
        texts = list(texts_of(place))
        for path in sorted(place.glob("*.yml")):
            texts += [(path, text) for text in code_of(load(path))]
        for path, text in texts:
            for role, name in names_used(text, roles):
                declares = path == role.path / "defaults" / "main.yml" and text == name
                if not declares:
                    used.add(name)
                if name not in role.declared | role.results:
                    undeclared[(path, name)] = role
    for (path, name), role in sorted(undeclared.items(), key=lambda item: (str(item[0][0]), item[0][1])):
        yield f"{path.relative_to(root)}: {name} is not declared by role {role.name}; internal names begin with __"
    plugins = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "plugins").rglob("*.py")))
    for role in roles.values():
        for name in sorted(role.declared - used):
            if not re.search(rf"\b{name}\b", plugins):
                yield f"roles/{role.name}: {name} is declared and never used"


def check_tasks(role: Role) -> Iterator[str]:
    """Report secrets that are hidden for good instead of by a switch."""
    for part in ("tasks", "handlers"):
        for path in sorted((role.path / part).rglob("*.yml")):
            for task in tasks_of(load(path)):
                if task.get("no_log") is True:
                    where = f"roles/{role.name}/{path.relative_to(role.path)}"
                    yield f'{where}: task "{task.get("name")}" has no_log: true; use {role.name}_secure_logging'


def check_readme(role: Role) -> Iterator[str]:
    """Report a README that does not show the role alone, name what must be set and what the role leaves for others."""
    path = role.path / "README.md"
    where = f"roles/{role.name}/README.md"
    if not path.is_file():
        yield f"{where}: is missing"
        return
    text = path.read_text(encoding="utf-8")
    wanted = [
        (f"{COLLECTION}.{role.name}", "an example that uses the role by its full name"),
        ("argument_specs.yml", "a pointer to meta/argument_specs.yml"),
    ]
    wanted += [(name, "it must be set") for name, option in role.options.items() if option.get("required")]
    wanted += [(name, "the role leaves it for others to read") for name in sorted(role.results)]
    for word, why in wanted:
        if word not in text:
            yield f"{where}: does not mention {word} ({why})"


def constants_of(path: Path) -> dict[str, Any]:
    """Read the documentation of a module: its DOCUMENTATION, EXAMPLES and RETURN, parsed."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("DOCUMENTATION", "EXAMPLES", "RETURN") and isinstance(node.value, ast.Constant):
                found[name] = parse(str(node.value.value), f"{path}: {name}")
    return found


def check_modules(root: Path) -> Iterator[str]:
    """Check documentation, action group and integration test of every module."""
    of_group: set[str] = set()
    targets = root / "tests" / "integration" / "targets"
    tested = "\n".join(file.read_text(encoding="utf-8") for file in sorted(targets.glob("*/tasks/*.yml")))
    for path in sorted((root / "plugins" / "modules").glob("*.py")):
        where, texts = f"plugins/modules/{path.name}", constants_of(path)
        for name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            if not texts.get(name):
                yield f"{where}: {name} is missing or empty"
        documentation = texts.get("DOCUMENTATION") or {}
        fragments = documentation.get("extends_documentation_fragment") or []
        if f"{COLLECTION}.open_webui" in fragments:
            of_group.add(path.stem)
        missing = sorted({"check_mode", "diff_mode", "idempotent"} - set(documentation.get("attributes") or {}))
        if missing:
            yield f"{where}: its attributes do not say how far it supports {', '.join(missing)}"
        if not any(f"{COLLECTION}.{path.stem}" in task for task in tasks_of(texts.get("EXAMPLES"))):
            yield f"{where}: no example uses {COLLECTION}.{path.stem}"
        if not re.search(rf"^\s*(- )?{re.escape(COLLECTION)}\.{path.stem}:", tested, re.MULTILINE):
            yield f"{where}: no integration target uses {COLLECTION}.{path.stem}"
    groups = (load(root / "meta" / "runtime.yml") or {}).get("action_groups") or {}
    declared = groups.get("open_webui") or []
    for name in sorted(of_group - set(declared)):
        yield f"meta/runtime.yml: module {name} takes the options of open_webui and is not in that action group"
    for name in sorted(set(declared) - of_group):
        yield f"meta/runtime.yml: {name} is in the action group open_webui and does not take its options"
    if declared != sorted(declared):
        yield "meta/runtime.yml: the action group open_webui is not in alphabetical order"


def rows_of(text: str) -> Iterator[tuple[str, str]]:
    """Give variable and default of each row of a document's tables of variables."""
    for table in TABLE.findall(text):
        for row in table.splitlines():
            cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
            if len(cells) == 3 and cells[1].startswith("`"):
                yield cells[1], cells[2]


def check_tables(root: Path, roles: dict[str, Role]) -> Iterator[str]:
    """Hold the tables in the READMEs against the roles' defaults, and translations against the original."""
    rows = {path.name: list(rows_of(path.read_text(encoding="utf-8"))) for path in sorted(root.glob("README*.md"))}
    original = [name for name, _default in rows.get("README.md", [])]
    for document, its_rows in rows.items():
        for name, default in its_rows:
            yield from (f"{document}: {problem}" for problem in check_row(name, default, roles))
        names = [name for name, _default in its_rows]
        if names != original:
            differing = sorted(set(names) ^ set(original)) or ["their order"]
            yield f"{document}: its table of variables is not that of README.md; they differ in {', '.join(differing)}"


def check_row(name: str, default: str, roles: dict[str, Role]) -> Iterator[str]:
    """Check the variable and the default of one row; a default that begins with backticks is quoted."""
    name = name.strip("`")
    owner = next((role for role in roles.values() if name.split(".")[0].split("[")[0] in role.declared), None)
    if owner is None:
        yield f"no role declares {name}"
    elif default.startswith("`") and name in owner.defaults:
        quoted = parse(default.split("`")[1], name)
        if quoted != owner.defaults[name]:
            yield f"the default of {name} is {owner.defaults[name]!r}, not {quoted!r}"


def check_index(root: Path, roles: dict[str, Role]) -> Iterator[str]:
    """Report roles and modules that the README does not name."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    modules = sorted(path.stem for path in (root / "plugins" / "modules").glob("*.py"))
    for kind, names in (("role", roles), ("module", modules)):
        for name in names:
            if f"`{name}`" not in text:
                yield f"README.md: {kind} {name} is not in the index"


def check_inventory(root: Path, roles: dict[str, Role]) -> Iterator[str]:
    """Report variables of the example inventory that do not exist, also in lines that are commented out."""
    for path in sorted((root / "inventory.example").rglob("*.yml")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            name = re.match(r"(?:# ?)?\s*([a-z][a-z0-9_]*):", line)
            for role in roles.values():
                if name and name[1].startswith(f"{role.name}_") and name[1] not in role.declared:
                    yield f"{path.relative_to(root)}:{number}: role {role.name} has no variable {name[1]}"


def check(root: Path) -> list[str]:
    """Check everything below a checkout's root; give one line for each problem."""
    folders = [path for path in sorted((root / "roles").glob("*")) if (path / "tasks").is_dir()]
    roles = {path.name: read_role(path) for path in folders}
    problems: list[str] = []
    for role in roles.values():
        problems += check_declarations(role)
        problems += check_comments(role)
        problems += check_tasks(role)
        problems += check_readme(role)
    problems += check_uses(root, roles)
    problems += check_modules(root)
    problems += check_index(root, roles)
    problems += check_tables(root, roles)
    problems += check_inventory(root, roles)
    return problems


def main() -> int:
    """Check, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the checkout")
    try:
        problems = check(parser.parse_args().root)
    except CheckError as error:
        problems = [str(error)]
    print("\n".join(problems) if problems else "roles, modules and documents agree with themselves")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
