# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._line import ENOUGH, keep_rate, read_rate


def test_the_rate_of_the_last_download_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "measured" / "downloads.json")
    assert read_rate(path) is None
    keep_rate(ENOUGH, 2.0, path)
    assert read_rate(path) == ENOUGH // 2
    keep_rate(4 * ENOUGH, 2.0, path)
    assert read_rate(path) == 2 * ENOUGH


def test_what_is_too_small_to_tell_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "downloads.json"
    keep_rate(ENOUGH - 1, 1.0, str(path))
    keep_rate(ENOUGH, 0.0, str(path))
    assert not path.exists()


def test_where_nothing_can_be_kept_a_download_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keep_rate(ENOUGH, 1.0, str(tmp_path / "file" / "downloads.json"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"bytes": 1}',
        '{"bytes": 1, "seconds": 0}',
        '{"bytes": "x", "seconds": 1}',
        '{"bytes": 1, "seconds": []}',
    ],
)
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "downloads.json").write_text(text)
    assert read_rate(str(tmp_path / "downloads.json")) is None
