#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the table of vLLM's options by release: scripts/data/vllm_options.csv, and the module made from it.

    vllm_options.py write                 make plugins/module_utils/_vllm/options/_option_table.py from the data
    vllm_options.py check                 fail when that file is not what the data say
    vllm_options.py releases MATRIX.csv   take first and last releases from a matrix: flag,first_seen,last_seen,…
    vllm_options.py kinds IMAGE           take the kinds of values from the parser of the vLLM in a local image
    vllm_options.py choices 0.32 FOLDER   take the choices from the sources of a release, an unpacked wheel

To add a release, extend the matrix with a column for it, run `releases`, run `kinds` with its image, `choices` with its
sources, and `write`. Choices are added one release after the other, in their order.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import typing as t

from vllm_sources import read_choices

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT / "scripts" / "data" / "vllm_options.csv"
CHOICES = ROOT / "scripts" / "data" / "vllm_choices.csv"
TABLE = ROOT / "plugins" / "module_utils" / "_vllm" / "options" / "_option_table.py"

COLUMNS = ("option", "first", "last", "kind", "instead", "before")
CHOICE_COLUMNS = ("option", "choice", "first", "last")
# Lists that are given as JSON; `_argv.py` writes them so.
JSON_LISTS = ("allowed_headers", "allowed_methods", "allowed_origins")
ANY = "*"  # in place of a choice: these releases take any text

HEADER = '''\
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Made by scripts/vllm_options.py from scripts/data/vllm_options.csv; change the data and run it again.

"""The options of ``vllm serve`` by release."""

from __future__ import annotations

'''

# Runs inside the image, on its own vLLM. The parser moved between releases.
ASK = """
import importlib, json, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
for place in ("common", "launchers", "openai"):
    try:
        module = importlib.import_module(f"vllm.entrypoints.{place}.cli_args")
        break
    except ImportError:
        continue
# What a type takes says more than its name, which is that of a wrapper for most.
PROBES = ("word", "{}", "3", "1.5", "1k", "auto")
def takes(kind, text):
    try:
        return type(kind(text)).__name__
    except BaseException:
        return ""
def plain_text(name):
    # A type that tries JSON and takes any other text as it is; the field says whether that means anything.
    from vllm.engine import arg_utils
    import typing
    hint = arg_utils.EngineArgs.__annotations__.get(name)
    if isinstance(hint, str):
        hint = eval(hint, vars(arg_utils))
    return hint is None or hint is str or str in typing.get_args(hint)
found = {}
for action in module.make_arg_parser(FlexibleArgumentParser())._actions:
    for flag in action.option_strings:
        if flag.startswith("--") and not flag.startswith("--no-"):
            taken = [takes(action.type, text) for text in PROBES] if action.type else []
            if taken and taken[0] and taken[1] == "dict" and not plain_text(action.dest):
                taken[0] = ""
            found[flag] = [type(action).__name__, taken, action.nargs]
print("FOUND " + json.dumps(found))
"""


def normal(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def read() -> dict[str, dict[str, str]]:
    if not DATA.exists():
        return {}
    with DATA.open(encoding="utf-8", newline="") as stream:
        return {row["option"]: dict(row) for row in csv.DictReader(stream)}


def save(options: t.Mapping[str, t.Mapping[str, str]]) -> None:
    with DATA.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for name in sorted(options):
            writer.writerow(options[name])


def take_releases(matrix: pathlib.Path) -> None:
    """Merge first and last releases into the data; what a person wrote beside them stays."""
    options = read()
    with matrix.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["flag"].startswith("--"):
            option = options.setdefault(normal(row["flag"]), {"option": normal(row["flag"])})
            option.update(first=minor(row["first_seen"]), last=minor(row["last_seen"]))
    save(options)


def minor(release: str) -> str:
    return ".".join(release.split(".")[:2])


def take_kinds(image: str) -> None:
    """Ask the image's own parser what each option takes."""
    asked = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", "python3", image, "-c", ASK],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(next(line for line in asked.stdout.splitlines() if line.startswith("FOUND "))[6:])
    options = read()
    for flag, (action, taken, nargs) in found.items():
        if normal(flag) in options:
            options[normal(flag)]["kind"] = "" if normal(flag) in JSON_LISTS else kind_of(action, taken, nargs)
    save(options)


def read_all_choices() -> list[dict[str, str]]:
    if not CHOICES.exists():
        return []
    with CHOICES.open(encoding="utf-8", newline="") as stream:
        return [dict(row) for row in csv.DictReader(stream)]


def take_choices(release: str, sources: pathlib.Path) -> None:
    """Add one release, the one after the newest that is there: a choice it has in common with that goes on."""
    rows = read_all_choices()
    newest = max((row["last"] for row in rows), key=parts, default=None)
    if newest is not None and parts(newest) >= parts(release):
        raise SystemExit(f"the choices of {release} are in {CHOICES.name} already, which ends with {newest}")
    going = {(row["option"], row["choice"]): row for row in rows if row["last"] == newest}
    found = read_choices(sources)
    closed = {name for name, choices in found.items() if choices} | {row["option"] for row in rows}
    for option in sorted(closed & set(found)):
        for choice in sorted(found[option] or {ANY}):
            if (option, choice) in going:
                going[(option, choice)]["last"] = release
            else:
                rows.append({"option": option, "choice": choice, "first": release, "last": release})
    rows.sort(key=lambda row: (row["option"], row["choice"], parts(row["first"])))
    with CHOICES.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, CHOICE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def parts(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def kind_of(action: str, taken: t.Sequence[str], nargs: str | None) -> str:
    """Return what a value may be, in the words of `_options.py`; empty where anything may be right.

    ``taken`` is what the option's own type made of each of the probes, empty where it refused one.
    """
    if action == "BooleanOptionalAction":
        return "bool"
    if action in ("_StoreTrueAction", "_StoreFalseAction"):
        return "switch"
    if nargs in ("+", "*"):
        return "list"
    if nargs is not None or not taken:
        return ""
    word, mapping, whole, fraction, thousands, automatic = taken
    if word:
        return ""
    if mapping:
        return "mapping"
    if whole == "int":
        return ("length" if automatic else "count") if thousands else "int"
    return "float" if fraction == "float" else ""


def rendered() -> str:
    options = read()
    releases = sorted({parts(row[key]) for row in options.values() for key in ("first", "last")})
    newest = ".".join(map(str, releases[-1]))
    lines = [
        f"OLDEST = {releases[0]!r}",
        f"NEWEST = {releases[-1]!r}",
        "",
        "# By name: the first and the last minor release that has it (empty: the newest), and what its value is.",
        "OPTIONS: dict[str, tuple[str, str, str]] = {",
    ]
    for name, row in sorted(options.items()):
        last = "" if row["last"] == newest else row["last"]
        lines.append(f'    "{name}": ("{row["first"]}", "{last}", "{row.get("kind", "")}"),')
    lines += ["}", "", "# What to do in place of an option that is gone.", "INSTEAD = {"]
    lines += [
        f"    {json.dumps(name)}: {json.dumps(row['instead'])},"
        for name, row in sorted(options.items())
        if row.get("instead")
    ]
    lines += [
        "}",
        "",
        "# What an option that came later was called, or how the same was said, before it came.",
        "BEFORE = {",
    ]
    lines += [
        f"    {json.dumps(name)}: {json.dumps(row['before'])},"
        for name, row in sorted(options.items())
        if row.get("before")
    ]
    lines += [
        "}",
        "",
        "# What an option takes, each with the first and the last minor release that takes it (empty: the newest).",
        "# A star is any text.",
        "CHOICES: dict[str, tuple[tuple[str, str, str], ...]] = {",
    ]
    choices: dict[str, list[str]] = {}
    for row in read_all_choices():
        last = "" if row["last"] == newest else row["last"]
        choices.setdefault(row["option"], []).append(f'        ("{row["choice"]}", "{row["first"]}", "{last}"),')
    for name in sorted(set(choices) & set(options)):
        lines += [f'    "{name}": (', *choices[name], "    ),"]
    return HEADER + "\n".join([*lines, "}", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep the table of vLLM's options.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write")
    commands.add_parser("check")
    commands.add_parser("releases").add_argument("matrix", type=pathlib.Path)
    commands.add_parser("kinds").add_argument("image")
    choices = commands.add_parser("choices")
    choices.add_argument("release")
    choices.add_argument("sources", type=pathlib.Path)
    options = parser.parse_args()
    if options.command == "releases":
        take_releases(options.matrix)
    elif options.command == "kinds":
        take_kinds(options.image)
    elif options.command == "choices":
        take_choices(options.release, options.sources)
    elif options.command == "write":
        TABLE.write_text(rendered(), encoding="utf-8")
    elif TABLE.read_text(encoding="utf-8") != rendered():
        print(f"{TABLE.relative_to(ROOT)} is not what the data say: run scripts/vllm_options.py write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
