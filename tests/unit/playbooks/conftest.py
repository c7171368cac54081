# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays of these tests run modules on this machine, dozens of times the same sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import results


@pytest.fixture(scope="module", autouse=True)
def compiled_once() -> Iterator[None]:
    """Have Python compile the modules' sources once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in results.compiling_once().items():
            patch.setenv(name, value)
        yield
