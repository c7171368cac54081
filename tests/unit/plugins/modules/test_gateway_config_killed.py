# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module gateway_config, killed before each of its changes: the next run makes it good."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.modules import gateway_config

CHANGES = ("mkdir", "unlink", "rmdir", "rename", "replace", "symlink", "chmod", "open", "fsync")
CONFIG = "global\n  description @RELEASE@\n# {}\n"


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and the content of each file, and where each link leads."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.readlink(str(path)) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


def run(folder: Path, text: str, keys: t.Mapping[str, list[str]], rotate: t.Sequence[str] = (), die_at: int = 0) -> int:
    """Run the module in a process of its own, which ends before its change number ``die_at``; return its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 99
    try:
        done = 0

        def deadly(function: t.Any) -> t.Any:
            def call(path: t.Any, *rest: t.Any, **more: t.Any) -> t.Any:
                nonlocal done
                reads = function is opened and not (rest and rest[0] & (os.O_WRONLY | os.O_RDWR))
                done += not reads
                if done == die_at and not reads:
                    os._exit(9)
                return function(path, *rest, **more)

            return call

        opened = os.open
        for name in CHANGES:
            setattr(os, name, deadly(getattr(os, name)))
        arguments = {
            "path": str(folder / "gateway"),
            "files": {"haproxy.cfg": CONFIG.format(text), "models.map": f"m {text}\n"},
            "user_keys": dict(keys),
            "rotate": list(rotate),
            "socket": str(folder / "none.sock"),
            "_ansible_remote_tmp": str(folder / "tmp"),
        }
        os.dup2(opened(os.devnull, os.O_WRONLY), 1)
        with patch_module_args(arguments):
            gateway_config.main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setattr(_lock, "DIRECTORY", str(tmp_path / "private_llm" / "locks"))
    monkeypatch.setattr(gateway_config.FleetModule, "get_bin_path", lambda *unused, **more: str(program))
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.mark.parametrize("rotate", [[], ["made"]])
def test_a_run_that_was_killed_is_made_good_by_the_next(folder: Path, rotate: list[str]) -> None:
    keys = {"ann": ["key-of-ann-12345"], "made": []}
    assert run(folder, "old", {**keys, "gone": ["key-of-gone-1234"]}) == 0
    made = (folder / "gateway/keys/made").read_text().split()
    deaths = 0
    for step in range(1, 200):
        status = run(folder, f"new {step}", keys, rotate, step)
        if status == 0:
            break
        deaths += 1
        assert os.WEXITSTATUS(status) == 9
        # Whatever was done: HAProxy has a whole configuration, and no user has lost the key.
        current = folder / "gateway/current"
        assert (current / "models.map").read_text().startswith("m ")
        assert str(current.resolve().name) in (current / "haproxy.cfg").read_text()
        assert run(folder, f"new {step}", keys) == 0
        held = (folder / "gateway/keys/made").read_text().split()
        assert made[0] in held
        assert rotate or held == made
        made = held
        whole = tree(folder / "gateway")
        assert run(folder, f"new {step}", keys) == 0
        assert tree(folder / "gateway") == whole
        assert sorted(name for name in whole if name.startswith("keys/")) == ["keys/ann", "keys/made"]
        assert not [name for name in whole if name.endswith(".new")]
        assert len([name for name in whole if "/" not in name]) == 3
    assert deaths > 10


def test_a_new_key_of_one_user_leaves_the_key_of_another_with_a_longer_name(folder: Path) -> None:
    users: dict[str, list[str]] = {"ann": [], "ann.new": []}
    assert run(folder, "one", users) == 0
    before = (folder / "gateway/keys/ann.new").read_text()
    assert run(folder, "one", users, ["ann"]) == 0
    assert (folder / "gateway/keys/ann.new").read_text() == before
    assert len((folder / "gateway/keys/ann").read_text().split()) == 2
