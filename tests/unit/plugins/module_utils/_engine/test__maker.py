# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _maker


def test_this_process_has_not_ended() -> None:
    assert not _maker.has_ended(str(_maker.here()))


def test_a_process_that_was_killed_has_ended_even_before_anybody_took_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        other = _maker.here()._replace(
            pid=str(child.pid), started=Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        )
        assert not _maker.has_ended(str(other))
        child.kill()
        while _maker._started(str(child.pid)) != "none":
            pass
        assert _maker.has_ended(str(other))
    assert _maker.has_ended(str(other))


def test_a_number_that_another_process_got_later_is_not_the_maker() -> None:
    assert _maker.has_ended(str(_maker.here()._replace(started="1")))


@pytest.mark.parametrize("text", ["true", "", "None", "unknown", "a b", "a ../1 c", "a 1 2 3"])
def test_who_cannot_be_told_is_not_thought_to_have_ended(text: str) -> None:
    assert not _maker.has_ended(text)


def test_a_process_of_another_host_or_container_is_not_thought_to_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = str(_maker.here()._replace(started="1"))
    monkeypatch.setattr(_maker, "_place", lambda: "another")
    assert not _maker.has_ended(gone)


def test_where_the_kernel_does_not_say_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_maker, "_place", lambda: "")
    assert str(_maker.here()) == "unknown"
    assert not _maker.has_ended(str(_maker.here()))
