# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _definition
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _falls, _main, _program
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._program import (
    ProgramError,
    check_owner,
    install,
    installed,
    sources,
)

ROOMS = pathlib.Path(__file__).resolve().parents[5] / "plugins/module_utils"


def reachable(path: pathlib.Path, found: set[str]) -> set[str]:
    """Return the files that a file imports, and those that they import."""
    name = path.relative_to(ROOMS).as_posix()
    if name in found:
        return found
    found.add(name)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        files = [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else []
        files += [base / f"{one.name}.py" for one in node.names if not files]
        for file in files:
            reachable(file, found)
    return found


def modules() -> dict[str, object]:
    """Return what the module imports, whatever other tests have imported."""
    wanted = reachable(ROOMS / "_watch/_main.py", set()) | reachable(ROOMS / "_watch/_falls.py", set())
    prefix = _program.__name__.rpartition("._watch.")[0]
    names = {f"{prefix}.{name[:-3].replace('/', '.')}" for name in wanted} | {prefix}
    names |= {name.rpartition(".")[0] for name in names if name.startswith(prefix + ".")}
    return {name: module for name, module in sys.modules.items() if name in names}


def test_the_program_is_whole(tmp_path: pathlib.Path) -> None:
    files = sources(modules())
    wanted = reachable(ROOMS / "_watch/_main.py", set()) | reachable(ROOMS / "_watch/_falls.py", set())
    assert {f"private_llm_fleet/{name}" for name in wanted} <= set(files)
    assert {name for name in sources() if name.startswith("private_llm_fleet/_watch/_")} >= {
        "private_llm_fleet/_watch/_falls.py"
    }
    assert files["private_llm_fleet/_watch/_main.py"] == pathlib.Path(_main.__file__ or "").read_text("utf-8")
    assert {_falls.__name__, _definition.__name__} <= set(modules())


def test_it_runs_without_ansible(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "program"
    for path, text in sources(modules()).items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    usage = subprocess.run([sys.executable, "-I", str(root)], capture_output=True, text=True, check=False)
    assert usage.returncode == (1 if not pathlib.Path("/etc/private_llm/server_watch/config.json").exists() else 2)
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import private_llm_fleet._watch._falls;"
        "print([name for name in sys.modules if name.partition('.')[0].startswith('ansible')])"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(loaded.stdout) == []


def test_a_pass_without_a_fall_loads_no_diagnosis(tmp_path: pathlib.Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOMS.parent)!r}); import module_utils._watch._main;"
        "print(len([name for name in sys.modules if 'diagnosis' in name]))"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "0"


def test_it_is_put_in_place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path / "program")
    monkeypatch.setattr(_program, "check_owner", lambda path: None)
    install({"__main__.py": "a", "p/b.py": "b"}, root)
    install({"__main__.py": "a2", "p/c.py": "c"}, root)
    assert installed(root) == {"__main__.py": "a2", "p/c.py": "c"}
    assert oct(os.stat(os.path.join(root, "p")).st_mode & 0o777) == "0o755"


def test_a_folder_that_others_can_write_is_refused(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "program").mkdir(mode=0o755)
    with pytest.raises(ProgramError, match="can be written by others"):
        check_owner(str(folder / "program"))
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(ProgramError, match="is a link"):
        check_owner(str(link))
