# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import results
import run_integration
import run_molecule
import run_sanity
import run_stages

MAKEFILE = """\
sanity:
\t@echo sane; echo odd >&2
good:
\t@echo fine
bad:
\t@echo broken; exit 3
counted:
\t@mkdir -p {results} && echo '<testsuites><testcase name="a"/><testcase name="b"><failure/></testcase></testsuites>' \
> {results}/counted.xml; exit 1
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the runners at an empty checkout."""
    kept, artifacts = tmp_path / ".cache" / "results", tmp_path / ".cache" / "artifacts"
    for module in (results, run_integration, run_molecule, run_stages):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "RESULTS", kept)
    for module in (run_integration, run_molecule, run_stages):
        monkeypatch.setattr(module, "ARTIFACTS", artifacts)
    monkeypatch.setattr(run_integration, "TARGETS", tmp_path / "targets")
    monkeypatch.setattr(run_molecule, "SCENARIOS", tmp_path / "molecule")
    (tmp_path / "Makefile").write_text(MAKEFILE.format(results=kept), encoding="utf-8")
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def with_arguments(monkeypatch: pytest.MonkeyPatch, main: Callable[[], int], *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    return main()


def test_targets_are_folders_with_tasks(checkout: Path) -> None:
    for name in ("b", "a", "setup_server"):
        touch(checkout / "targets" / name / "tasks" / "main.yml")
    touch(checkout / "targets" / "c" / "files" / "x")
    assert run_integration.find_targets(checkout / "targets") == ["a", "b"]


def test_scenarios_share_a_folder_that_is_none(checkout: Path) -> None:
    for name in ("site", "open_webui", "shared"):
        touch(checkout / "molecule" / name / "molecule.yml")
    touch(checkout / "molecule" / "resources" / "x.yml")
    assert run_molecule.find_scenarios(checkout / "molecule") == ["open_webui", "site"]


def fake_tool(checkout: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the runners find a program of ours in place of the real one."""
    tool = checkout / "tool"
    tool.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: str(tool))


def test_integration_runs_all_and_counts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "poor", "sound"):
        touch(checkout / "targets" / name / "tasks" / "main.yml")
    fake_tool(checkout, monkeypatch, 'echo "$@ $PYTHONPATH"; case "$*" in *target=poor) echo why not; exit 2;; esac')
    assert with_arguments(monkeypatch, run_integration.main) == 1
    said = capsys.readouterr().out
    assert "FAILED poor" in said
    assert "why not" in said
    assert "its log: .cache/artifacts/integration/poor.log; to run it again: make integration T=poor" in said
    assert said.endswith("integration: 2 of 3 targets passed\n")
    assert results.total(checkout / ".cache" / "results") == results.Totals(passed=2, failed=1)
    log = (checkout / ".cache/artifacts/integration/good.log").read_text(encoding="utf-8")
    assert f"--extra-vars target=good {results.COMPILE_ONCE}" in log


def test_molecule_starts_none_after_one_that_failed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c", "d"):
        touch(checkout / "molecule" / name / "molecule.yml")
    # b fails while a still runs beside it, so that c is not started.
    monkeypatch.setattr(run_molecule, "AT_ONCE", 2)
    fake_tool(
        checkout, monkeypatch, 'echo "$@ $PYTEST_ADDOPTS $PYTHONPATH"; case "$*" in *b) exit 1;; *a) sleep 2;; esac'
    )
    assert with_arguments(monkeypatch, run_molecule.main) == 1
    said = capsys.readouterr().out
    assert "scenario b failed; its log: .cache/artifacts/molecule/b.log; to run it again: make molecule S=b" in said
    assert said.endswith("molecule: 1 of 4 scenarios passed\n")
    assert results.total(checkout / ".cache" / "results") == results.Totals(passed=1, failed=1)
    log = (checkout / ".cache/artifacts/molecule/a.log").read_text(encoding="utf-8")
    assert log.startswith("test --scenario-name a --junitxml=")
    assert f" {results.COMPILE_ONCE}" in log


def test_the_scenario_that_needs_a_gpu_runs_only_when_it_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "gpu"):
        touch(checkout / "molecule" / name / "molecule.yml")
    fake_tool(checkout, monkeypatch, 'echo "$@"')
    assert with_arguments(monkeypatch, run_molecule.main) == 0
    assert capsys.readouterr().out.endswith("molecule: 1 of 1 scenarios passed\n")
    assert with_arguments(monkeypatch, run_molecule.main, "gpu") == 0
    assert "ok     gpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "text"),
    [
        (run_integration.main, "no such integration target: nope; there are: a"),
        (run_molecule.main, "no such scenario: nope; there are: a"),
    ],
)
def test_unknown_name(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], int],
    text: str,
) -> None:
    touch(checkout / "targets" / "a" / "tasks" / "main.yml")
    touch(checkout / "molecule" / "a" / "molecule.yml")
    assert with_arguments(monkeypatch, main, "nope") == 2
    assert capsys.readouterr().err == f"{text}\n"


def test_stages_run_on_and_all_failures_count(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    touch(checkout / ".cache" / "results" / "old.xml")
    assert with_arguments(monkeypatch, run_stages.main, "bad", "good", "counted") == 1
    said = capfd.readouterr().out
    assert "== bad: FAILED in " in said
    assert "== good: passed in " in said
    # The stage without tests of its own counts as one failure, the other by what its tests said.
    assert re.fullmatch(
        r"on \d+ processors \(.+, with(out)? AMX\), \d+ GiB: 1 passed, 2 failed, 0 skipped", said.splitlines()[-1]
    )
    assert with_arguments(monkeypatch, run_stages.main, "--sum") == 0
    assert capfd.readouterr().out == "1 passed, 2 failed\n"


def test_the_machine_is_told() -> None:
    intel = "processor\t: 0\nmodel name\t: Xeon\nflags\t: fpu amx_tile sse\n\nmodel name\t: Xeon\n"
    assert run_stages.machine(intel, "MemTotal:       16777216 kB\n") == "2 processors (Xeon, with AMX), 16 GiB"
    assert run_stages.machine("", "") == "0 processors (of unknown kind, without AMX), memory of unknown size"


def test_all_stages_pass(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_arguments(monkeypatch, run_stages.main, "good") == 0


def test_what_runs_beside_is_told_in_its_turn(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_arguments(monkeypatch, run_stages.main, "good", "sanity") == 0
    told = capsys.readouterr().out
    before, _sanity, its_turn = told.partition("== sanity\n")
    assert "== good: passed in" in before
    # It may still be under way then.
    log = ".cache/artifacts/stages/sanity.log"
    told = its_turn.removeprefix(f"under way since the beginning; its log: {log}\n")
    assert told.startswith("sane\nodd\n== sanity: passed in")


def test_pip_configuration_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CERT", "/etc/own.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example.com/simple")
    path = tmp_path / "pip" / "pip.conf"
    run_sanity.write_pip_configuration(sys.executable, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "[global]"
    assert {"cert = /etc/own.pem", "index-url = https://index.example.com/simple"} <= set(lines)


def test_the_longest_scenarios_are_started_first() -> None:
    assert run_molecule.longest_first(["a", "gateway", "site", "z"]) == ["gateway", "site", "a", "z"]


@pytest.mark.parametrize(("gib", "scenarios"), [(1, 1), (7, 1), (11, 2), (16, 3), (500, 100)])
def test_a_small_machine_has_room_for_fewer_scenarios(gib: int, scenarios: int) -> None:
    assert run_molecule.room(gib * 2**18, 4096) == scenarios


@pytest.mark.parametrize(
    ("name", "running", "most", "begins"),
    [
        ("a", [], 1, True),
        ("a", ["b"], 1, False),
        ("a", ["b"], 3, True),
        ("a", ["b", "c"], 3, False),
        ("a", ["watch", "b"], 3, True),
        ("a", ["watch", "b"], 2, False),
        ("watch", ["a", "b"], 3, True),
        ("watch", ["a", "b"], 2, False),
    ],
)
def test_the_scenario_that_waits_runs_beside_the_others(name: str, running: list[str], most: int, begins: bool) -> None:
    assert run_molecule.may_begin(name, running, most) is begins
