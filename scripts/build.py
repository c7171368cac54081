# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's archive out of the tracked files, and prove what others will ask of it.

galaxy-importer takes it; it works from where it is installed, far from this checkout; ansible-builder reads what an
execution environment needs; the reference of its modules and roles builds without a warning.
"""

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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import yaml

import reference
from mirror import mirror, tracked_files
from results import RESULTS, ROOT, Case, duration, write_junit

BUILD = ROOT / "build"
REFERENCE = BUILD / "reference"
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
    "SECURITY.md",
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


def run(argv: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> str:
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


def check_importer(archive: Path, folder: Path) -> None:
    """Have galaxy-importer judge the archive, as Galaxy and Automation Hub do when it is uploaded.

    It would run ansible-lint with its own settings; `make lint` runs it with the stricter profile for production.
    """
    folder.mkdir()
    env = {
        "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
        "ANSIBLE_HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    output = run(["python", "-m", "galaxy_importer.main", str(archive)], folder, env)
    problems = [line for line in output.splitlines() if line.startswith(("ERROR", "WARNING"))]
    if problems or "Importer processing completed successfully" not in output:
        raise BuildError("\n".join(problems) or output)


def install(archive: Path, folder: Path) -> dict[str, str]:
    """Install the archive into an empty folder; give the environment in which Ansible finds that and nothing else."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    env = {
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_CONFIG": str(elsewhere / "ansible.cfg"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    where = env["ANSIBLE_COLLECTIONS_PATH"]
    run(
        ["ansible-galaxy", "collection", "install", "--no-deps", "--offline", "-p", where, str(archive)], elsewhere, env
    )
    return env


def installed_at(env: Mapping[str, str]) -> Path:
    """Return where the collection is once it is installed."""
    return Path(env["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections" / "private_llm" / "fleet"


def check_installed(env: Mapping[str, str], elsewhere: Path) -> None:
    """Have Ansible find everything in the installed collection, and run the site from there."""
    installed = installed_at(env)
    modules = sorted(path.stem for path in (installed / "plugins" / "modules").glob("*.py"))
    documented = json.loads(
        run(["ansible-doc", "--json", *(f"private_llm.fleet.{name}" for name in modules)], elsewhere, env)
    )
    undocumented = sorted(name for name in modules if f"private_llm.fleet.{name}" not in documented)
    if undocumented:
        raise BuildError(f"ansible-doc does not find these modules once installed: {', '.join(undocumented)}")
    playbooks = sorted(f"private_llm.fleet.{path.stem}" for path in (installed / "playbooks").glob("*.yml"))
    if not playbooks:
        raise BuildError("no playbook is installed")
    inventory = elsewhere / "hosts.yml"
    inventory.write_text("gpu_hosts: {hosts: {gpu-01: }}\nwebui_hosts: {hosts: {web-01: }}\n", encoding="utf-8")
    run(["ansible-playbook", "--syntax-check", "-i", str(inventory), *playbooks], elsewhere, env)
    inventory.write_text("gpu_hosts: {}\nwebui_hosts: {}\n", encoding="utf-8")
    output = run(["ansible-playbook", "-i", str(inventory), "private_llm.fleet.site"], elsewhere, env)
    if "nothing is declared" not in output:
        raise BuildError(f"private_llm.fleet.site does not come to its end from where it is installed:\n{output}")


def check_environment(env: Mapping[str, str], elsewhere: Path) -> None:
    """Have ansible-builder read what an execution environment with this collection needs."""
    output = run(["ansible-builder", "introspect", env["ANSIBLE_COLLECTIONS_PATH"]], elsewhere, env)
    found = (yaml.safe_load(output) or {}).get("python") or {}
    listed = str(found)
    missing = [name for name in ("docker", "huggingface_hub", "modelscope-hub", "requests") if name not in listed]
    if missing:
        raise BuildError(f"ansible-builder does not see that {', '.join(missing)} is needed:\n{output}")


def build_reference(env: Mapping[str, str], folder: Path) -> None:
    """Build the pages of the reference from the installed collection."""
    problems = reference.build(run, env, REFERENCE, folder)
    if problems:
        raise BuildError("\n".join(problems))


def main() -> int:
    """Build, look inside, install, and say how each went."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases: list[Case] = []

    def step(name: str, what: Callable[[], None]) -> bool:
        started = time.monotonic()
        failure = ""
        try:
            what()
        except (BuildError, subprocess.TimeoutExpired) as error:
            failure = str(error)
        case = Case(name, time.monotonic() - started, failure)
        cases.append(case)
        print(f"{'FAILED' if failure else 'ok    '} {name} ({duration(case.seconds)})", flush=True)
        if failure:
            print(failure, flush=True)
        return not failure

    archives: list[Path] = []
    if step("the archive is built", lambda: archives.append(build())):
        archive = archives[0]
        step("it holds what users need and nothing else", lambda: check_content(archive))
        with tempfile.TemporaryDirectory(prefix="private-llm-build-") as name:
            folder, envs = Path(name), list[dict[str, str]]()
            # galaxy-importer takes as long as all others together, and needs nothing of them.
            with ThreadPoolExecutor() as pool:
                pool.submit(step, "galaxy-importer takes it", lambda: check_importer(archive, folder / "importer"))
                if step("it installs into an empty folder", lambda: envs.append(install(archive, folder))):
                    env, elsewhere = envs[0], folder / "elsewhere"
                    step("its modules and playbooks work from there", lambda: check_installed(env, elsewhere))
                    step("ansible-builder reads what it needs", lambda: check_environment(env, elsewhere))
                    step("its reference builds without a warning", lambda: build_reference(env, folder / "reference"))
        print(archive.relative_to(ROOT))
    write_junit(RESULTS / "build.xml", "build", cases)
    return 1 if any(case.failure for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
