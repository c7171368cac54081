# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions out of logs in which several processes write."""

from __future__ import annotations

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _exceptions

FRAMES = ("Traceback (most recent call last):", '  File "/x/vllm/a.py", line 3, in load_model', "    load(", "    ^^^^")


def engine(*lines: str, level: str = "ERROR", process: str = "EngineCore pid=9") -> list[str]:
    return [f"({process}) {level} 11-28 10:00:00 [core.py:7] {line}" for line in lines]


def test_tracebacks_of_two_processes_are_not_torn_apart() -> None:
    one = engine("WorkerProc failed to start.", *FRAMES, "ValueError: one", process="Worker_TP0 pid=1")
    two = engine("WorkerProc failed to start.", *FRAMES, "KeyError: 'two'", process="Worker_TP1 pid=2")
    mixed = [line for pair in zip(one, two) for line in pair]
    chains = _exceptions.read(mixed).chains
    assert [(chain.process, chain.failures[0].text) for chain in chains] == [
        ("Worker_TP0", "ValueError: one"),
        ("Worker_TP1", "KeyError: 'two'"),
    ]
    assert chains[0].failures[0].frames == (("/x/vllm/a.py", "load_model"),)


def test_a_chain_begins_with_the_innermost() -> None:
    lines = engine(
        "EngineCore failed to start.",
        *FRAMES,
        "OSError: inner",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        *FRAMES,
        "ValueError: middle",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *FRAMES,
        "RuntimeError: outer",
    )
    (chain,) = _exceptions.read(lines).chains
    assert [failure.text for failure in chain.failures] == [
        "OSError: inner",
        "ValueError: middle",
        "RuntimeError: outer",
    ]
    assert chain.weight == _exceptions.ENDING


def test_what_a_child_says_inside_of_a_message_is_the_innermost() -> None:
    lines = engine(
        "Error in inspecting model architecture 'X'",
        *FRAMES,
        "RuntimeError: Error raised in subprocess:",
        *FRAMES,
        "ModuleNotFoundError: No module named 'timm'",
    )
    (chain,) = _exceptions.read(lines).chains
    assert [failure.head for failure in chain.failures] == [
        "ModuleNotFoundError: No module named 'timm'",
        "RuntimeError: Error raised in subprocess:",
    ]
    assert chain.weight == _exceptions.LOGGED


def test_a_message_of_several_lines_is_whole() -> None:
    lines = engine(
        *FRAMES,
        "CompilationError: at 1:0:",
        "def kernel(",
        "^",
        "",
        'ValueError("type fp8e4nv not supported")',
        "(a) use another GPU (b) use other weights",
    )
    (chain,) = _exceptions.read(lines).chains
    assert chain.failures[0].text.splitlines()[-2:] == [
        'ValueError("type fp8e4nv not supported")',
        "(a) use another GPU (b) use other weights",
    ]


def test_a_thread_and_a_warning_end_no_process() -> None:
    thread = ["(EngineCore pid=9) Exception in thread Thread-2 (usage):"]
    thread += [f"(EngineCore pid=9) {line}" for line in (*FRAMES, "PermissionError: [Errno 13] no: '/.config'")]
    warned = engine("Failed to import from vllm._C:", *FRAMES, "ImportError: no", level="WARNING")
    assert [chain.weight for chain in _exceptions.read([*thread, *warned]).chains] == [_exceptions.HANDLED] * 2


def test_info_and_debug_hold_no_exception() -> None:
    lines = [*engine(*FRAMES, "ValueError: one", level="INFO"), *engine(*FRAMES, "ValueError: two", level="DEBUG")]
    assert _exceptions.read(lines) == _exceptions.Found([], [])


def test_the_margins_of_ranks_and_groups_are_taken_off() -> None:
    ranks = [f"[rank1]: {line}" for line in (*FRAMES, "ValueError: of a rank")]
    group = ["  + Exception Group Traceback (most recent call last):", '  |   File "/x/a.py", line 1, in run']
    group += ["  | ExceptionGroup: unhandled errors (1 sub-exception)", "  +-+---------------- 1 ----------------"]
    group += [f"    | {line}" for line in (*FRAMES, "OSError: inside")]
    heads = [failure.head for chain in _exceptions.read([*ranks, *group]).chains for failure in chain.failures]
    assert "ValueError: of a rank" in heads
    assert "OSError: inside" in heads


def test_a_log_that_begins_in_the_middle_of_a_traceback() -> None:
    lines = engine('  File "/x/lora.py", line 3, in add_lora', "    raise ValueError(", "ValueError: no such thing")
    (chain,) = _exceptions.read(lines).chains
    frames = (("/x/lora.py", "add_lora"),)
    assert chain.failures == (_exceptions.Failure("ValueError: no such thing", frames, "raise ValueError("),)
    assert chain.weight == _exceptions.ENDING
