# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two runs at once on one host, as after a Ctrl-C and a second start: what is in use is whole, and of one of them."""

from __future__ import annotations

import importlib
import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._fleet_module import FleetModule

RUNS: dict[str, tuple[str, dict[str, t.Any]]] = {
    "gateway_config": (
        "current/haproxy.cfg",
        {"files": {"haproxy.cfg": "# RUN\n"}, "user_keys": {"ann": []}, "socket": "/nowhere/s"},
    ),
    "monitoring_config": ("prometheus.yml", {"files": {"prometheus.yml": "# RUN\n", "only-RUN.yml": "a"}}),
}


def start(module: str, folder: Path, name: str) -> int:
    """Start the module in a process of its own; return its number."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        # Of the programs that judge the files, that of the first run takes its time.
        FleetModule.get_bin_path = lambda self, program, **more: str(folder / name / program)
        os.dup2(os.open(folder / f"{name}.out", os.O_WRONLY | os.O_CREAT), 1)
        options = {
            key: {one.replace("RUN", name): str(text).replace("RUN", name) for one, text in value.items()}
            if key == "files"
            else value
            for key, value in RUNS[module][1].items()
        }
        with patch_module_args({**options, "path": str(folder / "files"), "_ansible_remote_tmp": str(folder / "tmp")}):
            importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.modules.{module}").main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


@pytest.mark.parametrize("module", sorted(RUNS))
def test_the_second_run_waits_for_the_first(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "DIRECTORY", str(tmp_path / "private_llm" / "locks"))
    for name, seconds in (("slow", 1), ("quick", 0)):
        (tmp_path / name).mkdir()
        for program in ("haproxy", "promtool", "amtool"):
            (tmp_path / name / program).write_text(f"#!/bin/sh\n: > {tmp_path}/{name}.asked\n/bin/sleep {seconds}\n")
            (tmp_path / name / program).chmod(0o755)
    slow = start(module, tmp_path, "slow")
    end = time.monotonic() + 20
    while not (tmp_path / "slow.asked").exists() and time.monotonic() < end:
        time.sleep(0.01)
    quick = start(module, tmp_path, "quick")
    ended = {name: os.waitpid(child, 0)[1] for name, child in (("slow", slow), ("quick", quick))}
    assert ended == {"slow": 0, "quick": 0}, [path.read_text() for path in tmp_path.glob("*.out")]
    assert (tmp_path / "files" / RUNS[module][0]).read_text().strip() == "# quick"
    assert not list((tmp_path / "files").rglob("only-slow*"))
