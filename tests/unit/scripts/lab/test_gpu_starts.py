# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets which GPU, and when; and what is said on a command line."""

from __future__ import annotations

import gpu_starts


def test_who_came_first_for_two_gpus_keeps_others_from_them() -> None:
    turns = gpu_starts.Turns()
    assert turns.try_take(0, {0})
    assert not turns.try_take(1, {0, 1})
    assert not turns.try_take(2, {1})
    turns.give_back(0, {0}, had=True)
    assert not turns.try_take(2, {1})
    assert turns.try_take(1, {0, 1})
    turns.give_back(1, {0, 1}, had=True)
    assert turns.try_take(2, {1})


def test_who_leaves_the_queue_keeps_nobody() -> None:
    turns = gpu_starts.Turns()
    assert turns.try_take(0, {0})
    assert not turns.try_take(1, {0, 1})
    turns.give_back(1, {0, 1}, had=False)
    assert turns.try_take(2, {1})


def test_cases_go_to_the_gpus_with_the_least_to_do() -> None:
    cases = [{"gpus": 1, "cost": 30}, {"gpus": 1, "cost": 10}, {"gpus": 1, "cost": 10}, {"gpus": 2}, {"gpus": 0}]
    assert gpu_starts.place_on_gpus(cases, 2) == [[0], [1], [1], [0, 1], []]


def test_options_become_words() -> None:
    engine = {"enforce_eager": True, "enable_prefix_caching": False, "max_num_seqs": 4, "hf_overrides": {"a": 1}}
    assert gpu_starts.flags(engine) == [
        "--enforce-eager", "--no-enable-prefix-caching", "--max-num-seqs", "4", "--hf-overrides", '{"a": 1}',
    ]  # fmt: skip


def test_a_text_of_the_log_may_be_all_that_is_wanted() -> None:
    case = {"name": "one", "until": "Maximum concurrency"}
    assert gpu_starts.seen_enough(case, "GPU KV cache size: 16 tokens\nMaximum concurrency for 16 tokens")
    assert not gpu_starts.seen_enough(case, "GPU KV cache size: 16 tokens")
    assert not gpu_starts.seen_enough({"name": "one"}, "ready")
    assert not gpu_starts.seen_enough({"name": "one", "until": "end"}, "end")
