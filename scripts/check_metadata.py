#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove what the metadata promises.

A module that says it supports check mode, diff mode or repeated runs has an integration test that tries just that. The
example inventories pass the roles' argument specifications, as Ansible itself reads both. The execution environment's
requirements are those of the tests. Every file says under which licence it is. A function's docstring
begins with a verb.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from check_roles import COLLECTION, CheckError, code_of, constants_of, load
from mirror import tracked_files

ROOT = Path(__file__).resolve().parent.parent

# What an assertion about a second run looks like.
UNCHANGED = re.compile(r"is not changed|\bnot [\w.\[\]]+\.changed\b|'changed'\).*\bfalse\b", re.IGNORECASE)
# What an assertion about a shown difference looks like.
SHOWN = re.compile(r"\.diff\b|['\"]diff['\"]")
# REUSE-IgnoreStart
SPDX = "SPDX-License-Identifier: GPL-3.0-or-later"
# REUSE-IgnoreEnd

# Where functions say what they do, and first words that name a thing or ask a question. Ruff's D401 knows other words.
DESCRIBED = ("plugins/", "scripts/", "benchmarks/", "tests/support/")
NO_VERB = re.compile(
    r"(an?|all|any(thing)?|both|bytes|each|every(thing)?|how|its|names|no(ne|thing)?|of|one|only|seconds|several|"
    r"th(at|e|ese|is|ose)|true|two|wh(at|en|ere|ether|ich|o|ose|y))\b",
    re.IGNORECASE,
)

# Which roles take their variables from which group of an inventory.
ROLES_OF_GROUP = {
    "gpu_hosts": ("docker_engine", "nvidia_toolkit", "model_download", "vllm_server"),
    "webui_hosts": ("docker_engine", "open_webui"),
}


def modes_of(value: Any, module: str, inherited: frozenset[str] = frozenset()) -> Iterator[frozenset[str]]:
    """Give, for each task that runs the module, which of check_mode and diff are set for it, by itself or around it."""
    if isinstance(value, list):
        for inner in value:
            yield from modes_of(inner, module, inherited)
    elif isinstance(value, dict):
        here = inherited | {mode for mode in ("check_mode", "diff") if value.get(mode) not in (None, False)}
        if module in value:
            yield here
        for part in ("tasks", "block", "rescue", "always"):
            yield from modes_of(value.get(part), module, here)


def check_attributes(root: Path) -> Iterator[str]:
    """Hold what each module says it supports against its integration test."""
    for path in sorted((root / "plugins" / "modules").glob("*.py")):
        attributes = (constants_of(path).get("DOCUMENTATION") or {}).get("attributes") or {}
        promised = {name for name, said in attributes.items() if (said or {}).get("support") in ("full", "partial")}
        where = f"plugins/modules/{path.name}"
        runs_in_check_mode = "supports_check_mode=True" in path.read_text(encoding="utf-8")
        if runs_in_check_mode != ("check_mode" in promised):
            yield f"{where}: says check_mode and supports_check_mode differently"
        target = root / "tests" / "integration" / "targets" / path.stem
        files = [load(file) for file in sorted(target.rglob("*.yml"))]
        if not files:  # a part of a target that several modules share
            target = target.parent
            loaded = [load(file) for file in sorted(target.rglob("*.yml"))]
            files = [file for file in loaded if list(modes_of(file, f"{COLLECTION}.{path.stem}"))]
        modes = [mode for file in files for mode in modes_of(file, f"{COLLECTION}.{path.stem}")]
        texts = [text for file in files for text in code_of(file)]
        proofs = {
            "check_mode": any("check_mode" in mode for mode in modes),
            "diff_mode": any("diff" in mode for mode in modes) and any(SHOWN.search(one) for one in texts),
            "idempotent": any(UNCHANGED.search(text) for text in texts),
        }
        how = {
            "check_mode": f"runs {path.stem} with check_mode: true",
            "diff_mode": f"runs {path.stem} with diff: true and asserts on its diff",
            "idempotent": "asserts that a run `is not changed`",
        }
        for name, proven in proofs.items():
            if name in promised and not proven:
                yield f"{where}: says that it supports {name}, but no task in {target.relative_to(root)} {how[name]}"


def validation(root: Path) -> list[dict[str, Any]]:
    """Return the play that holds the variables of a host against the specifications of the roles that read them."""
    models = f"{{{{ vllm_server_instances | default([]) | {COLLECTION}.instance_models }}}}"
    plays = []
    for group, roles in ROLES_OF_GROUP.items():
        tasks = [
            {
                "name": f"Hold the variables against those of {role}",
                "ansible.builtin.validate_argument_spec": {
                    "argument_spec": load(root / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"][
                        "main"
                    ]["options"]
                },
                "vars": {"model_download_models": models} if role == "model_download" else {},
                "ignore_errors": True,
            }
            for role in roles
        ]
        plays.append({"name": group, "hosts": group, "gather_facts": False, "connection": "local", "tasks": tasks})
    return plays


def check_inventories(root: Path) -> Iterator[str]:
    """Have Ansible hold the example inventories against the argument specifications."""
    inventories = [path.parent for path in sorted((root / "inventory.example").rglob("hosts.yml"))]
    with tempfile.TemporaryDirectory(prefix="private-llm-inventory-") as folder:
        book = Path(folder) / "validate.yml"
        book.write_text(yaml.safe_dump(validation(root), sort_keys=False, width=1000), encoding="utf-8")
        for inventory in inventories:
            done = subprocess.run(
                [
                    str(Path(sys.executable).parent / "ansible-playbook"),
                    "-i",
                    str(inventory),
                    "-e",
                    "ansible_become=false",
                    str(book),
                ],
                cwd=root,
                env={
                    **os.environ,
                    "ANSIBLE_NOCOLOR": "1",
                    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                    "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            name = inventory.relative_to(root)
            failed = re.findall(r"^fatal: \[(.+?)\]: FAILED! => (\{.*\})$", done.stdout, re.MULTILINE)
            for host, result in failed:
                for error in json.loads(result).get("argument_errors") or [result]:
                    yield f"{name}: {host} does not pass the argument specifications: {error}"
            if done.returncode or "ok: [" not in done.stdout:
                yield f"{name}: cannot be held against the argument specifications: {done.stdout}{done.stderr}"


def requirements(path: Path) -> dict[str, str]:
    """Read a file of pip requirements: name to version specifier."""
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = (re.fullmatch(r"([\w.-]+)\s*([<>=!~].*)?", line) for line in lines if line)
    return {match[1].lower(): (match[2] or "").replace(" ", "") for match in found if match}


def check_environment(root: Path) -> Iterator[str]:
    """Report what the modules import and the execution environment lacks, or has in a version that was not tried."""
    meta = load(root / "meta" / "execution-environment.yml") or {}
    named = meta.get("dependencies") or {}
    for kind in ("python", "system"):
        path = named.get(kind)
        if not path or not (root / path).is_file():
            yield f"meta/execution-environment.yml: dependencies.{kind} names no file that is there"
            return
    tried = requirements(root / "requirements-dev.txt")
    for name, specifier in requirements(root / named["python"]).items():
        if name not in tried:
            yield f"{named['python']}: {name} is not in requirements-dev.txt, so nothing has tried it"
        elif not allows(specifier, tried[name].removeprefix("==")):
            yield f"{named['python']}: {name}{specifier} does not allow {tried[name]}, which is what the tests use"


def allows(specifier: str, version: str) -> bool:
    """Say whether a version is one of those that a requirement allows."""
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415

    return version in SpecifierSet(specifier)


def check_licences(root: Path, names: list[str]) -> Iterator[str]:
    """Report program text whose head does not name the licence."""
    for name in names:
        path = root / name
        if not path.is_file() or path.suffix not in (".py", ".sh", ".js", ".css"):
            continue
        head = path.read_text(encoding="utf-8")[:600]
        if head.strip() and SPDX not in head:
            yield f"{name}: says no licence; put {SPDX} at its head"


def check_docstrings(root: Path, names: list[str]) -> Iterator[str]:
    """Report docstrings of functions that do not begin with what the function does."""
    for name in names:
        if not name.startswith(DESCRIBED) or not name.endswith(".py") or not (root / name).is_file():
            continue
        for node in ast.walk(ast.parse((root / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found = NO_VERB.match(ast.get_docstring(node) or "")
                if found:
                    yield f"{name}:{node.lineno}: the docstring of {node.name} begins with {found[0]!r}, not a verb"


def check(root: Path) -> list[str]:
    """Check everything below a checkout's root; give one line for each problem."""
    return [
        *check_attributes(root),
        *check_environment(root),
        *check_licences(root, tracked_files()),
        *check_docstrings(root, tracked_files()),
        *check_inventories(root),
    ]


def main() -> int:
    """Check, and say what was found."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    try:
        problems = check(ROOT)
    except CheckError as error:
        problems = [str(error)]
    print("\n".join(problems) if problems else "what the metadata promises holds")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
