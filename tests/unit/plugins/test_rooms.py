# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rooms look down only: what runs on hosts never imports what runs on the controller, and no circle joins two rooms."""

from __future__ import annotations

import ast
import graphlib
import typing as t
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"

# The rooms that each folder may look into, besides itself and the single files of module_utils that belong to nobody.
MAY_SEE: dict[str, set[str]] = {
    "module_utils/_engine": set(),
    "module_utils/_firewall": set(),
    "module_utils/_gateway": set(),
    "module_utils/_gpu": set(),
    "module_utils/_hub": set(),
    "module_utils/_packages": set(),
    "module_utils/_dcgm": {"module_utils/_engine"},
    "module_utils/_docker": {"module_utils/_engine"},
    "module_utils/_open_webui": {"module_utils/_engine"},
    "module_utils/_bundle": {"module_utils/_engine", "module_utils/_hub"},
    "module_utils/_vllm/options": set(),
    "module_utils/_vllm/declaration": {"module_utils/_vllm/options"},
    "module_utils/_vllm/container": {"module_utils/_vllm/options", "module_utils/_engine", "module_utils/_gpu"},
    "module_utils/_vllm/api": set(),
    "module_utils/_vllm/diagnosis": {"module_utils/_vllm/options"},
    "module_utils/_vllm/question": {
        "module_utils/_vllm/options",
        "module_utils/_vllm/container",
        "module_utils/_vllm/diagnosis",
        "module_utils/_engine",
    },
    "module_utils/_vllm/lifecycle": {"module_utils"},
    "module_utils/_watch": {"module_utils"},
    "doc_fragments": {"module_utils/_vllm/declaration"},
    "plugin_utils": {"module_utils"},
    "modules": {"module_utils"},
    "filter": {"module_utils", "plugin_utils"},
    "action": {"module_utils", "plugin_utils"},
}


def _room(path: Path) -> str:
    """Name the room of a file: its folder, or, of a single file of module_utils, the file."""
    folder = path.relative_to(PLUGINS).parent.as_posix()
    return next((one for one in sorted(MAY_SEE, key=len, reverse=True) if f"{folder}/".startswith(f"{one}/")), folder)


def _seen(path: Path) -> t.Iterator[Path]:
    """Give the files of this collection that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        if base.with_suffix(".py").is_file():
            yield base.with_suffix(".py")
        else:
            yield from (base / f"{one.name}.py" for one in node.names)


def _arrows() -> list[tuple[Path, Path]]:
    files = [one for one in PLUGINS.rglob("*.py") if one.name != "__init__.py"]
    return [(one, other) for one in files for other in _seen(one)]


ARROWS = _arrows()


def test_every_import_of_our_own_is_relative_and_leads_to_a_file() -> None:
    assert len(ARROWS) > 200
    assert [f"{one} -> {other}" for one, other in ARROWS if not other.is_file()] == []
    files = PLUGINS.rglob("*.py")
    absolute = [one for one in files if "from ansible_collections.private_llm" in one.read_text("utf-8")]
    assert absolute == []


@pytest.mark.parametrize("room", MAY_SEE)
def test_a_room_looks_down_only(room: str) -> None:
    common = "module_utils"
    upwards = [
        f"{one.relative_to(PLUGINS)} -> {other.relative_to(PLUGINS)}"
        for one, other in ARROWS
        if _room(one) == room != _room(other) != common
        and not any(f"{_room(other)}/".startswith(f"{seen}/") for seen in MAY_SEE[room])
    ]
    assert upwards == []


def test_no_circle_of_imports() -> None:
    graph: dict[Path, set[Path]] = {}
    for one, other in ARROWS:
        graph.setdefault(one, set()).add(other)
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_every_room_has_its_row() -> None:
    rooms = {one.relative_to(PLUGINS).parent.as_posix() for one, _other in ARROWS} - {"module_utils"}
    assert [one for one in sorted(rooms) if not any(f"{one}/".startswith(f"{row}/") for row in MAY_SEE)] == []


def test_tests_of_what_runs_on_hosts_import_nothing_of_the_controller() -> None:
    tests = Path(__file__).parent
    files = [one for folder in ("module_utils", "modules") for one in (tests / folder).rglob("test_*.py")]
    assert len(files) > 100
    wrong = [one.name for one in files if ".plugins.plugin_utils" in one.read_text("utf-8")]
    assert wrong == [], "they run on every Python of hosts, where Ansible is not installed"
