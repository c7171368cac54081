# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run several of make's targets, all of them even when one fails, and say how each went and how long it took."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time

from results import RESULTS, ROOT, Case, duration, failures, total, write_junit

# How much of what a failed test said is said again at the end, in characters.
EXCERPT = 2000


def run_stage(make: str, name: str) -> Case:
    """Run one target of the Makefile with its output on the terminal."""
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    known = total(RESULTS)
    status = subprocess.run(
        [make, "--no-print-directory", "--keep-going", name], cwd=ROOT, stdin=subprocess.DEVNULL, check=False
    ).returncode
    case = Case(name, time.monotonic() - started, f"exit status {status}" if status else "")
    if status and total(RESULTS).failed == known.failed:
        # It failed, yet no test of it did: count the stage itself.
        write_junit(RESULTS / f"stage-{name}.xml", "stage", [case])
    print(f"== {name}: {'FAILED' if status else 'passed'} in {duration(case.seconds)}", flush=True)
    return case


def main() -> int:
    """Run the stages named, in that order; or only sum what the last ones left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sum", action="store_true", help="only say how many tests the last run passed and failed")
    parser.add_argument("stages", nargs="*", help="targets of the Makefile")
    arguments = parser.parse_args()
    if arguments.sum:
        print(total(RESULTS))
        return 0
    shutil.rmtree(RESULTS, ignore_errors=True)
    make = os.environ.get("MAKE", "make")
    cases = [run_stage(make, name) for name in arguments.stages]
    print("\n== summary")
    for case in cases:
        print(f"{'FAILED' if case.failure else 'passed'}  {case.name:<12} {duration(case.seconds):>13}")
    print(f"        {'altogether':<12} {duration(sum(case.seconds for case in cases)):>13}")
    for name, told in failures(RESULTS):
        print(f"\n-- {name}\n{told.strip()[-EXCERPT:]}")
    counts = total(RESULTS)
    print(f"{counts}, {counts.skipped} skipped", flush=True)
    return 1 if any(case.failure for case in cases) or counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
