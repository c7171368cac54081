# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _config, _memory, _metrics
from ansible_collections.private_llm.fleet.plugins.module_utils._watch._memory import Memory


def test_what_is_written_is_read_again(tmp_path: pathlib.Path) -> None:
    root = str(tmp_path / "watch")
    assert _memory.read(root) == {}
    kept = {"alpha": Memory(state="hung", attempts=[1.5], last_fall={"at": 2.0, "cause": "hung"}), "beta": Memory()}
    _memory.write(kept, root)
    assert _memory.read(root) == kept
    assert oct((tmp_path / "watch/state.json").stat().st_mode & 0o777) == "0o600"
    assert [(one["name"], one["state"]) for one in _memory.told_all(root)] == [("alpha", "hung"), ("beta", "unknown")]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"servers": []}', '{"servers": {"a": 3}}', '{"servers": {"a": {"state": 7, "x": 1}}}']
)
def test_what_something_else_wrote_is_forgotten(text: str) -> None:
    assert all(one == Memory() for one in _memory.parse(text).values())


@pytest.mark.parametrize(
    "odd",
    [
        '"attempts": ["soon", NaN, 1e999, true]',
        '"ties": {"gpu-02": 5, "gpu-03": ["x"]}',
        '"last_fall": {"text": "of another release"}',
        '"last_fall": {"at": "today", "cause": "hung"}',
        '"trouble_since": NaN',
        f'"restarts_total": {10**400}',
        '"restarting": 1',
    ],
)
def test_one_odd_value_costs_neither_the_pass_nor_the_rest(odd: str) -> None:
    found = _memory.parse(f'{{"servers": {{"z": 3, "a": {{"state": "hung", {odd}}}, "b": {{"state": "ready"}}}}}}')
    assert found == {"a": Memory(state="hung"), "b": Memory(state="ready")}
    assert _metrics.render(found, 1.0)


def test_what_is_nested_without_end_is_forgotten() -> None:
    assert _memory.parse("[" * 200_000) == {}


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(tmp_path: pathlib.Path) -> None:
    for name in (_memory.FILE, _config.FILE):
        os.mkfifo(tmp_path / name)
    assert _memory.read(str(tmp_path)) == {}
    with pytest.raises(_config.ConfigError, match=r"is not a file.*apply the role server_watch again"):
        _config.read(str(tmp_path))


def test_the_configuration_is_read_as_it_was_written() -> None:
    config = _config.Config({"b": "started", "a": "stopped"}, _config.Limits(idle=8.0, restarts=2), "/m", "unix:///x")
    read = _config.parse(_config.render(config))
    assert read == config
    assert list(read.servers) == ["b", "a"]  # in the declared order
    with pytest.raises(_config.ConfigError, match="apply the role server_watch again"):
        _config.parse('{"servers": {}}')


def test_a_busy_host_gets_more_time() -> None:
    limits = _config.Limits(idle=20.0, busy=45.0)
    assert _config.strained(limits, 1.5, 2) == limits
    assert _config.strained(limits, 4.0, 2)[:2] == (40.0, 90.0)
    assert _config.strained(limits, 400.0, 2)[:2] == (100.0, 225.0)


def test_what_prometheus_is_told() -> None:
    fall = {"at": 1700.0, "cause": "hung"}
    memories = {
        'al"pha': Memory(state="ready", last_probe=1800.0, last_token=1800.0, restarts_total=2, last_fall=fall),
        "beta": Memory(state="hung", trouble_since=5.0, given_up=True),
        "gamma": Memory(state="stopped"),
        "delta": Memory(state="stopped", trouble_since=5.0),
    }
    lines = _metrics.render(memories, 1805.0).splitlines()
    assert "private_llm_watch_last_pass_timestamp_seconds 1805" in lines
    assert 'private_llm_server_up{server="al\\"pha"} 1' in lines
    assert 'private_llm_server_up{server="beta"} 0' in lines
    assert not any(line.startswith('private_llm_server_up{server="gamma"') for line in lines)
    assert 'private_llm_server_up{server="delta"} 0' in lines
    assert 'private_llm_server_state{server="beta",state="hung"} 1' in lines
    assert 'private_llm_server_last_fall_timestamp_seconds{server="al\\"pha",cause="hung"} 1700' in lines
    assert 'private_llm_server_restarts_total{server="al\\"pha"} 2' in lines
    assert 'private_llm_server_given_up{server="beta"} 1' in lines
    helped = [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert helped == [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(helped)) == len(helped)
