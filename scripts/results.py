# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests said, as JUnit XML: written by the runners of this folder, read back and summed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "results"
ARTIFACTS = ROOT / ".cache" / "artifacts"

# Holds the sitecustomize of lab hosts, which serves for modules that run on this machine too.
COMPILE_ONCE = ROOT / "scripts" / "lab" / "compile_once"

# What XML 1.0 cannot hold, such as the escape character of colored output.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Case:
    """One test that ran. `failure` is why it failed; empty means that it passed."""

    name: str
    seconds: float
    failure: str = ""


@dataclass
class Totals:
    """How many tests ran, by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed"


def write_junit(path: Path, suite: str, cases: list[Case]) -> None:
    """Write the cases as one JUnit suite."""
    top = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(
        top,
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(1 for case in cases if case.failure)),
        time=f"{sum(case.seconds for case in cases):.3f}",
    )
    for case in cases:
        child = ElementTree.SubElement(element, "testcase", classname=suite, name=case.name, time=f"{case.seconds:.3f}")
        if case.failure:
            ElementTree.SubElement(child, "failure", message="failed").text = NOT_XML.sub("", case.failure)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def read_junit(path: Path) -> Totals:
    """Count the cases of one JUnit file. A file that is cut short counts as one failure: whatever wrote it died."""
    try:
        top = ElementTree.parse(path).getroot()  # noqa: S314  (written by our own test run)
    except ElementTree.ParseError:
        return Totals(failed=1)
    totals = Totals()
    for case in top.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            totals.failed += 1
        elif case.find("skipped") is not None:
            totals.skipped += 1
        else:
            totals.passed += 1
    return totals


def failures(folder: Path) -> list[tuple[str, str]]:
    """Give the name and the complaint of every failed case in a folder of JUnit files and below it."""
    found = []
    for path in sorted(folder.rglob("*.xml")):
        try:
            top = ElementTree.parse(path).getroot()  # noqa: S314  (written by our own test run)
        except ElementTree.ParseError:
            found.append((path.stem, "its results were cut short"))
            continue
        for case in top.iter("testcase"):
            for kind in ("failure", "error"):
                told = case.find(kind)
                if told is not None:
                    name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
                    found.append((name, told.text or told.get("message") or ""))
    return found


def total(folder: Path) -> Totals:
    """Sum every JUnit file in a folder and below it."""
    totals = Totals()
    for path in sorted(folder.rglob("*.xml")):
        totals += read_junit(path)
    return totals


def duration(seconds: float) -> str:
    """Say how long something took, for a person."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def compiling_once() -> dict[str, str]:
    """Return the environment in which Python compiles the sources of Ansible's modules once, not for each task."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(COMPILE_ONCE), os.environ.get("PYTHONPATH"))))}


def run_logged(argv: list[str], log: Path, limit: float, env: dict[str, str], show: bool) -> tuple[int, float]:
    """Run a program with its output in `log`, and on the terminal as well when `show`.

    Returns its exit status and the seconds. It has no standard input. Past `limit` seconds its whole process group is
    ended, and the status is 124.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with log.open("rb") as shown:
                while True:
                    ended = process.poll()
                    if show:
                        sys.stdout.buffer.write(shown.read())
                        sys.stdout.flush()
                    if ended is not None:
                        return ended, time.monotonic() - started
                    if time.monotonic() - started > limit:
                        out.write(f"\nended after the limit of {duration(limit)}\n".encode())
                        return 124, time.monotonic() - started
                    time.sleep(0.1)
        finally:
            if process.poll() is None:
                end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its own group, and all that it left behind: first politely, then for good."""
    for how, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)


def complaint(log: Path) -> str:
    """Give the task of an Ansible run that failed last, with what it said; the end of the log when none did.

    A failure that the play ignored is none.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    tasks = re.split(r"(?m)^(?=(?:TASK|PLAY RECAP|RUNNING HANDLER) )", text)
    failed = [task for task in tasks if re.search(r"(?m)^(fatal|failed): ", task) and "...ignoring" not in task]
    return failed[-1].strip() if failed else tail(log, 15)


def tail(log: Path, lines: int = 60) -> str:
    """Give the end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
