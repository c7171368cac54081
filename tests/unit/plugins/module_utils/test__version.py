# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._version import numbers_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.12.4", (0, 12, 4)),
        ("v0.12", (0, 12)),
        ("0.12.4-dev1", (0, 12, 4)),
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("26", (26,)),
        (" 1.2\n", (1, 2)),
        ("", ()),
        ("v", ()),
        ("main", ()),
    ],
)
def test_numbers_at_the_start_count(text: str, expected: tuple) -> None:
    assert numbers_of(text) == expected


@pytest.mark.parametrize("text", ["9" * 5000, "\u00b2", "\u0663.\u0664", "1" * 10])
def test_an_odd_version_is_no_traceback(text: str) -> None:
    assert all(isinstance(one, int) for one in numbers_of(text))
