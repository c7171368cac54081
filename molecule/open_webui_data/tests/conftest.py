# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

import pytest
import testinfra

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


@pytest.fixture(scope="module")
def other() -> t.Any:
    """The second host; the first one is `host`."""
    inventory = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
    return testinfra.get_host("ansible://other", ansible_inventory=inventory)
