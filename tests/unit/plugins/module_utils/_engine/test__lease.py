# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lease

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    return str(tmp_path)


def test_a_claim_is_of_one_run_and_renewed_by_it(folder: str) -> None:
    assert _lease.read("server", "big", folder, NOW) is None
    assert _lease.take("server", "big", "run 1", "", folder, NOW) is None
    assert _lease.take("server", "big", "run 1", "", folder, NOW + 800) is None
    other = _lease.take("server", "big", "run 2", "", folder, NOW + 1600)
    assert other == _lease.Lease("run 1", NOW, NOW + 1700)
    assert "another run (run 1) is at work on it since" in str(other)
    assert _lease.take("server", "small", "run 2", "", folder, NOW) is None


def test_a_claim_ends_by_itself_or_is_broken_for_a_run_that_has_ended(folder: str) -> None:
    _lease.take("server", "big", "run 1", "", folder, NOW)
    assert _lease.take("server", "big", "run 2", "run 3", folder, NOW + 1) is not None
    assert _lease.take("server", "big", "run 2", "run 1", folder, NOW + 1) is None
    assert _lease.take("server", "big", "run 3", "", folder, NOW + 1 + _lease.SECONDS) is None


def test_only_its_own_run_gives_it_back(folder: str) -> None:
    _lease.take("server", "big", "run 1", "", folder)
    _lease.drop("server", "big", "run 2", folder)
    assert _lease.read("server", "big", folder) is not None
    _lease.drop("server", "big", "run 1", folder)
    _lease.drop("server", "big", "run 1", folder)
    assert list(pathlib.Path(folder).iterdir()) == []


def test_what_cannot_be_a_claim_is_none(folder: str) -> None:
    for text in ("", "[]", '{"run": "x"}', '{"run": "x", "since": 0, "until": "never"}'):
        pathlib.Path(folder, "server.big.lease").write_text(text, "utf-8")
        assert _lease.read("server", "big", folder) is None
    _lease.take("server", "big", "run 1", "", folder, NOW)
    assert _lease.read("server", "big", folder, NOW - 100) is None  # the clock was set back
