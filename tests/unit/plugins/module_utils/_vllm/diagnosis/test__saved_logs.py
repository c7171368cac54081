# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._saved_logs import KEPT, keep


def test_the_log_is_kept_for_root(tmp_path: pathlib.Path) -> None:
    path = pathlib.Path(keep("alpha", 1795435200.5, ["one", "two ü"], str(tmp_path / "logs")))
    assert path == tmp_path / "logs" / "alpha" / "2026-11-23T12-00-00Z.log"
    assert path.read_text(encoding="utf-8") == "one\ntwo ü\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_known_of_a_start_is_not_written_over_and_old_logs_go(tmp_path: pathlib.Path) -> None:
    paths = [pathlib.Path(keep("alpha", 1000.0 * number, [str(number)], str(tmp_path))) for number in range(KEPT + 2)]
    assert sorted(path for path in paths if path.exists()) == paths[2:]
    keep("alpha", 1000.0 * (KEPT + 1), ["again"], str(tmp_path))
    assert paths[-1].read_text(encoding="utf-8") == f"{KEPT + 1}\n"


def test_a_log_stays_when_the_clock_was_ahead_before(tmp_path: pathlib.Path) -> None:
    ahead = [pathlib.Path(keep("alpha", 1e9 + 1000.0 * number, ["x"], str(tmp_path))) for number in range(KEPT)]
    first, second = (pathlib.Path(keep("alpha", begun, ["y"], str(tmp_path))) for begun in (1000.0, 2000.0))
    assert sorted(path for path in (first, second, *ahead) if path.exists()) == [first, second, *ahead[2:]]


def test_half_a_log_is_not_kept(tmp_path: pathlib.Path) -> None:
    def lines() -> t.Iterator[str]:
        yield "one"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        keep("alpha", 1000.0, t.cast("t.Any", lines()), str(tmp_path))
    path = pathlib.Path(keep("alpha", 1000.0, ["whole"], str(tmp_path)))
    assert path.read_text(encoding="utf-8") == "whole\n"
