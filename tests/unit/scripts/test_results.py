# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

import results

PYTEST_XML = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4">
<testcase name="a"/><testcase name="b"><failure message="no"/></testcase>
<testcase name="c"><error message="no"/></testcase><testcase name="d"><skipped message="why"/></testcase>
</testsuite></testsuites>
"""


def test_sum_over_folders(tmp_path: Path) -> None:
    results.write_junit(tmp_path / "a" / "one.xml", "one", [results.Case("x", 1.0), results.Case("y", 2.0, "broke")])
    (tmp_path / "two.xml").write_text(PYTEST_XML, encoding="utf-8")
    counts = results.total(tmp_path)
    assert counts == results.Totals(passed=2, failed=3, skipped=1)
    assert str(counts) == "2 passed, 3 failed"


def test_nothing_ran(tmp_path: Path) -> None:
    assert str(results.total(tmp_path / "absent")) == "0 passed, 0 failed"


def test_a_result_cut_short_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "cut.xml").write_text(PYTEST_XML[:150], encoding="utf-8")
    assert results.total(tmp_path) == results.Totals(failed=1)


def test_output_that_xml_cannot_hold(tmp_path: Path) -> None:
    results.write_junit(tmp_path / "one.xml", "one", [results.Case("x", 1.0, "\x1b[31mred\x00 <&>")])
    assert results.total(tmp_path) == results.Totals(failed=1)
    assert "[31mred &lt;&amp;&gt;" in (tmp_path / "one.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.4, "59.4 s"), (61, "1 min 01 s"), (600, "10 min 00 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert results.duration(seconds) == text


def test_output_goes_to_the_log(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = tmp_path / "deep" / "x.log"
    code = "import os, sys; print(os.environ['WORD'], sys.stdin.read() == ''); sys.exit(3)"
    status, seconds = results.run_logged([sys.executable, "-c", code], log, 30, {"WORD": "hello"}, show=False)
    assert (status, log.read_text(encoding="utf-8")) == (3, "hello True\n")
    assert 0 < seconds < 30
    assert capfdbinary.readouterr().out == b""


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    code = "import subprocess, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    status, _seconds = results.run_logged([sys.executable, "-c", code], log, 1.5, {}, show=False)
    assert status == 124
    first, *rest = log.read_text(encoding="utf-8").splitlines()
    assert rest == ["", "ended after the limit of 1.5 s"]
    assert is_gone(int(first))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    for _attempt in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(str(number) for number in range(100)), encoding="utf-8")
    assert results.tail(log, 2) == "98\n99"


def test_failures_are_told_by_name(tmp_path: Path) -> None:
    cases = [results.Case("x", 1.0), results.Case("y", 2.0, "port taken")]
    results.write_junit(tmp_path / "one.xml", "molecule", cases)
    (tmp_path / "two.xml").write_text(PYTEST_XML, encoding="utf-8")
    (tmp_path / "zut.xml").write_text(PYTEST_XML[:150], encoding="utf-8")
    assert results.failures(tmp_path) == [
        ("molecule.y", "port taken"),
        ("b", "no"),
        ("c", "no"),
        ("zut", "its results were cut short"),
    ]


PLAY = """\
TASK [Look] ********
fatal: [localhost]: FAILED! => {"msg": "expected"}
...ignoring

TASK [Start] *******
fatal: [localhost]: FAILED! => {"msg": "port 18005 is taken"}

TASK [Clean up] ****
ok: [localhost]

PLAY RECAP *********
localhost : ok=2 failed=1
"""


def test_a_play_complains_of_the_task_that_failed(tmp_path: Path) -> None:
    log = tmp_path / "play.log"
    log.write_text(PLAY, encoding="utf-8")
    told = results.complaint(log)
    assert told.startswith("TASK [Start]")
    assert told.endswith('"port 18005 is taken"}')


def test_a_log_without_failed_task_complains_with_its_end(tmp_path: Path) -> None:
    log = tmp_path / "other.log"
    log.write_text("\n".join(str(number) for number in range(40)), encoding="utf-8")
    assert results.complaint(log).splitlines()[-1] == "39"
    assert len(results.complaint(log).splitlines()) == 15
