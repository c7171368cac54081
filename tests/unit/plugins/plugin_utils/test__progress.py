# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.private_llm.fleet.plugins.module_utils import _progress as _module_progress
from ansible_collections.private_llm.fleet.plugins.plugin_utils import _progress


def state(text: str, done: int | None = None, total: int | None = None, at: float = 0.0) -> dict[str, t.Any]:
    return {"text": text, "done": done, "total": total, "at": at}


def test_a_state_without_bytes_is_its_text() -> None:
    assert _progress.describe(state("compiling"), state("compiling")) == "compiling"


def test_rate_and_time_left_follow_from_the_first_state() -> None:
    first = state("download", 1_000_000_000, 10_000_000_000, at=100)
    now = state("download", 2_000_000_000, 10_000_000_000, at=110)
    assert _progress.describe(now, first) == "download, 20 %, 2.0 GB of 10.0 GB, 100.0 MB/s, 1 min 20 s left"


def test_the_reporter_shows_new_texts_at_once_and_numbers_now_and_then() -> None:
    shown: list[str] = []
    reporter = _progress.Reporter(shown.append, interval=5)
    for moment, seen in enumerate(
        [
            state("listing"),
            state("listing"),
            state("download", 0, 100, at=1),
            state("download", 10, 100, at=3),
            state("verify", 100, 100, at=4),
        ]
    ):
        reporter.see(seen, now=float(moment))
    reporter.see(state("verify", 100, 100, at=20), now=20.0)
    assert [line.split(",")[0] for line in shown] == ["listing", "download", "verify", "verify"]


@pytest.mark.parametrize(
    ("text", "expected"), [("", {}), ('{"a"', {}), ("[1]", {}), ('{"text": "x"}', {"text": "x"}), ("{}\n", {})]
)
def test_half_written_files_are_nothing(text: str, expected: dict[str, str]) -> None:
    assert _progress._parsed(text) == expected


class Line(_progress.ProgressAction):
    """An action whose connection gives these answers, one by one; None is a line that is down."""

    KIND = "model_snapshot"
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {"root": "/srv/models", "repo": ""}

    def __init__(self, *answers: str | None) -> None:
        self._task = SimpleNamespace(args={"repo": "acme/tiny"})
        self._connection = SimpleNamespace(reset=lambda: self.happened.append("reset"))
        self.answers = list(answers)
        self.happened: list[str] = []

    def _low_level_execute_command(self, cmd: str, **unused: t.Any) -> dict[str, t.Any]:
        self.happened.append("asked")
        answer = self.answers.pop(0)
        if answer is None:
            raise AnsibleConnectionFailure("gone")
        return {"stdout": answer}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(_progress, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))


RUNNING = '{"started": 1}\n{"text": "downloading acme/tiny", "done": 1, "total": 4, "at": 5}'


@pytest.mark.usefixtures("clock")
def test_a_line_that_drops_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(_progress.display, "display", shown.append)
    line = Line(RUNNING, None, None, RUNNING, '{"changed": true}\n')
    line._wait({"results_file": "/root/.ansible_async/1"}, {"inventory_hostname": "gpu-1"})
    assert line.happened == ["asked", "asked", "reset", "asked", "reset", "asked", "asked"]
    assert shown == ["  gpu-1: downloading acme/tiny, 25 %, 1 B of 4 B"]


@pytest.mark.usefixtures("clock")
def test_a_line_that_stays_down_is_given_up() -> None:
    line = Line(*[None] * 1000)
    with pytest.raises(AnsibleConnectionFailure):
        line._wait({"results_file": "/root/.ansible_async/1"}, {})
    assert _progress.LOST_CONNECTION_LIMIT / _progress.LONGEST_POLL <= line.happened.count("asked") < 1000


class Job(Line):
    """An action whose module is at work on the host: what the shell there would do is done here."""

    def __init__(self, results: pathlib.Path) -> None:
        super().__init__()
        self._task = SimpleNamespace(
            args={"repo": "acme/tiny"}, check_mode=False, async_val=0, environment=[{"DOCKER_HOST": "unix:///x"}]
        )
        self.results = results
        self.commands: list[str] = []
        self.seen: list[dict[str, str]] = []

    def _execute_module(self, **given: t.Any) -> dict[str, t.Any]:
        if given.get("module_name"):
            return {"changed": True, "finished": 1}
        self.seen = list(self._task.environment)
        return {"ansible_job_id": "j1.2", "results_file": str(self.results)}

    def _low_level_execute_command(self, cmd: str, **unused: t.Any) -> dict[str, t.Any]:
        self.commands.append(cmd)
        return {"stdout": subprocess.run(["/bin/sh", "-c", cmd], capture_output=True, text=True, check=False).stdout}

    def get_shell_option(self, option: str, default: t.Any = None) -> t.Any:
        return default


@pytest.fixture
def jobs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "jobs"
    monkeypatch.setattr(_progress, "JOBS", str(folder))
    return folder


@pytest.mark.usefixtures("clock")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root notes its jobs")
def test_what_a_run_left_behind_whose_controller_went_away_is_swept(
    tmp_path: pathlib.Path, jobs: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    jobs.mkdir(mode=0o700)
    hour_ago = time.time() - 3600
    kept, gone = {}, {}
    for name, text, old, where in (
        ("ended", '{"changed": true}', True, gone),
        ("ended-just-now", '{"changed": true}', False, kept),
        ("at-work", '{"started": 1}', True, kept),
    ):
        where[name] = tmp_path / f"result-{name}"
        where[name].write_text(text, encoding="utf-8")
        (jobs / name).write_text(f"{where[name]}\n", encoding="utf-8")
        if old:
            os.utime(where[name], (hour_ago, hour_ago))
    (jobs / "of-a-result-that-was-fetched").write_text(str(tmp_path / "nothing"), encoding="utf-8")
    results = tmp_path / "result-of-this-run"
    results.write_text('{"changed": true}', encoding="utf-8")
    job = Job(results)
    assert job.run(task_vars={"inventory_hostname": "gpu-1"}) == {"changed": True}
    assert all(path.exists() for path in kept.values())
    assert not any(path.exists() for path in gone.values())
    assert sorted(path.name for path in jobs.iterdir()) == ["at-work", "ended-just-now"]
    assert not results.exists()
    # The job's own environment stays, and each run reports into a file of its own.
    assert job.seen[0] == {"DOCKER_HOST": "unix:///x"}
    run = job.seen[1][_progress.RUN_VARIABLE]
    assert any(_progress.progress_path("model_snapshot", "/srv/models/acme/tiny", run) in cmd for cmd in job.commands)


class Looking(Job):
    """An action that looks in check mode first, and finds this."""

    LOOKS = True

    def __init__(self, results: pathlib.Path, found: dict[str, t.Any]) -> None:
        super().__init__(results)
        self.found = found
        self.modes: list[bool] = []

    def _execute_module(self, **given: t.Any) -> dict[str, t.Any]:
        self.modes.append(self._task.check_mode)
        return self.found if self._task.check_mode else super()._execute_module(**given)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("found", "modes"),
    [
        ({"changed": False, "settled": True}, [True]),
        ({"changed": False, "settled": False}, [True, False, False]),
        ({"failed": True, "settled": True}, [True, False, False]),
    ],
)
def test_no_job_is_made_where_check_mode_finds_nothing_to_do(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, t.Any], modes: list[bool]
) -> None:
    monkeypatch.setattr(_progress.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    monkeypatch.setattr(_progress, "JOBS", str(tmp_path / "jobs"))
    (tmp_path / "result").write_text('{"changed": true}', encoding="utf-8")
    action = Looking(tmp_path / "result", found)
    assert action.run(task_vars={}) == (found if modes == [True] else {"changed": True})
    assert action.modes == modes
    assert action._task.check_mode is False


def test_two_runs_on_one_thing_report_into_two_files() -> None:
    paths = {_progress.progress_path("vllm_server", "alpha", run) for run in ("", "one", "two")}
    assert len(paths) == 3


def test_progress_of_runs_that_were_killed_is_swept(tmp_path: pathlib.Path) -> None:
    (tmp_path / "old.json").write_text("{}", encoding="utf-8")
    (tmp_path / "new.json").write_text("{}", encoding="utf-8")
    days_ago = time.time() - 3 * 24 * 3600
    os.utime(tmp_path / "old.json", (days_ago, days_ago))
    _module_progress.sweep(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]
