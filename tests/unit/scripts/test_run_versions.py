# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import glob
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import run_versions


def runtime(root: Path, requires: str) -> Path:
    (root / "meta").mkdir()
    (root / "meta" / "runtime.yml").write_text(f'requires_ansible: "{requires}"\n', encoding="utf-8")
    return root


def test_the_matrix_follows_from_what_the_collection_asks_for(tmp_path: Path) -> None:
    found = run_versions.matrix(runtime(tmp_path, ">=2.20.0"))
    assert [(one["core"], one["python"]) for one in found] == [
        ("2.20", "3.12"),
        ("2.20", "3.14"),
        ("2.21", "3.12"),
        ("2.21", "3.14"),
    ]


def test_a_release_that_nobody_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"requires_ansible is >=2\.22\.0; add that release to"):
        run_versions.oldest_allowed(runtime(tmp_path, ">=2.22.0"))


@pytest.mark.parametrize(
    ("pythons", "core", "python", "expected"),
    [
        (["3.11"], None, None, ("2.19", "3.11")),
        (["3.8", "3.11", "3.12", "3.13"], None, None, ("2.21", "3.13")),
        (["3.11", "3.12"], "2.20", None, ("2.20", "3.12")),
        (["3.11", "3.12"], "2.19", "3.11", ("2.19", "3.11")),
        (["3.11"], "2.21", None, None),
        (["3.8"], None, None, None),
    ],
)
def test_the_newest_controller_that_fits(
    pythons: list[str], core: str | None, python: str | None, expected: tuple[str, str] | None
) -> None:
    assert run_versions.newest_core(dict.fromkeys(pythons, "python"), core, python) == expected


def test_what_is_needed_is_pinned_with_the_other_tools() -> None:
    names = [line.partition("==")[0] for line in run_versions.pins("pytest")]
    assert names[0] == "pytest"
    # All that modules import on hosts comes with it.
    assert {"docker", "modelscope-hub", "requests"} <= set(names)
    assert "ansible" not in names


def test_the_python_of_the_tools_is_always_found() -> None:
    assert f"{run_versions.sys.version_info[0]}.{run_versions.sys.version_info[1]}" in run_versions.find_pythons()


def test_two_that_want_one_environment_do_not_make_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_versions, "CACHE", tmp_path)
    monkeypatch.setattr(run_versions, "pip", lambda *_arguments: time.sleep(0.2))
    made = []

    def make(argv: list[str], **_options: object) -> None:
        made.append(argv[-1])
        Path(argv[-1]).mkdir()

    monkeypatch.setattr(run_versions.subprocess, "run", make)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _n: run_versions.core_environment("2.21", "3.13", "python3.13"), range(2)))
    assert made == [str(folders[0])]
    assert folders[0] == folders[1]


def test_what_is_left_out_is_there() -> None:
    patterns = (*run_versions.LONG_TESTS, *run_versions.PROGRAM_TESTS, *run_versions.LAB_TESTS)
    for pattern, option in zip(patterns, run_versions.left_out(patterns), strict=True):
        assert glob.glob(option.partition("=")[2]), pattern
