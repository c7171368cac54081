# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _main
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Config

CONFIG = Config({})


def test_a_boot_makes_passes_until_nothing_waits() -> None:
    outcomes: list[t.Any] = [True, _main._Running(), True, False, True]
    slept: list[float] = []

    def make_pass(config: Config) -> bool:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    _main.boot(CONFIG, slept.append, lambda: 0.0, make_pass)
    assert (len(slept), outcomes) == (3, [True])


def test_a_boot_ends_at_last() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 600

    _main.boot(CONFIG, sleep, lambda: now[0], lambda config: True)
    assert now[0] == 3600


def test_what_is_no_command_is_refused(tmp_path: t.Any, monkeypatch: t.Any, capsys: t.Any) -> None:
    monkeypatch.setattr(_main._config, "read", lambda: CONFIG)
    assert _main.main([]) == 2
    assert "usage" in capsys.readouterr().err
