# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's archive out of the tracked files, and prove that it works from where it is installed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mirror import mirror, tracked_files
from results import RESULTS, ROOT, Case, duration, write_junit

BUILD = ROOT / "build"
MIRROR = ROOT / ".cache" / "build"

# What users get. Whatever else lies in a checkout is for working on the collection.
WANTED = {
    "CHANGELOG.rst",
    "CONTRIBUTING.md",
    "COPYING",
    "FILES.json",
    "MANIFEST.json",
    "README.md",
    "README.zh-CN.md",
    "changelogs",
    "docs",
    "inventory.example",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
REQUIRED = {"COPYING", "FILES.json", "MANIFEST.json", "README.md", "meta", "playbooks", "plugins", "roles"}
LARGEST_FILE = 300_000


class BuildError(Exception):
    """Something is wrong with the archive."""


def run(argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a tool of this environment and give its output; raise with all that it said when it fails."""
    tool = str(Path(sys.executable).parent / argv[0])
    done = subprocess.run(
        [tool, *argv[1:]],
        cwd=cwd,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise BuildError(f"{' '.join(argv)} failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def problems_of(members: list[tuple[str, int]]) -> list[str]:
    """Say what is wrong with the content of an archive, given as names and sizes."""
    tops = {PurePosixPath(name).parts[0] for name, _size in members}
    problems = [f"{name} is missing" for name in sorted(REQUIRED - tops)]
    problems += [f"{name} is not for users: add it to build_ignore in galaxy.yml" for name in sorted(tops - WANTED)]
    for name, size in members:
        parts = PurePosixPath(name).parts
        if parts[0] in WANTED and any(part.startswith(".") or part == "__pycache__" for part in parts):
            problems.append(f"{name} is a file of a tool, not of the collection")
        if size > LARGEST_FILE:
            problems.append(f"{name} has {size} bytes, more than the {LARGEST_FILE} that any one file may have")
    return problems


def build() -> Path:
    """Build the archive and give its path."""
    shutil.rmtree(BUILD, ignore_errors=True)
    mirror(tracked_files(), MIRROR)
    run(["ansible-galaxy", "collection", "build", "--output-path", str(BUILD)], MIRROR)
    archives = sorted(BUILD.glob("*.tar.gz"))
    if len(archives) != 1:
        raise BuildError(f"one archive was expected in {BUILD}, there are {len(archives)}")
    return archives[0]


def check_content(archive: Path) -> None:
    """Refuse an archive that holds too much or too little."""
    with tarfile.open(archive) as opened:
        members = [(member.name, member.size) for member in opened.getmembers()]
    problems = problems_of(members)
    if problems:
        raise BuildError("\n".join(problems))


def check_installed(archive: Path, folder: Path) -> None:
    """Install the archive into an empty folder and have Ansible find everything in it, far from this checkout."""
    collections, elsewhere = folder / "collections", folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    env = {
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_CONFIG": str(elsewhere / "ansible.cfg"),
    }
    run(
        ["ansible-galaxy", "collection", "install", "--no-deps", "--offline", "-p", str(collections), str(archive)],
        elsewhere,
        env,
    )
    installed = collections / "ansible_collections" / "private_llm" / "fleet"
    modules = sorted(path.stem for path in (installed / "plugins" / "modules").glob("*.py"))
    documented = json.loads(
        run(["ansible-doc", "--json", *(f"private_llm.fleet.{name}" for name in modules)], elsewhere, env)
    )
    undocumented = sorted(name for name in modules if f"private_llm.fleet.{name}" not in documented)
    if undocumented:
        raise BuildError(f"ansible-doc does not find these modules once installed: {', '.join(undocumented)}")
    playbooks = sorted(path.stem for path in (installed / "playbooks").glob("*.yml"))
    if not playbooks:
        raise BuildError("no playbook is installed")
    inventory = elsewhere / "hosts.yml"
    inventory.write_text("gpu_hosts: {hosts: {gpu-01: }}\nwebui_hosts: {hosts: {web-01: }}\n", encoding="utf-8")
    for name in playbooks:
        run(["ansible-playbook", "--syntax-check", "-i", str(inventory), f"private_llm.fleet.{name}"], elsewhere, env)


def main() -> int:
    """Build, look inside, install, and say how each went."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases: list[Case] = []

    def step(name: str, what: Callable[[], None]) -> bool:
        started = time.monotonic()
        failure = ""
        try:
            what()
        except BuildError as error:
            failure = str(error)
        cases.append(Case(name, time.monotonic() - started, failure))
        print(f"{'FAILED' if failure else 'ok    '} {name} ({duration(cases[-1].seconds)})", flush=True)
        if failure:
            print(failure, flush=True)
        return not failure

    archives: list[Path] = []
    if step("the archive is built", lambda: archives.append(build())):
        archive = archives[0]
        step("it holds what users need and nothing else", lambda: check_content(archive))
        with tempfile.TemporaryDirectory(prefix="private-llm-build-") as folder:
            step(
                "its modules and playbooks work from where it is installed",
                lambda: check_installed(archive, Path(folder)),
            )
        print(archive.relative_to(ROOT))
    write_junit(RESULTS / "build.xml", "build", cases)
    return 1 if any(case.failure for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
