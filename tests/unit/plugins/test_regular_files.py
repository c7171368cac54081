# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What reads a file of a host opens it by `regular`, because a pipe in its place would keep the reader waiting."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"

# They read files of the kernel, or files that this run has made where nobody else writes.
OTHERS = {
    "module_utils/_docker/_dockerd.py",
    "module_utils/_docker/_stale_ports.py",
    "module_utils/_engine/_maker.py",
    "module_utils/_gpu/_look.py",
    "module_utils/_hub/_mounts.py",
    "module_utils/_open_webui/_tree.py",
    "module_utils/_ports.py",
    "module_utils/_vllm/container/_host.py",
    "module_utils/_vllm/container/_network.py",
    "module_utils/_vllm/diagnosis/_deaths.py",
    "module_utils/_watch/_ties.py",
    "modules/host_firewall.py",
    "plugin_utils/_answers.py",
    "module_utils/_run.py",
    # A descriptor that was checked when it was opened.
    "module_utils/_hub/_spread/_server.py",
}


def _reads(path: Path) -> t.Iterator[ast.Call]:
    """Give the calls of open() for reading that take whatever lies there."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            modes = [one.value for one in node.keywords if one.arg == "mode"] or node.args[1:2]
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r"
            if str(mode).startswith(("r", "a")) and not any(one.arg == "opener" for one in node.keywords):
                yield node


def test_what_is_read_is_opened_as_a_file() -> None:
    bare = {path.relative_to(PLUGINS).as_posix() for path in PLUGINS.rglob("*.py") if any(_reads(path))}
    assert bare == OTHERS
