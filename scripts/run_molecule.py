# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the scenarios in molecule/, several at a time, and start none after one that failed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from results import ARTIFACTS, RESULTS, ROOT, Case, compiling_once, complaint, duration, run_logged, write_junit

SCENARIOS = ROOT / "molecule"

# The longest scenario builds images and starts a model server; one that hangs must not take all the time there is.
LIMIT_SECONDS = 2400.0

# More of them take as long on two processors, and each of them longer. Each may take so much memory, in GiB.
AT_ONCE = 2
MEMORY_EACH = 5

# It lets servers hang, and waits until that is noticed: it runs beside as many others as there may be without it.
WAITING = "watch"

# The longest come first, for one that begins late would run alone at the end.
LONG = (
    WAITING,
    "gateway",
    "site",
    "groups",
    "monitoring",
    "nvidia_toolkit",
    "air_gap",
    "open_webui_data",
    "docker_engine",
)

# Run when it is asked for by name: it needs a GPU, which this machine need not have.
ONLY_BY_NAME = {"gpu"}


def find_scenarios(folder: Path) -> list[str]:
    """Name the scenarios; what they share is no scenario."""
    return sorted(path.parent.name for path in folder.glob("*/molecule.yml") if path.parent.name != "shared")


def run_scenario(name: str, show: bool) -> Case:
    """Run one scenario's whole sequence and say how it went."""
    tools = str(Path(sys.executable).parent)
    log = ARTIFACTS / "molecule" / f"{name}.log"
    junit = RESULTS / "molecule" / f"{name}-verify.xml"
    junit.unlink(missing_ok=True)
    env = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        # The verifier is pytest; its tests are counted one by one.
        "PYTEST_ADDOPTS": f"--junitxml={junit} -o junit_suite_name=molecule-{name} -p no:cacheprovider",
        **compiling_once(),
    }
    if not (show and sys.stdout.isatty()):
        env |= {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0"}
    argv = [shutil.which("molecule", path=tools) or "molecule", "test", "--scenario-name", name]
    status, seconds = run_logged(argv, log, LIMIT_SECONDS, env, show)
    print(f"{'ok    ' if status == 0 else 'FAILED'} {name} ({duration(seconds)})", flush=True)
    if status == 0:
        return Case(name, seconds)
    if not show:
        print(complaint(log), flush=True)
    print(
        f"scenario {name} failed; its log: {log.relative_to(ROOT)}; to run it again: make molecule S={name}", flush=True
    )
    return Case(name, seconds, f"exit status {status}\n{complaint(log)}")


def longest_first(names: list[str]) -> list[str]:
    """Put those first that take as long as several others."""
    return sorted(names, key=lambda name: LONG.index(name) if name in LONG else len(LONG))


def room(pages: int, page_size: int) -> int:
    """Return how many scenarios this machine's memory holds at a time, at least one."""
    return max(1, pages * page_size // 2**30 // MEMORY_EACH)


def may_begin(name: str, running: Collection[str], most: int) -> bool:
    """Say whether a scenario may begin beside those that run, of which the memory holds so many."""
    computing = [one for one in (*running, name) if one != WAITING]
    return len(running) < most and len(computing) <= AT_ONCE


def run_all(names: list[str], show: bool) -> list[Case]:
    """Run the scenarios, as many at a time as the machine bears."""
    cases: list[Case] = []
    waiting = list(names)
    most = room(os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE"))
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        running: dict[Future[Case], str] = {}
        while waiting or running:
            while waiting and may_begin(waiting[0], running.values(), most):
                name = waiting.pop(0)
                running[pool.submit(run_scenario, name, show)] = name
            ended = wait(running, return_when=FIRST_COMPLETED).done
            cases += [future.result() for future in ended]
            running = {future: name for future, name in running.items() if future not in ended}
            write_junit(RESULTS / "molecule" / "scenarios.xml", "molecule", cases)
            if any(case.failure for case in cases):
                waiting.clear()
    return cases


def main() -> int:
    """Run the scenarios named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="folders of molecule/; none named means all that need no GPU")
    wanted = parser.parse_args().scenarios
    known = find_scenarios(SCENARIOS)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if not known:
        print(f"no scenario in {SCENARIOS.relative_to(ROOT)}", file=sys.stderr)
        return 1
    names = wanted or longest_first([name for name in known if name not in ONLY_BY_NAME])
    cases = run_all(names, show=len(wanted) == 1)
    passed = sum(1 for case in cases if not case.failure)
    print(f"molecule: {passed} of {len(names)} scenarios passed", flush=True)
    return 0 if passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
