#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the documents against the collection: what they show has to work, and translations have to be in step.

Every example in a document or in the documentation of a plugin is taken out: its modules, options and variables have to
exist, and `ansible-playbook --syntax-check` has to accept it. Commands name playbooks, targets of make and variables
that exist. Links lead to files and headings that exist. README.zh-CN.md and docs/zh-CN have the headings, rows,
commands, examples and code of the originals.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from check_roles import COLLECTION, CheckError, Role, constants_of, parse, read_role, tasks_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))  # where a fragment finds what it is made of

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PROGRAMS = ("make", "ansible-playbook", "ansible-doc", "ansible-galaxy", "cp", "git", "pip", "docker", "sudo")


@dataclass
class Example:
    """One piece of YAML that a reader is to copy."""

    where: str
    content: Any


def documents(root: Path) -> list[Path]:
    """Name the documents for people."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("roles/*/README.md")]
    found += [*root.glob("molecule/*/README.md"), *root.glob("benchmarks/*.md"), *root.glob(".github/*.md")]
    return sorted(found)


def blocks(text: str) -> list[tuple[int, str, str]]:
    """Give the blocks of code of a document: line, language and text. What is only indented has no language."""
    found = [(text[: match.start()].count("\n") + 1, match[1], match[2]) for match in FENCED.finditer(text)]
    rest = FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    indented = re.finditer(r"(?:^|(?<=\n\n))((?: {4}.*\n)(?:(?: {4}.*)?\n)*)", rest)
    found += [
        (rest[: match.start()].count("\n") + 1, "", re.sub("^ {4}", "", match[1].rstrip() + "\n", flags=re.MULTILINE))
        for match in indented
    ]
    return sorted(found)


def commands(language: str, text: str) -> list[str]:
    """Give the commands of a block, without what is said about them; nothing when it holds no commands."""
    if language not in ("", "sh", "console"):
        return []
    lines = [line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    lines = [" ".join(re.sub(r"(?:^|\s)#.*$", "", line).split()) for line in lines]
    lines = [line for line in lines if line]
    if not language and not all(line.split()[0] in PROGRAMS for line in lines):
        return []
    return lines


def plain(text: str) -> str:
    """Take the comments out of YAML."""
    lines = [re.sub(r"(?:^|\s)#.*$", "", line).rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def slug(heading: str) -> str:
    """Give the anchor that a heading has on a page."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().replace("`", "")
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def without_code(text: str) -> str:
    """Blank the blocks of code, in which a number sign is no heading."""
    return FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)


def translations(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each translation with its original: README.zh-CN.md and docs/zh-CN/NAME.md."""
    for path in sorted(root.glob("README.*.md")):
        yield path, root / "README.md"
    for path in sorted(root.glob("docs/[a-z][a-z]-[A-Z][A-Z]/*.md")):
        yield path, root / "docs" / path.name


def check_translations(root: Path) -> Iterator[str]:
    """Hold each translation of a document against the original."""
    for path, source in translations(root):
        where, name = path.relative_to(root), source.relative_to(root)
        if not source.is_file():
            yield f"{where}: {name}, of which it is the translation, is not there"
            continue
        original, text = (one.read_text(encoding="utf-8") for one in (source, path))
        for kind, count in (("headings", levels_of), ("rows and items", parts_of)):
            ours, its = count(original), count(text)
            if ours != its:
                yield (
                    f"{where}: its {kind} are not those of {name}: {its} against {ours}; "
                    "translate the part that is new, or remove the one that is gone"
                )
        compared = (("commands", commands_of), ("examples", examples_of), ("tables", firsts_of), ("code", named_in))
        for kind, of in compared:
            wanted, found = of(original), of(text)
            missing = [one for one in wanted if one not in found]
            extra = [one for one in found if one not in wanted]
            yield from (f"{where}: has not the {kind} of {name}: {one!r}" for one in missing)
            yield from (f"{where}: has {kind} that {name} has not: {one!r}" for one in extra)


def by_hand(text: str) -> str:
    """Blank what is generated, which is not translated, and the blocks of code."""
    return re.sub(r"<!-- generated: .*?<!-- /generated -->", "", without_code(text), flags=re.DOTALL)


def levels_of(text: str) -> list[int]:
    """Give the levels of a document's headings."""
    return [len(found[1]) for found in HEADING.finditer(by_hand(text))]


def parts_of(text: str) -> tuple[int, int]:
    """Count the rows of a document's tables, and the items of its lists."""
    return len(re.findall(r"^\|", by_hand(text), re.MULTILINE)), len(re.findall(r"^- ", by_hand(text), re.MULTILINE))


def named_in(text: str) -> list[str]:
    """Give the names, options and messages between backticks, each once; not what is indented, which is a block."""
    prose = re.sub(r"^ {4}.*$", "", by_hand(text), flags=re.MULTILINE)
    return sorted(set(re.findall(r"`([^`\n]+)`", prose)))


def commands_of(text: str) -> list[str]:
    """Give every command of a document."""
    return [line for _line, language, block in blocks(text) for line in commands(language, block)]


def examples_of(text: str) -> list[str]:
    """Give every example of a document, without comments."""
    return [plain(block) for _line, language, block in blocks(text) if language == "yaml"]


def firsts_of(text: str) -> list[str]:
    """Give what the tables of roles and playbooks list: the code at the start of their rows, but not of modules."""
    return re.findall(r"^\| \[?`(\w+)`", by_hand(text), re.MULTILINE)


def check_links(root: Path) -> Iterator[str]:
    """Report links inside the repository that lead nowhere."""
    anchors = {
        path: {slug(found[2]) for found in HEADING.finditer(without_code(path.read_text(encoding="utf-8")))}
        for path in documents(root)
    }
    for path in anchors:
        for target in LINK.findall(without_code(path.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            to = (path.parent / name).resolve() if name else path
            where = path.relative_to(root)
            if not to.exists():
                yield f"{where}: links to {target}, which is not there"
            elif anchor and to in anchors and anchor not in anchors[to]:
                yield f"{where}: links to {target}, and there is no such heading"


def check_commands(root: Path, known: set[str]) -> Iterator[str]:
    """Report commands of the documents, and of the workflows, that name what does not exist."""
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in documents(root):
        for line, language, block in blocks(path.read_text(encoding="utf-8")):
            where = f"{path.relative_to(root)}:{line}"
            for command in commands(language, block):
                yield from (f"{where}: {problem}" for problem in problems_of(command, root, targets, known))
    for path in sorted(root.glob(".github/workflows/*.yml")):
        for command in re.findall(r"\bmake [\w. =-]+", path.read_text(encoding="utf-8")):
            yield from (
                f"{path.relative_to(root)}: {problem}" for problem in problems_of(command, root, targets, known)
            )


def problems_of(command: str, root: Path, targets: set[str], known: set[str]) -> Iterator[str]:
    """Say what one command names that does not exist."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        yield f"`{command}` is no command: {error}"
        return
    if words[0] == "make":
        yield from (
            f"`{command}`: the Makefile has no target {word}"
            for word in words[1:]
            if "=" not in word and not word.startswith("-") and word not in targets
        )
    if words[0] != "ansible-playbook":
        return
    for before, word in itertools.pairwise(words):
        stem = re.fullmatch(rf"{re.escape(COLLECTION)}\.(\w+)|playbooks/(\w+)\.yml", word)
        if stem and not (root / "playbooks" / f"{stem[1] or stem[2]}.yml").is_file():
            yield f"`{command}`: there is no playbook {word}"
        name = word.split("=")[0]
        if before == "-e" and re.fullmatch(r"[a-z]\w*", name) and name not in known:
            yield f"`{command}`: nothing reads a variable {name}"


def gather(root: Path) -> tuple[list[Example], list[str]]:
    """Take the examples out of documents and plugins, and say which are no YAML."""
    found, problems = [], []
    texts = [
        (f"{path.relative_to(root)}:{line}", block)
        for path in documents(root)
        for line, language, block in blocks(path.read_text(encoding="utf-8"))
        if language == "yaml"
    ]
    for where, text in texts:
        try:
            found.append(Example(where, parse(text, where)))
        except CheckError as error:
            problems.append(str(error))
    for path in sorted([*root.glob("plugins/modules/*.py"), *root.glob("plugins/filter/*.py")]):
        examples = constants_of(path).get("EXAMPLES")
        if examples:
            found.append(Example(f"{path.relative_to(root)}: EXAMPLES", examples))
    return found, problems


def options_of(root: Path) -> dict[str, set[str]]:
    """Name the options of every module, with those that it has in common with others."""
    fragments = {
        name: set(content.get("options") or {})
        for path in sorted((root / "plugins" / "doc_fragments").glob("*.py"))
        for name, content in fragments_of(path)
    }
    options = {}
    for path in sorted((root / "plugins" / "modules").glob("*.py")):
        documentation = constants_of(path).get("DOCUMENTATION") or {}
        names = set(documentation.get("options") or {})
        for fragment in documentation.get("extends_documentation_fragment") or []:
            names |= fragments.get(fragment.removeprefix(f"{COLLECTION}."), set())
        for option in (documentation.get("options") or {}).values():
            names |= set(option.get("aliases") or [])
        options[path.stem] = names
    return options


def fragments_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the documentation that a file adds, by the names under which modules take it, as Ansible does."""
    package = "ansible_collections.private_llm.fleet.plugins.doc_fragments"
    spec = importlib.util.spec_from_file_location(f"{package}.{path.stem}", path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the path is that of a Python file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in vars(module.ModuleDocFragment).items():
        if name.isupper():
            suffix = "" if name == "DOCUMENTATION" else f".{name.lower()}"
            yield path.stem + suffix, dict(parse(str(text), path))


def is_play(value: Any) -> bool:
    """Say whether a list is a playbook rather than tasks."""
    return isinstance(value, list) and any(
        isinstance(one, dict) and ("hosts" in one or any("import_playbook" in key for key in one)) for one in value
    )


def check_example(example: Example, options: dict[str, set[str]], roles: dict[str, Role]) -> Iterator[str]:
    """Say which modules, options and variables of an example do not exist."""
    plays = example.content if is_play(example.content) else []
    tasks = [task for play in plays for key in ("pre_tasks", "tasks", "post_tasks") for task in tasks_of(play.get(key))]
    for task in tasks if plays else tasks_of(example.content):
        for key, arguments in task.items():
            module = str(key).removeprefix(f"{COLLECTION}.")
            if module == key:
                continue
            if module not in options:
                yield f"{example.where}: there is no module {key}"
                continue
            unknown = sorted(set(arguments or {}) - options[module]) if isinstance(arguments, dict) else []
            yield from (f"{example.where}: {key} has no option {name}" for name in unknown)
    yield from (f"{example.where}: {problem}" for problem in check_variables(example.content, roles))


def check_variables(value: Any, roles: dict[str, Role]) -> Iterator[str]:
    """Find the variables of roles that are set anywhere in a value, and say which do not exist."""
    if isinstance(value, list):
        for inner in value:
            yield from check_variables(inner, roles)
    elif isinstance(value, dict):
        for key, inner in value.items():
            role = next((one for one in roles.values() if str(key).startswith(f"{one.name}_")), None)
            # An inventory's group is no variable.
            if role is None or f"{COLLECTION}." in str(key) or key == f"{role.name}_hosts":
                yield from check_variables(inner, roles)
            elif key not in role.declared | role.results:
                yield f"role {role.name} has no variable {key}"
            elif key in role.options:
                yield from check_keys(str(key), inner, role.options[key].get("options"))


def check_keys(where: str, value: Any, options: dict[str, Any] | None) -> Iterator[str]:
    """Say which keys of a variable's value its specification does not have, however deep."""
    if options is None:
        return
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            continue
        for key, inner in one.items():
            if key not in options:
                yield f"{where} has no key {key}"
            else:
                yield from check_keys(f"{where}.{key}", inner, options[key].get("options"))


def syntax_problems(root: Path, examples: list[Example]) -> list[str]:
    """Have Ansible read every example that is a playbook or tasks."""
    with tempfile.TemporaryDirectory(prefix="private-llm-examples-") as folder:
        books: dict[Path, str] = {}
        for number, example in enumerate(examples):
            if not isinstance(example.content, list):
                continue
            book = Path(folder) / f"{number}.yml"
            plays = [{"name": "Example", "hosts": "gpu_hosts", "gather_facts": False, "tasks": example.content}]
            book.write_text(
                yaml.safe_dump(example.content if is_play(example.content) else plays, sort_keys=False), "utf-8"
            )
            books[book] = example.where
        inventory = Path(folder) / "hosts.ini"
        inventory.write_text("[gpu_hosts]\ngpu-01\n[webui_hosts]\nweb-01\n", encoding="utf-8")
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "--syntax-check", "-i", str(inventory)]
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(root / ".collections"), "ANSIBLE_NOCOLOR": "1"}

        def check(paths: list[Path]) -> str:
            done = subprocess.run(
                [*argv, *map(str, paths)],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            return done.stdout + done.stderr if done.returncode else ""

        # All at once is quick; one by one, only to name the one that is wrong.
        if not books or not check(list(books)):
            return []
        return [f"{where}: {output.strip()}" for book, where in books.items() if (output := check([book]))]


def variables_read(root: Path, roles: dict[str, Role]) -> set[str]:
    """Name what may be set with `-e`: variables of roles, and what the playbooks read."""
    known = {name for role in roles.values() for name in role.declared}
    for path in sorted((root / "playbooks").rglob("*.yml")):
        known |= set(re.findall(r"\bfleet_\w+\b", path.read_text(encoding="utf-8")))
    return known


def check(root: Path) -> list[str]:
    """Check every document below a checkout's root; give one line for each problem."""
    roles = {path.name: read_role(path) for path in sorted((root / "roles").glob("*")) if (path / "tasks").is_dir()}
    examples, problems = gather(root)
    options = options_of(root)
    for example in examples:
        problems += check_example(example, options, roles)
    problems += check_translations(root)
    problems += check_links(root)
    problems += check_commands(root, variables_read(root, roles))
    return problems or syntax_problems(root, examples)


def main() -> int:
    """Check, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    try:
        problems = check(parser.parse_args().root)
    except CheckError as error:
        problems = [str(error)]
    print("\n".join(problems) if problems else "what the documents show exists, and works as far as its syntax goes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
