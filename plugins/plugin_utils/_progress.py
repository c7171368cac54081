# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a long module in the background on its host and show on the terminal what it is doing.

The module goes on when the connection drops, as Ansible's own ``async`` does; this side asks again until it answers.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import sys
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils import _units
from ..module_utils._progress import RUN_VARIABLE, progress_path

JOB_LIMIT = 7 * 24 * 3600  # seconds; the modules have time-outs of their own, this only ends what nobody waits for
FIRST_POLL = 0.3  # seconds; a run that changes nothing should not wait
LONGEST_POLL = 3.0
LOST_CONNECTION_LIMIT = 600  # seconds without an answer from the host before the play gives up
TERMINAL_INTERVAL = 5.0  # seconds between two lines that differ only in their numbers
LOG_INTERVAL = 60.0

# Where a job notes its result file, so that a later run finds what is left of a job whose controller went away. Only
# root can write there; for others nothing is noted, and nothing is swept.
JOBS = "/run/private_llm/jobs"
# A controller that is there fetches a result within seconds, one that lost its connection within ten minutes. A job
# that has not ended has "started" in its file; one that was killed keeps that for ever.
_SWEEP = """( [ "$(id -u)" = 0 ] || exit 0
mkdir -p -m 755 /run/private_llm && mkdir -p -m 700 {jobs} && [ ! -L {jobs} ] && cd {jobs} || exit 0
for note in *; do
  [ -f "$note" ] || continue
  path=$(cat "$note")
  if [ ! -f "$path" ]; then rm -f "$note"
  elif [ -n "$(find "$path" -mmin +10080)" ]; then rm -f "$path" "$note"
  elif [ -n "$(find "$path" -mmin +20)" ] && ! grep -q '"started"' "$path"; then rm -f "$path" "$note"
  fi
done
umask 077; echo {path} > {note} ) 2>/dev/null; :"""

display = Display()


def describe(state: t.Mapping[str, t.Any], first: t.Mapping[str, t.Any]) -> str:
    """Describe in a line what the module is doing, with the rate since ``first``."""
    line = str(state["text"])
    done, total = state.get("done"), state.get("total")
    if not total or done is None:
        return line
    line += f", {100 * done // total} %, {_units.size(done)} of {_units.size(total)}"
    elapsed = state["at"] - first["at"]
    fetched = done - (first.get("done") or 0)
    if elapsed > 1 and fetched > 0:
        rate = fetched / elapsed
        line += f", {_units.size(rate)}/s, {_units.duration((total - done) / rate)} left"
    return line


class Reporter:
    """Decides which states become lines: every new text, and the same text with other numbers now and then."""

    def __init__(self, show: t.Callable[[str], None], interval: float) -> None:
        self._show = show
        self._interval = interval
        self._first: t.Mapping[str, t.Any] | None = None
        self._text = ""
        self._line = ""
        self._shown_at = 0.0

    def see(self, state: t.Mapping[str, t.Any], now: float) -> None:
        """Take note of ``state`` at the time ``now`` (seconds) and show it when it is due."""
        if self._first is None and state.get("total"):
            self._first = state
        line = describe(state, self._first or state)
        if line == self._line or (state["text"] == self._text and now - self._shown_at < self._interval):
            return
        self._text, self._line, self._shown_at = state["text"], line, now
        self._show(line)


class ProgressAction(ActionBase):
    """Base of the action plugins whose modules report progress; a subclass says what the work is called."""

    _supports_check_mode = True
    _supports_async = True
    TRANSFERS_FILES = False
    KIND = ""
    # Options (with their defaults) whose values, joined by slashes, name the work for the module's progress file.
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {}
    # True runs the module in check mode first, because that costs less than a job that finds nothing to do.
    LOOKS = False

    def works(self) -> dict[str, str]:
        """Return the names of the pieces of work that the module reports on, each with a prefix for its lines."""
        identity = "/".join(str(self._task.args.get(option, default)) for option, default in self.IDENTITY.items())
        return {identity: ""}

    def settles(self, found: t.Mapping[str, t.Any]) -> bool:
        """Return whether what the module found in check mode is also the result of a run. Asked where LOOKS is set."""
        return not found.get("failed") and bool(found.get("settled"))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; in the background with progress, unless nothing will be done or the user polls himself."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if self._task.check_mode or self._task.async_val:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        if self.LOOKS:
            found = self._foretold(task_vars)
            if self.settles(found):
                return {**result, **found}

        run = secrets.token_hex(8)
        self._task.environment = [*_listed(self._task.environment), {RUN_VARIABLE: run}]
        self._task.async_val = JOB_LIMIT
        try:
            job = self._execute_module(task_vars=task_vars, wrap_async=True)
        finally:
            # The executor would wait for the job by itself, in silence.
            self._task.async_val = 0
        if job.get("failed") or not job.get("ansible_job_id"):
            result.update(job)
            return result

        note = f"{JOBS}/{run}"
        with contextlib.suppress(AnsibleConnectionFailure):
            self._low_level_execute_command(_SWEEP.format(jobs=JOBS, note=note, path=shlex.quote(job["results_file"])))
        self._wait(job, task_vars or {}, run)
        result.update(self._ended(job, task_vars))
        # What async_status does to clean up, without starting it.
        self._low_level_execute_command(f"rm -f {shlex.quote(job['results_file'])} {note}")
        for key in ("ansible_job_id", "finished", "started", "results_file"):
            result.pop(key, None)
        return result

    def _foretold(self, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return what the module finds in check mode."""
        self._task.check_mode = True
        try:
            found: dict[str, t.Any] = self._execute_module(task_vars=task_vars)
        finally:
            self._task.check_mode = False
        return found

    def _ended(self, job: t.Mapping[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Return what the module returned."""
        arguments = {
            "jid": job["ansible_job_id"],
            "mode": "status",
            "_async_dir": self.get_shell_option("async_dir", default="~/.ansible_async"),
        }
        status: dict[str, t.Any] = self._execute_module(
            module_name="ansible.legacy.async_status", module_args=arguments, task_vars=task_vars
        )
        return status

    def _wait(self, job: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any], run: str = "") -> None:
        """Return when the job has ended, showing its progress until then."""
        host = task_vars.get("inventory_hostname", "")
        works = self.works()
        reporters = [self._reporter(f"  {host}: {label}") for label in works.values()]
        paths = [job["results_file"], *(progress_path(self.KIND, identity, run) for identity in works)]
        look = " ; ".join(f"cat {shlex.quote(path)}; echo" for path in paths)
        pause, silent_since = FIRST_POLL, 0.0
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL)
            try:
                output = self._low_level_execute_command(f"( {look} ) 2>/dev/null")
            except AnsibleConnectionFailure as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > LOST_CONNECTION_LIMIT:
                    raise
                display.vvv(f"{host}: no answer ({error}); the work goes on there, asking again")
                self._reset_connection()
                continue
            silent_since = 0.0
            results, *progress = output.get("stdout", "").split("\n")
            job_state = _parsed(results)
            if job_state and "started" not in job_state:  # the wrapper has replaced its own note by the module's result
                return
            for reporter, text in zip(reporters, progress, strict=False):
                state = _parsed(text)
                if state:
                    reporter.see(state, time.monotonic())

    @staticmethod
    def _reporter(prefix: str) -> Reporter:
        return Reporter(
            lambda line: display.display(prefix + line), TERMINAL_INTERVAL if sys.stdout.isatty() else LOG_INTERVAL
        )

    def _reset_connection(self) -> None:
        with contextlib.suppress(AttributeError):  # not every connection has something to reset
            self._connection.reset()


def _listed(environment: t.Any) -> list[t.Any]:
    """Return a task's environment as the list that the executor takes."""
    return list(environment) if isinstance(environment, list) else [environment] if environment else []


def _parsed(text: str) -> dict[str, t.Any]:
    """Return the JSON object in ``text``, or an empty one while the file is missing or half-written."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
