# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the integration targets in tests/integration/targets on this machine, each in its own play, three at a time."""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import ARTIFACTS, RESULTS, ROOT, Case, compiling_once, complaint, duration, run_logged, write_junit

TARGETS = ROOT / "tests" / "integration" / "targets"

# A busy machine may need most of it (nearly 9 minutes were seen); one that hangs must not take the others' time.
LIMIT_SECONDS = 1200.0

# Those of minutes first; one of them would otherwise run alone at the end.
LONGEST = (
    "vllm_server",
    "vllm_server_questions",
    "open_webui_server_two_runs",
    "vllm_server_two_runs",
    "open_webui_server",
    "vllm_dry_fit",
    "open_webui",
    "model_snapshot",
)

# They wait for servers more than they compute, and each uses names and ports of its own.
AT_ONCE = 3


def find_targets(folder: Path) -> list[str]:
    """Name the targets: folders with tasks, less what others only build upon (setup_*)."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if (path / "tasks" / "main.yml").is_file() and not path.name.startswith("setup_")
    )


def longest_first(names: list[str]) -> list[str]:
    """Put the targets first that start model servers and a web server; last, they would run alone at the end."""
    return sorted(names, key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))


def run_target(name: str, show: bool) -> Case:
    """Run one target and say how it went."""
    log = ARTIFACTS / "integration" / f"{name}.log"
    argv = [
        shutil.which("ansible-playbook", path=str(Path(sys.executable).parent)) or "ansible-playbook",
        "tests/integration/run.yml",
        "--inventory",
        "localhost,",
        "--extra-vars",
        f"target={name}",
    ]
    color = {"ANSIBLE_FORCE_COLOR": "1"} if show and sys.stdout.isatty() else {"ANSIBLE_NOCOLOR": "1"}
    status, seconds = run_logged(argv, log, LIMIT_SECONDS, color | compiling_once(), show)
    print(f"{'ok    ' if status == 0 else 'FAILED'} {name} ({duration(seconds)})", flush=True)
    if status == 0:
        return Case(name, seconds)
    if not show:
        print(complaint(log), flush=True)
    print(f"its log: {log.relative_to(ROOT)}; to run it again: make integration T={name}", flush=True)
    return Case(name, seconds, f"exit status {status}\n{complaint(log)}")


def main() -> int:
    """Run the targets named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="folders of tests/integration/targets; none named means all")
    wanted = parser.parse_args().targets
    known = find_targets(TARGETS)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"no such integration target: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if not known:
        print(f"no integration target in {TARGETS.relative_to(ROOT)}", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cases = list(pool.map(lambda name: run_target(name, show=len(wanted) == 1), wanted or longest_first(known)))
    write_junit(RESULTS / "integration.xml", "integration", cases)
    failed = [case.name for case in cases if case.failure]
    print(f"integration: {len(cases) - len(failed)} of {len(cases)} targets passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
