# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._gpu_lock import devices_of, turn


class GaveUpError(Exception):
    """Somebody else holds a device, and the test does not wait."""


def give_up() -> None:
    raise GaveUpError


def can_take(devices: t.Sequence[str], directory: pathlib.Path) -> bool:
    try:
        with turn(devices, give_up, str(directory)):
            return True
    except GaveUpError:
        return False


def test_servers_without_a_gpu_share_the_host() -> None:
    assert devices_of([]) == ("cpu",)
    assert devices_of(["GPU-b", "GPU-a"]) == ("GPU-a", "GPU-b")


def test_one_at_a_time_on_a_device_and_side_by_side_on_others(tmp_path: pathlib.Path) -> None:
    with turn(["GPU-a", "GPU-b"], directory=str(tmp_path)):
        assert not can_take(["GPU-a"], tmp_path)
        assert not can_take(["GPU-c", "GPU-b"], tmp_path)
        assert can_take(["GPU-c"], tmp_path)
    assert can_take(["GPU-a", "GPU-b", "GPU-c"], tmp_path)


def test_who_waits_goes_on_when_the_turn_is_over(tmp_path: pathlib.Path) -> None:
    first = turn(["GPU-a"], directory=str(tmp_path))
    first.__enter__()
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        first.__exit__(None, None, None)

    with turn(["GPU-a"], directory=str(tmp_path), sleep=sleep):
        assert waited == [1.0]


def hold(directory: str, ready: t.Any) -> None:
    with turn(["GPU-a"], directory=directory):
        ready.set()
        multiprocessing.Event().wait()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_is_killed_gives_its_turn_away(tmp_path: pathlib.Path) -> None:
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(30)
    assert not can_take(["GPU-a"], tmp_path)
    process.kill()
    process.join()
    assert can_take(["GPU-a"], tmp_path)
