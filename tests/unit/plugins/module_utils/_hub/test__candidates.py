# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import apply_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._candidates import Candidate, Fetcher
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import EVERYTHING, Entry, HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import make_plan
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import FetchError, Resolution
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

from .conftest import Memory
from .test__apply import content

NOTHING: t.Callable[..., None] = lambda *unused: None  # noqa: E731


class Failing(Memory):
    """A source that brings so many files at each attempt, and then fails."""

    def __init__(self, files: dict[str, bytes], each: int, passing: bool = True) -> None:
        super().__init__(files)
        self.each = each
        self.passing = passing

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        some = entries[: self.each]
        came = super().fetch(resolution, some, folder, seen)
        if len(some) == len(entries):
            return came
        raise FetchError("the line broke", self.passing, came)


def candidate(source: Memory, name: str) -> Candidate:
    return Candidate(source, f"https://{name}.example.com", "acme/tiny", None)


def bring(store: ModelStore, *sources: Memory) -> int:
    candidates = [candidate(source, f"hub{number}") for number, source in enumerate(sources)]
    target = sources[0].target()
    with store.locked(1, lambda: None):
        plan = make_plan(store, target, False, 1, set, lambda count: None)
        return apply_plan(store, Fetcher(candidates[0], candidates, EVERYTHING), target, plan, NOTHING)


def test_line_that_breaks_is_gone_on_with_as_long_as_it_brings_something(store: ModelStore, memory: Memory) -> None:
    failing = Failing(memory.files, each=1)
    assert bring(store, failing) == 12_002
    assert failing.fetched == sorted(memory.files)
    assert content(store) == memory.files


def test_line_that_brings_nothing_is_given_up(store: ModelStore, memory: Memory) -> None:
    with pytest.raises(FetchError, match="the line broke"):
        bring(store, Failing(memory.files, each=0))


def test_failure_that_will_not_pass_is_not_tried_again(store: ModelStore, memory: Memory) -> None:
    failing = Failing(memory.files, each=1, passing=False)
    with pytest.raises(FetchError, match="the line broke"):
        bring(store, failing)
    assert failing.fetched == ["config.json"]
    assert store.releases() == []


def test_next_source_brings_what_the_first_cannot(store: ModelStore, memory: Memory) -> None:
    failing = Failing(memory.files, each=1, passing=False)
    assert bring(store, failing, memory) == 12_002
    assert (failing.fetched, memory.fetched) == (["config.json"], ["weights/a.bin", "weights/b.bin"])
    assert content(store) == memory.files


def test_only_files_that_are_the_same_are_taken(store: ModelStore, memory: Memory) -> None:
    other = Memory({**memory.files, "weights/b.bin": b"other"})
    failing = Failing(memory.files, each=1, passing=False)
    with pytest.raises(FetchError, match="the line broke"):
        bring(store, failing, other)
    assert other.fetched == ["weights/a.bin"]
    assert store.releases() == []
    # What both brought is kept for the next run.
    assert bring(store, memory) == 7_000


def test_source_with_nothing_in_common(store: ModelStore, memory: Memory) -> None:
    failing = Failing(memory.files, each=0, passing=False)
    with pytest.raises(HubError, match=r"the line broke; then acme/tiny at https://hub1.* has other contents"):
        bring(store, failing, Memory({"x": b"x"}))


def test_what_came_unverified_is_read_again(store: ModelStore, memory: Memory, tmp_path: Path) -> None:
    fetcher = Fetcher(candidate(memory, "hub"), [], EVERYTHING)
    assert fetcher.verifies  # nothing has come
    fetcher.fetch(Resolution("master", None), memory.entries(Resolution("master", None)), str(tmp_path), NOTHING)
    assert not fetcher.verifies


def test_what_came_over_the_line_is_measured_and_what_came_from_nearby_is_not(tmp_path: Path) -> None:
    files = {"a": b"a" * 10, "b": b"b" * 20}
    far, near = Memory(files), Failing(files, each=1)
    candidate = Candidate(far, "", "acme/tiny", None)
    fetcher = Fetcher(candidate, [candidate], EVERYTHING, near)
    resolution = far.resolve(None)
    came = fetcher.fetch(resolution, far.entries(resolution), str(tmp_path), NOTHING)
    assert (came, fetcher.line_bytes) == (30, 20)
    assert fetcher.line_seconds > 0
