# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import results

# Imports a module of the archive named, with the folder named for what is kept, and says how often it compiled.
PROGRAM = """
import sys, sitecustomize
compiled = []
once = sitecustomize.compile_source
sitecustomize.compile_source = lambda *source: compiled.append(source[0]) or once(*source)
sitecustomize.FOLDER, archive = sys.argv[1:]
sys.path.insert(0, archive)
import inside
print(inside.VALUE, len(compiled))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Make an archive with one module, as Ansible brings a module's sources."""
    path = tmp_path / "modules.zip"
    write(path, "VALUE = 1\n")
    return path


def write(path: Path, source: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("inside.py", source)


def run(folder: Path, archive: Path) -> str:
    program = [sys.executable, "-c", PROGRAM, str(folder), str(archive)]
    env = os.environ | results.compiling_once()
    return subprocess.run(program, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_the_same_source_is_compiled_once(tmp_path: Path, archive: Path) -> None:
    kept = tmp_path / "kept"
    assert run(kept, archive) == "1 1"
    assert run(kept, archive) == "1 0"
    assert len(list(kept.iterdir())) == 1


def test_another_source_is_compiled(tmp_path: Path, archive: Path) -> None:
    kept = tmp_path / "kept"
    run(kept, archive)
    write(archive, "VALUE = 2\n")
    assert run(kept, archive) == "2 1"


def test_what_is_kept_damaged_is_compiled_again(tmp_path: Path, archive: Path) -> None:
    kept = tmp_path / "kept"
    run(kept, archive)
    next(kept.iterdir()).write_bytes(b"")
    assert run(kept, archive) == "1 1"
    assert run(kept, archive) == "1 0"


def test_without_a_folder_nothing_is_kept(tmp_path: Path, archive: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    # Python itself asks twice: for the name of the file, and for its code.
    assert run(blocked / "kept", archive) == "1 2"


def test_the_path_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/srv/own")
    assert results.compiling_once() == {"PYTHONPATH": f"{results.COMPILE_ONCE}{os.pathsep}/srv/own"}


def test_cycles_of_objects_are_looked_for_rarely() -> None:
    env = os.environ | results.compiling_once()
    program = [sys.executable, "-c", "import gc; print(gc.get_threshold()[0] >= 100_000, gc.isenabled())"]
    assert subprocess.run(program, env=env, capture_output=True, text=True, check=True).stdout == "True True\n"
