# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run several of make's targets, all of them even when one fails, and say how each went and how long it took."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import ARTIFACTS, RESULTS, ROOT, Case, duration, failures, total, write_junit

# How much of what a failed test said is said again at the end, in characters.
EXCERPT = 2000

# Each takes one processor, waits for downloads, and is in nobody's way.
BESIDE = ("sanity", "images", "build")


def run_stage(make: str, name: str, log: Path | None = None) -> Case:
    """Run one target of the Makefile with its output on the terminal, or in a log."""
    started = time.monotonic()
    known = total(RESULTS)
    with log.open("wb") if log else contextlib.nullcontext() as out:
        status = subprocess.run(
            [make, "--no-print-directory", "--keep-going", name],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        ).returncode
    case = Case(name, time.monotonic() - started, f"exit status {status}" if status else "")
    if status and total(RESULTS).failed == known.failed:
        # It failed, yet no test of it did: count the stage itself.
        write_junit(RESULTS / f"stage-{name}.xml", "stage", [case])
    return case


def run_stages(make: str, names: list[str]) -> list[Case]:
    """Run the stages in their order; those that use one processor and say little begin at once, beside the others."""
    cases = []
    logs = {name: ARTIFACTS / "stages" / f"{name}.log" for name in names if name in BESIDE}
    with ThreadPoolExecutor() as pool:
        for log in logs.values():
            log.parent.mkdir(parents=True, exist_ok=True)
        beside = {name: pool.submit(run_stage, make, name, log) for name, log in logs.items()}
        for name in names:
            print(f"\n== {name}", flush=True)
            if name in beside:
                if not beside[name].done():
                    print(f"under way since the beginning; its log: {logs[name].relative_to(ROOT)}", flush=True)
                case = beside[name].result()
                print(logs[name].read_text(encoding="utf-8", errors="replace"), end="")
            else:
                case = run_stage(make, name)
            print(f"== {name}: {'FAILED' if case.failure else 'passed'} in {duration(case.seconds)}", flush=True)
            cases.append(case)
    return cases


def machine(cpuinfo: str, meminfo: str) -> str:
    """Say on what the tests run; vLLM on a processor with AMX takes other ways than on one without."""
    models = re.findall(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    amx = "with" if re.search(r"\bamx_tile\b", cpuinfo) else "without"
    memory = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    size = f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "memory of unknown size"
    return f"{len(models)} processors ({models[0] if models else 'of unknown kind'}, {amx} AMX), {size}"


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
    started = time.monotonic()
    cpuinfo, meminfo = (Path(f"/proc/{name}").read_text(encoding="utf-8") for name in ("cpuinfo", "meminfo"))
    on = machine(cpuinfo, meminfo)
    print(on, flush=True)
    cases = run_stages(make, arguments.stages)
    print("\n== summary")
    for case in cases:
        print(f"{'FAILED' if case.failure else 'passed'}  {case.name:<12} {duration(case.seconds):>13}")
    print(f"        {'altogether':<12} {duration(time.monotonic() - started):>13}")
    for name, told in failures(RESULTS):
        print(f"\n-- {name}\n{told.strip()[-EXCERPT:]}")
    counts = total(RESULTS)
    print(f"on {on}: {counts}, {counts.skipped} skipped", flush=True)
    return 1 if any(case.failure for case in cases) or counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
