#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the parts of the documents that are made from what the code says, between `<!-- generated: … -->` marks.

    docs.py write    bring every generated part up to date
    docs.py check    fail, naming the document, when one is not

A role's README gets its variables from `meta/argument_specs.yml`, the troubleshooting guide its table from the
diagnoses of `plugins/module_utils/_vllm/diagnosis/_signatures.py`, and the README its list of modules from their
documentation. What the role vllm_server declares of servers is made from the rows of
`plugins/module_utils/_vllm/declaration/_rows.py`, in its specification, its defaults and its constants.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from check_roles import COLLECTION, constants_of, load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))

DIAGNOSIS = "plugins/module_utils/_vllm/diagnosis/_signatures.py"
# The marks before and after a generated part, by the kind of file; and what stands around the part.
MARKS = {
    ".md": ("<!-- generated: {name} -->", "<!-- /generated -->", "\n"),
    ".yml": ("# generated: {name}", "# /generated", ""),
}
# In lines, of what is written into YAML.
WIDTH = 160

# Ansible's semantic markup, and how it reads in Markdown.
MARKUP: tuple[tuple[str, str], ...] = (
    (r"L\(([^,()]+),\s*([^()]+)\)", r"[\1](\2)"),
    (r"U\(([^()]+)\)", r"<\1>"),
    (rf"M\({re.escape(COLLECTION)}\.(\w+)\)", r"`\1`"),
    (rf"P\({re.escape(COLLECTION)}\.(\w+)#\w+\)", r"`\1`"),
    (r"P\(([^#()]+)#\w+\)", r"`\1`"),
    (r"[OVCEMRB]V?\(((?:[^()\\]|\\.|\([^()]*\))*)\)", r"`\1`"),
    (r"I\(([^()]+)\)", r"*\1*"),
    (r"`([\w.]+)#\w+:(?:main:)?", r"`"),
    (r"HORIZONTALLINE", ""),
)


def markdown(description: str | list[str] | None) -> str:
    """Give a description, one or several paragraphs of Ansible's markup, as one cell of a Markdown table."""
    paragraphs = [description] if isinstance(description, str) else description or []
    text = " ".join(" ".join(str(paragraph).split()) for paragraph in paragraphs)
    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text)
    return text.replace("\\)", ")").replace("|", "\\|")


def default_of(option: dict[str, Any]) -> str:
    """Say what an option is when it is not set."""
    if option.get("required"):
        return "must be set"
    default = option.get("default")
    if default is None:
        return ""
    text = default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)
    return f"`{text}`".replace("|", "\\|")


def kind_of(option: dict[str, Any]) -> str:
    """Name the type of an option: what a list holds, and what it may be one of."""
    kind = str(option.get("type", "str"))
    if kind == "list":
        kind = f"list of {option.get('elements', 'str')}"
    choices = option.get("choices")
    return f"{kind}: {', '.join(f'`{choice}`' for choice in choices)}" if choices else kind


def option_rows(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Give a row for each option, and after it those for what is inside it."""
    for name, option in options.items():
        full = f"{prefix}{name}"
        yield f"| `{full}` | {kind_of(option)} | {default_of(option)} | {markdown(option.get('description'))} |"
        inside = "[]." if option.get("type") == "list" else "."
        yield from option_rows(option.get("options") or {}, f"{full}{inside}")


def variables_of(role: Path) -> str:
    """Give the tables of a role's variables, one for each way to include it."""
    entries = (load(role / "meta" / "argument_specs.yml") or {}).get("argument_specs") or {}
    parts = []
    for entry, spec in entries.items():
        if entry != "main":
            parts.append(f"With `tasks_from: {entry}` ({markdown(spec.get('short_description'))}):\n")
        if not spec.get("options"):
            parts.append("None.\n")
            continue
        parts.append("| Variable | Type | Default | |\n|---|---|---|---|")
        parts.append("\n".join(option_rows(spec["options"])) + "\n")
    return "\n".join(parts)


def modules_of(root: Path) -> str:
    """Give the table of the modules."""
    rows = ["| Module | |", "|---|---|"]
    for path in sorted((root / "plugins" / "modules").glob("*.py")):
        short = str((constants_of(path).get("DOCUMENTATION") or {}).get("short_description", ""))
        rows.append(f"| `{path.stem}` | {markdown(short if short[1:2].isupper() else short[:1].lower() + short[1:])} |")
    return "\n".join(rows) + "\n"


def sections_of(source: str) -> dict[str, str]:
    """Tell under which heading of its source each diagnosis stands."""
    found: dict[str, str] = {}
    section = "other"
    waiting = False
    for line in source.splitlines():
        heading = re.match(r"\s+# --- (.+?) ---$", line)
        if heading:
            section = heading[1]
        name = re.match(r'\s+"(\w+)",$', line)
        if name and waiting:
            found[name[1]] = section
        waiting = line.strip() == "_signature("
    return found


def diagnoses_of(root: Path) -> str:
    """Give the tables of the known failures, by section."""
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._signatures import (  # noqa: PLC0415 - needs the collection
        SIGNATURES,
    )

    sections = sections_of((root / DIAGNOSIS).read_text(encoding="utf-8"))
    by_section: dict[str, list[str]] = {}
    for one in SIGNATURES:
        row = f"| `{one.id}` | {of_template(one.cause)} | {of_template(one.fix)} |"
        by_section.setdefault(sections.get(one.id, "other"), []).append(row)
    parts = []
    for section, rows in by_section.items():
        parts.append(
            f"### {section[:1].upper()}{section[1:]}\n\n| Diagnosis | What is wrong | What to do |\n|---|---|---|"
        )
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def of_template(text: str) -> str:
    """Show a cause or a fix to a reader: what is filled in is in italics, options look like options."""
    text = re.sub(r"\bengine\.\{(?:flag_name)\}", "the option", text).replace("{option}", "that option")
    text = re.sub(r"\b((?:engine\.\w+|VLLM_\w+|NCCL_\w+|shm_size)(?:: \w+)?)", r"`\1`", text)
    return re.sub(r"\{(\w+)\}", r"*\1*", text).replace("|", "\\|")


def reads_back(text: str, value: Any) -> bool:
    """Say whether a text, written into YAML as it is, is read as this value."""
    try:
        return bool(yaml.safe_load(f"a: {text}") == {"a": value})
    except yaml.YAMLError:
        return False


def scalar(value: Any) -> str:
    """Write a value in one line of YAML, plain where that is read back as the same."""
    if isinstance(value, list):
        return f"[{', '.join(scalar(one) for one in value)}]"
    text = value if isinstance(value, str) else json.dumps(value)
    plain = reads_back(text, value) and not any(sign in text for sign in ",[]{}")
    return text if plain else json.dumps(value, ensure_ascii=False)


def paragraph(key: str, text: str, indent: str) -> str:
    """Write a text after its key or dash, in lines of the file's width."""
    if not reads_back(text, text):
        raise ValueError(f"cannot be written as plain YAML: {text}")
    return textwrap.fill(
        f"{key} {text}", WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def specified(options: dict[str, dict[str, Any]], indent: str) -> str:
    """Write options as an argument specification has them."""
    lines = []
    for name, option in options.items():
        lines.append(f"{indent}{name}:")
        inner = indent + "  "
        texts = option["description"]
        lines += [f"{inner}{key}: {scalar(value)}" for key, value in option.items() if key != "description"]
        if len(texts) == 1 and len(inner) + len(texts[0]) + 13 <= WIDTH:
            lines.append(paragraph("description:", texts[0], inner))
        else:
            lines += [f"{inner}description:", *(paragraph("-", text, inner + "  ") for text in texts)]
    return "\n".join(lines)


def defaulted(options: dict[str, dict[str, Any]]) -> str:
    """Write variables as a role's defaults, each under what it is."""
    parts = []
    for name, option in options.items():
        told = re.sub(r"[A-Z]\(([^()]+)\)", r"\1", " ".join(option["description"]))
        if option.get("choices"):
            told = f"{told.rstrip('.')}: {', '.join(option['choices'])}."
        comment = textwrap.fill(told, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        parts.append(f"{comment}\n{name}: {scalar(option['default'])}\n")
    return "\n".join(parts)


def declared_parts(root: Path) -> dict[Path, dict[str, str]]:
    """Say what the role vllm_server has to declare of servers."""
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._rows import (  # noqa: PLC0415 - needs the collection
        VARIABLES,
        instance_options,
        role_options,
    )

    role = root / "roles" / "vllm_server"
    return {
        role / "meta" / "argument_specs.yml": {
            "keys": specified(instance_options(), " " * 10),
            "variables": specified(role_options(), " " * 6),
        },
        role / "defaults" / "main.yml": {"variables": defaulted(role_options())},
        role / "vars" / "main.yml": {
            "defaults": "\n".join(f'  {name}: "{{{{ vllm_server_{name} }}}}"' for name in VARIABLES)
        },
    }


def parts_of(root: Path) -> dict[Path, dict[str, str]]:
    """Name every document with generated parts, and say what they have to be."""
    parts = {
        role / "README.md": {"variables": variables_of(role)}
        for role in sorted((root / "roles").glob("*"))
        if (role / "meta" / "argument_specs.yml").is_file()
    }
    parts[root / "README.md"] = {"modules": modules_of(root)}
    parts[root / "docs" / "troubleshooting.md"] = {"diagnoses": diagnoses_of(root)}
    return parts


def replaced(text: str, name: str, content: str, suffix: str = ".md") -> str:
    """Put the content between the marks of that name; raise when they are not there."""
    first, last, around = MARKS[suffix]
    begin = first.format(name=name)
    opening = re.escape(begin.removesuffix(" -->"))
    pattern = re.compile(rf"(^[ ]*{opening}\b[^\n]*\n).*?(^[ ]*{re.escape(last)})", re.DOTALL | re.MULTILINE)
    if not pattern.search(text):
        raise ValueError(f"has no lines {begin} and {last}; put them where the text is to stand")
    part = f"{around}{content if around else content.rstrip()}\n"
    return pattern.sub(lambda match: f"{match[1]}{part}{match[2]}", text, count=1)


def stale(root: Path, write: bool) -> list[str]:
    """Compare, or write; give one line for each document that is not what it has to be.

    What a role declares comes first: its README is made from it.
    """
    return [*stale_parts(root, declared_parts(root), write), *stale_parts(root, parts_of(root), write)]


def stale_parts(root: Path, wanted: dict[Path, dict[str, str]], write: bool) -> list[str]:
    """Compare, or write, these documents."""
    problems = []
    for path, parts in wanted.items():
        name = path.relative_to(root)
        if not path.is_file():
            problems.append(f"{name}: is missing")
            continue
        before = text = path.read_text(encoding="utf-8")
        try:
            for part, content in parts.items():
                text = replaced(text, part, content, path.suffix)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if text != before and write:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
        elif text != before:
            problems.append(f"{name}: its generated part is not what the code says; run `make docs` and commit it")
    return problems


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["write", "check"])
    problems = stale(ROOT, parser.parse_args().what == "write")
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
