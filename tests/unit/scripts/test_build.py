# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

import build
import mirror

SOUND = [
    ("MANIFEST.json", 100),
    ("FILES.json", 100),
    ("README.md", 100),
    ("COPYING", 35000),
    ("meta/runtime.yml", 100),
    ("playbooks/site.yml", 100),
    ("plugins/modules/x.py", 100),
    ("roles/x/tasks/main.yml", 100),
]


def test_sound_archive() -> None:
    assert build.problems_of(SOUND) == []


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("tests/unit/x.py", 1, "tests is not for users: add it to build_ignore in galaxy.yml"),
        (".ansible-lint", 1, ".ansible-lint is not for users: add it to build_ignore in galaxy.yml"),
        (
            "plugins/modules/__pycache__/x.pyc",
            1,
            "plugins/modules/__pycache__/x.pyc is a file of a tool, not of the collection",
        ),
        ("docs/a.png", 300_001, "docs/a.png has 300001 bytes, more than the 300000 that any one file may have"),
    ],
)
def test_too_much(name: str, size: int, problem: str) -> None:
    assert build.problems_of([*SOUND, (name, size)]) == [problem]


def test_too_little() -> None:
    assert build.problems_of(SOUND[1:]) == ["MANIFEST.json is missing"]


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(
        build.BuildError, match=r"(?s)^ansible-galaxy collection build failed with status \d+:\n.*galaxy.yml"
    ):
        build.run(["ansible-galaxy", "collection", "build"], tmp_path)


def test_mirror_follows_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "plugins").mkdir(parents=True)
    (source / "a.txt").write_text("one", encoding="utf-8")
    (source / "plugins" / "b.py").write_text("two", encoding="utf-8")
    (source / "run").write_text("three", encoding="utf-8")
    monkeypatch.setattr(mirror, "ROOT", source)

    mirror.mirror(["a.txt", "plugins/b.py", "run"], target)
    (target / "tests" / "output").mkdir(parents=True)
    (target / "tests" / "output" / "kept").touch()
    before = (target / "a.txt").stat().st_mtime_ns
    (source / "run").chmod(0o755)
    mirror.mirror(["a.txt", "run"], target)

    held = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert held == {"a.txt", "run", "tests/output/kept"}
    assert not (target / "plugins").exists()
    assert (target / "run").stat().st_mode & 0o111
    assert (target / "a.txt").stat().st_mtime_ns == before


def test_only_tracked_files_are_mirrored() -> None:
    names = mirror.tracked_files()
    assert "galaxy.yml" in names
    assert not [name for name in names if name.startswith((".collections/", ".venv/", ".cache/"))]
