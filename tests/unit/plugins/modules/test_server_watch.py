# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.modules import server_watch


def test_a_pipe_in_place_of_a_unit_keeps_nobody_waiting(tmp_path: Path) -> None:
    assert server_watch.read(str(tmp_path / "none")) == ""
    os.mkfifo(tmp_path / "unit")
    with pytest.raises(OSError, match="it is not a file; remove what is in its place"):
        server_watch.read(str(tmp_path / "unit"))
