# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils._room import room_problems


def needs(repo: str, needed: int, free: int, file_system: str = "/srv") -> dict[str, t.Any]:
    return {"item": {"repo": repo}, "bytes_needed": needed, "bytes_free": free, "file_system": file_system}


@pytest.mark.parametrize(
    "looked",
    [
        [],
        [needs("o/there", 0, 0)],
        [needs("o/one", 4_000, 10_001), needs("o/two", 5_000, 10_001)],
        [needs("o/one", 8_000, 10_000), needs("o/two", 8_000, 10_000, "/data")],
    ],
)
def test_what_fits_is_no_problem(looked: list[dict[str, t.Any]]) -> None:
    assert room_problems(looked, 1_000) == []


def test_models_that_fit_alone_and_not_together() -> None:
    looked = [needs("o/one", 6_000, 10_000), needs("o/two", 4_000, 9_900), needs("o/else", 1, 10**9, "/data")]
    assert room_problems(looked, 0) == [
        "The models still need 10.0 kB on /srv, which has 9.9 kB free: o/one 6.0 kB, o/two 4.0 kB. "
        "Make room, leave out a model or some of its files, or set model_download_root to a larger file system"
    ]


def test_what_is_left_to_others_counts() -> None:
    assert room_problems([needs("o/one", 6_000, 10_000)], 3_999) == []
    assert len(room_problems([needs("o/one", 6_000, 10_000)], 4_000)) == 1
