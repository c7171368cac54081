# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two processes that want different versions of one container, the second at random moments of the first."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

# An engine whose containers are files, so that processes share it. Every step takes a little time.
PROGRAM = textwrap.dedent(
    """
    import json, os, sys, time
    from pathlib import Path
    from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _life, _lock

    folder, version = Path(sys.argv[1]), sys.argv[2]

    class Engine:
        def inspect(self, name):
            try:
                return json.loads((folder / name).read_text())
            except FileNotFoundError:
                return None

        def containers(self, stopped=False, labels=()):
            return []

        def _write(self, name, container):
            time.sleep(0.01)
            (folder / "new").write_text(json.dumps(container))
            os.replace(folder / "new", folder / name)

        def create(self, name, body):
            assert not (folder / name).exists(), "Conflict"
            self._write(name, {"Config": body, "HostConfig": {}, "State": {"Running": False}})

        def _set(self, name, running):
            container = json.loads((folder / name).read_text())
            container["State"]["Running"] = running
            self._write(name, container)

        def start(self, name):
            self._set(name, True)

        def stop(self, name, seconds):
            self._set(name, False)

        def rename(self, name, new_name):
            time.sleep(0.01)
            assert not (folder / new_name).exists(), "Conflict"
            os.rename(folder / name, folder / new_name)

        def remove(self, name):
            time.sleep(0.01)
            (folder / name).unlink() if (folder / name).exists() else None

        def set_restart_policy(self, name, policy):
            time.sleep(0.01)

    class Hooks(_life.Hooks):
        def body(self):
            return {"Image": version}

        def prove(self, container, put_back):
            time.sleep(0.05)
            return {}

    def compare(container):
        now = container["Config"]["Image"]
        return [] if now == version else [_life.Change("image", now, version)]

    engine = Engine()
    with _lock.hold("server", "a", version, directory=str(folder / "run" / "locks"), sleep=lambda s: time.sleep(0.01)):
        found = _life.look(engine, "a", lambda container: True)
        _life.Life(engine, "a", Hooks()).carry_out(_life.plan("started", found, compare), found)
    """
)


def begin(folder: pathlib.Path, version: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", PROGRAM, str(folder), version]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("killed", [False, True])
def test_one_of_two_declared_versions_serves_at_the_end(tmp_path: pathlib.Path, killed: bool) -> None:
    chance = random.Random()
    (tmp_path / "run").mkdir()
    for number in range(10):
        wanted = (f"first {number}", f"second {number}")
        first = begin(tmp_path, wanted[0])
        moment = chance.uniform(0.0, 0.4)
        time.sleep(moment)
        if killed:
            first.send_signal(signal.SIGKILL)
        second = begin(tmp_path, wanted[1])
        errors = [process.communicate(timeout=60)[1] for process in (first, second)]
        told = f"round {number} at {moment:.3f} s: {errors}"
        assert second.returncode == 0, told
        assert killed or first.returncode == 0, told
        container = json.loads((tmp_path / "a").read_text(encoding="utf-8"))
        assert container["State"]["Running"], told
        # One that was killed is never last: the second came after it.
        assert container["Config"]["Image"] in (wanted[1:] if killed else wanted), told
        assert not (tmp_path / "a.previous").exists(), told
        assert os.listdir(tmp_path / "run" / "locks") == [] or killed
