# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import (
    Engine,
    EngineError,
    LogLine,
    epoch,
    parse_log_line,
    split_lines,
)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-11-23T11:54:41.737380837Z", 1795434881.737380837),
        ("2026-11-23T11:54:41Z", 1795434881.0),
        ("2026-11-23T12:54:41.5+01:00", 1795434881.5),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        ("yesterday", 0.0),
    ],
)
def test_epoch(stamp: str, seconds: float) -> None:
    assert epoch(stamp) == pytest.approx(seconds, abs=1e-5)


def test_lines_come_whole_out_of_any_pieces() -> None:
    pieces = [b"one\ntw", b"o\n\nthr", "é".encode()[:1], "é".encode()[1:], b"e"]
    assert list(split_lines(pieces)) == ["one", "two", "", "thrée"]


def test_a_line_without_a_timestamp_belongs_to_the_one_before() -> None:
    assert parse_log_line("2026-11-23T11:54:41Z some text", 5.0) == LogLine(1795434881.0, "some text")
    assert parse_log_line("more of it", 5.0) == LogLine(5.0, "more of it")


def reading(count: int) -> Engine:
    """An engine whose containers have logged so many lines."""

    def logs(name: str, **options: t.Any) -> t.Iterator[bytes]:
        return (f"2026-11-23T11:54:41Z {number}\n".encode() for number in range(count))

    return Engine(t.cast(t.Any, types.SimpleNamespace(api=types.SimpleNamespace(logs=logs))))


def test_of_a_long_log_the_end_is_kept_and_the_start_where_that_is_looked_for() -> None:
    pytest.importorskip("docker")
    engine = reading(30)
    assert [line.text for line in engine.log("alpha", limit=2)] == ["28", "29"]
    assert [line.text for line in engine.log("alpha", until=lambda text: text == "3")] == ["0", "1", "2", "3"]
    assert [line.text for line in engine.log("alpha", until=lambda text: False, limit=2)] == ["0", "1"]


def removing(says: str, gone: bool) -> tuple[Engine, list[tuple[str, str]]]:
    """An engine that refuses a removal with these words, and is asked to wait for one; with what it was asked for."""
    errors = pytest.importorskip("docker").errors
    asked = []

    def remove_container(name: str, **_options: t.Any) -> None:
        raise errors.APIError("409 Client Error", explanation=says)

    def wait(name: str, timeout: float, condition: str) -> None:
        asked.append((name, condition))
        if gone:
            raise errors.NotFound("404 Client Error", explanation="No such container")

    api = types.SimpleNamespace(remove_container=remove_container, wait=wait)
    return Engine(t.cast(t.Any, types.SimpleNamespace(api=api))), asked


@pytest.mark.parametrize("gone", [False, True])
def test_a_container_that_somebody_else_removes_is_waited_for(gone: bool) -> None:
    engine, asked = removing("removal of container alpha.previous is already in progress", gone)
    engine.remove("alpha.previous")
    assert asked == [("alpha.previous", "removed")]


def test_another_refusal_to_remove_is_told() -> None:
    engine, asked = removing("driver failed to remove root filesystem", gone=False)
    with pytest.raises(EngineError, match="driver failed to remove root filesystem"):
        engine.remove("alpha")
    assert asked == []


def test_a_removal_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _asked = removing("removal of container alpha is already in progress", gone=False)

    def wait(name: str, **_options: t.Any) -> None:
        raise pytest.importorskip("requests").exceptions.ReadTimeout("Read timed out.")

    monkeypatch.setattr(engine._api, "wait", wait)
    with pytest.raises(EngineError, match=r"container alpha is being removed, .* within 60 seconds .*docker ps --all"):
        engine.remove("alpha")
