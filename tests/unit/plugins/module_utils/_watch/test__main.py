# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _gateway, _main
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._config import Config, Door
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory

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


def test_without_an_engine_what_is_no_container_is_watched(tmp_path: pathlib.Path, monkeypatch: t.Any) -> None:
    def refuse(*_arguments: t.Any) -> t.Any:
        raise EngineError("no engine answers")

    kept: dict[str, Memory] = {}
    hold = _main._lock.hold
    monkeypatch.setattr(
        _main._lock, "hold", lambda kind, name, waiting: hold(kind, name, waiting=waiting, directory=str(tmp_path))
    )
    monkeypatch.setattr(_main._memory, "read", dict)
    monkeypatch.setattr(_main._memory, "write", kept.update)
    monkeypatch.setattr(_main.Engine, "connect", refuse)
    monkeypatch.setattr(_gateway.Gateway, "find", lambda self, name: None)
    config = Config({"alpha": "started"}, metrics=str(tmp_path), webs={"web": Door("::1", 1)}, gateway=Door("::1", 0))
    assert _main.one_pass(config)  # so that a boot goes on
    assert {name: (memory.state, memory.message) for name, memory in kept.items() if name != _gateway.UNIT} == {
        "alpha": ("unknown", "no engine answers"),
        "web": ("unknown", "no engine answers"),
    }
    assert kept[_gateway.UNIT].state == "absent"
    assert 'state{server="alpha",state="unknown"} 1' in (tmp_path / "server_watch.prom").read_text("utf-8")


def test_what_is_no_command_is_refused(tmp_path: t.Any, monkeypatch: t.Any, capsys: t.Any) -> None:
    monkeypatch.setattr(_main._config, "read", lambda: CONFIG)
    assert _main.main([]) == 2
    assert "usage" in capsys.readouterr().err
