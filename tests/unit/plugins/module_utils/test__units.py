# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (999_960, "1.0 MB"),
        (150_000_000, "150.0 MB"),
        (16_400_000_000, "16.4 GB"),
        (2 * 10**12, "2.0 TB"),
        (4 * 10**18, "4000.0 PB"),
    ],
)
def test_a_size_is_in_powers_of_1000(count: float, text: str) -> None:
    assert _units.size(count) == text


@pytest.mark.parametrize(("count", "text"), [(2**20, "1.00 MiB"), (2**27, "0.12 GiB"), (141 * 2**30, "141.00 GiB")])
def test_memory_is_in_powers_of_1024(count: float, text: str) -> None:
    assert _units.memory(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (5, "5 s"), (59.7, "1 min 0 s"), (65, "1 min 5 s"), (700, "11 min"), (7300, "2 h 1 min")],
)
def test_a_duration_has_its_two_larger_units(seconds: float, text: str) -> None:
    assert _units.duration(seconds) == text
